"""The page of transferability is made from invented counts, so that all are known."""

import functools
import json
import math
import re
import tempfile
from pathlib import Path

import numpy as np
import scipy.stats
from absl.testing import absltest, parameterized
from pages import check_page, check_terms, verdicts, words

from nrf import report
from nrf.report import transfer
from nrf.report.claims import NOT_MEASURED, NOT_SHOWN, SHOWN
from nrf.report.transfer import claims
from nrf.report.transfer.points import PAPER, learners, lucky, points

TITLES = {
    "vgg16": "VGG-16",
    "inception_v3": "Inception-v3",
    "resnet18": "ResNet-18",
    "densenet121": "DenseNet-121",
    "resnet50": "ResNet-50",
    "mine": "Net <of mine>",
}
# Of 1,000 test images: right, fooled, reached, right on D_det.
COUNTS = {
    "source": (800, 790, 780, None),
    "vgg16": (800, 400, 80, 150),
    "inception_v3": (700, 420, 84, 190),
    "resnet18": (750, 525, 150, 230),
    "densenet121": (760, 570, 190, 260),
    "resnet50": (800, 720, 400, 310),
}
MINE = {**COUNTS, "mine": (600, 300, 100, 140)}


def fake_rows(counts, seeds):
    for seed in seeds:
        for name, (right, fooled, reached, taught) in counts.items():
            row = {
                "network": name,
                "seed": seed,
                "total": 1000,
                "right": right,
                "fooled": fooled + 10 * seed,
                "reached": reached,
                "wrong": 1000 - right + fooled,
                "said": reached + 20,
                "said_before": 25,
            }
            if taught is not None:
                row |= {
                    "right_on_D_det": taught,
                    "confusion_on_D_det": confusion(taught),
                }
            yield row


def confusion(right):
    """Of 1,000 images of ten classes; the wrong ones on all other classes."""
    counts = np.full((10, 10), (1000 - right) / 90)
    np.fill_diagonal(counts, right / 10)
    return counts.tolist()


def fake_study(counts=COUNTS, seeds=(0,), data="cifar10"):
    """In the shape that the experiment saves."""
    names = [name for name in counts if name != "source"]
    attack = {"norm": "l2", "epsilon": 1.5, "steps": 20, "step_size": 0.2}
    training = {"epochs": 7, "batch_size": 64, "learning_rate": 0.1}
    network = {"mean": [0.5], "std": [0.2], "dtype": "float32"}
    networks = {
        name: {"kind": name, **network, "width": 8}
        if name in PAPER
        else {"kind": "Mine", **network, "widths": [4, 5], "shape": "wide"}
        for name in names
    }
    curve = [
        {"epoch": 1, "loss": 2.0, "accuracy": 0.3, "test_accuracy": 0.2},
        {"epoch": 2, "loss": 1.5, "accuracy": 0.4, "test_accuracy": 0.3},
    ]
    return {
        "name": "transfer_small",
        "data": data,
        "data_note": "CIFAR-10, a copy",
        "classes": [f"class {i}" for i in range(10)],
        "config": {
            "source": {"kind": "resnet50", **network, "width": 8},
            "source_training": training,
            "halves": True,
            "attack": attack,
            "D_det": {"attack": attack},
            "learners": [
                {"network": of, "on_D": training, "on_D_det": training}
                for of in networks.values()
            ],
        },
        "learners": [{"name": name, "title": TITLES[name]} for name in names],
        "versions": {"jax": "0.10.2"},
        "device": "cpu x 1",
        "date": "2026-11-23",
        "git": "abc1234",
        "command": "python scripts/transfer.py configs/transfer_small.py --out runs/t",
        "seconds": {"seed0/source": 12.0},
        "history": {"seed0/source": curve, "seed0/vgg16_on_D_det": curve},
        "attacks": [{"set": "D_det", "reached_target": 0.955, "max_norm": 1.5}],
        "rows": list(fake_rows(counts, seeds)),
    }


@functools.cache
def source():
    return transfer.html(fake_study())


class LineTest(parameterized.TestCase):
    def test_line_of_known_numbers(self):
        x, y = [1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 5.0, 9.0]
        found = claims.line(x, y)
        # By hand: sums of squares around the means are 5, 26 and, mixed, 11.
        self.assertAlmostEqual(found.slope, 2.2)
        self.assertAlmostEqual(found.intercept, -0.5)
        r = 11 / math.sqrt(5 * 26)
        self.assertAlmostEqual(found.pearson, r)
        self.assertAlmostEqual(found.spearman, 1)
        self.assertAlmostEqual(found.chance, 1 / 24)

    def test_chance_counts_orders(self):
        # Of the six orders of three, two have a rank correlation of 0.5, one of 1.
        found = claims.line([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
        self.assertAlmostEqual(found.spearman, 0.5)
        self.assertAlmostEqual(found.chance, 3 / 6)
        self.assertEqual(found.interval, (-1, 1))

    def test_line_is_that_of_polynomials_and_scipy(self):
        x, y = np.random.default_rng(0).normal(size=(2, 6))
        found = claims.line(x.tolist(), y.tolist())
        np.testing.assert_allclose((found.slope, found.intercept), np.polyfit(x, y, 1))
        np.testing.assert_allclose(found.pearson, np.corrcoef(x, y)[0, 1])
        self.assertAlmostEqual(found.spearman, scipy.stats.spearmanr(x, y).statistic)

    def test_no_line_without_spread(self):
        self.assertIsNone(claims.line([1.0, 2.0], [1.0, 2.0]))
        self.assertIsNone(claims.line([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
        self.assertIsNone(claims.line([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]))

    def test_least_shown_is_where_the_interval_leaves_zero(self):
        for count in (4, 5, 6):
            # Points of any correlation, from two that have none and the same length.
            x, other = np.linalg.qr(np.vander(np.arange(count), 3)[:, ::-1])[0].T[1:]
            for more, leaves in ((-0.02, False), (0.02, True)):
                r = claims.least_shown(count) + more
                found = claims.line(x, r * x + math.sqrt(1 - r**2) * other)
                self.assertAlmostEqual(found.pearson, r)
                self.assertEqual(found.interval[0] > 0, leaves)
        self.assertIsNone(claims.least_shown(3))

    def test_errors_of_points_widen_the_interval(self):
        x, y = [0.15, 0.2, 0.22, 0.25, 0.3], [0.3, 0.45, 0.5, 0.55, 0.7]
        sharp, rough, none = (
            claims.line(x, y, ([error] * 5, [error] * 5)).interval
            for error in (1e-9, 0.02, 1.0)
        )
        np.testing.assert_allclose(sharp, claims.line(x, y).interval, atol=1e-6)
        # Larger than what separates the points from their line: it may be luck.
        self.assertBetween(rough[0], 0.2, sharp[0] - 0.1)
        self.assertGreater(rough[1], sharp[1])
        # Points that are only errors say nothing.
        np.testing.assert_allclose(none, (-0.95, 0.95), atol=0.02)

    def test_errors_are_of_images_and_of_seeds(self):
        measure = points(fake_study())["vgg16"].untargeted
        self.assertAlmostEqual(claims._error(measure), math.sqrt(0.25 / 800))
        measure = points(fake_study(seeds=(0, 4)))["vgg16"].untargeted
        rates = 400 / 800, 440 / 800
        of_images = np.mean(rates) * (1 - np.mean(rates)) / 800
        of_seeds = np.var(rates, ddof=1) / 2
        self.assertAlmostEqual(claims._error(measure), math.sqrt(of_images + of_seeds))

    def test_the_paper_s_points(self):
        x, y, targeted = zip(*PAPER.values(), strict=True)
        found = claims.line(x, y)
        # Checked by hand from the figure: slope, intercept and correlations.
        self.assertAlmostEqual(found.slope, 1.97, places=2)
        self.assertAlmostEqual(found.intercept, 0.099, places=3)
        self.assertAlmostEqual(found.pearson, 0.98, places=2)
        self.assertAlmostEqual(found.spearman, 1)
        said = words(source())
        for line in (found, claims.line(x, targeted)):
            low, high = line.interval
            r = f"(r = {line.pearson:.2f} [{low:.2f}, {high:.2f}])"
            self.assertTrue(r.replace("-", "−") in said, r)


class PointsTest(parameterized.TestCase):
    def test_rates(self):
        point = points(fake_study())["inception_v3"]
        self.assertAlmostEqual(point.untargeted.mean, 0.6)
        self.assertEqual(point.untargeted.images, 700)
        self.assertAlmostEqual(point.targeted.mean, 0.12)
        self.assertAlmostEqual(point.wrong.mean, 0.72)
        self.assertAlmostEqual(point.wrong_before.mean, 0.3)
        self.assertEqual(point.wrong.images, 1000)
        self.assertAlmostEqual(point.at_target.mean, 0.104)
        self.assertAlmostEqual(point.at_target_before.mean, 0.025)
        self.assertAlmostEqual(point.on_D_det.mean, 0.19)
        self.assertNotIn("source", learners(fake_study()))
        self.assertIsNone(points(fake_study())["source"].on_D_det)

    def test_means_over_seeds(self):
        point = points(fake_study(seeds=(0, 3)))["vgg16"]
        self.assertEqual(point.untargeted.by_seed, {0: 400 / 800, 3: 430 / 800})

    def test_a_network_that_is_never_right_has_no_rate(self):
        study = fake_study({**COUNTS, "vgg16": (0, 0, 0, 100)})
        self.assertIsNone(points(study)["vgg16"].untargeted)
        self.assertEqual(claims.measured_line(study, "untargeted").points, 4)
        self.assertIn("| VGG-16 ", transfer.table(study))
        check_page(self, transfer.html(study))

    def test_table(self):
        made = transfer.table(fake_study())
        self.assertRegex(made, r"\| source: ResNet-50 +\| – +\| 98.8 % .*\| 80.0 % ")
        self.assertRegex(made, r"VGG-16 .* 15.0 % \[12.9, 17.3\] +\| 50.0 % \[46.5, 53")
        self.assertIn("\nuntargeted: r = 1.00 [0.70, 1.00], rank", made)
        self.assertIn("(p = 0.008); rate = 2.42 × accuracy − 31.9 %\n", made)


class ClaimsTest(parameterized.TestCase):
    def verdicts(self, counts):
        return [claim.verdict for claim in claims.claims(fake_study(counts))]

    def test_shown(self):
        self.assertEqual(self.verdicts(COUNTS), [SHOWN, SHOWN, SHOWN])

    def test_high_but_not_beyond_chance(self):
        counts = {**COUNTS, "resnet18": (750, 380, 60, 230)}
        study = fake_study(counts)
        of = claims.measured_line(study, "untargeted")
        self.assertGreater(of.pearson, 0.8)
        self.assertLess(of.pearson, claims.least_shown(5))
        self.assertEqual(self.verdicts(counts)[1], NOT_SHOWN)

    def test_the_other_way_round(self):
        counts = {
            name: (right, right - fooled, right - reached, taught)
            for name, (right, fooled, reached, taught) in COUNTS.items()
        }
        self.assertEqual(self.verdicts(counts), [SHOWN, NOT_SHOWN, NOT_SHOWN])

    def test_learning_needs_every_architecture(self):
        counts = {**COUNTS, "vgg16": (800, 400, 80, 110)}
        self.assertEqual(self.verdicts(counts)[0], NOT_SHOWN)

    def test_learning_needs_more_than_luck(self):
        # Images of a class have one label: by luck it is right for one class in ten,
        # or for two or three.
        study = fake_study()
        for row in study["rows"]:
            if row["network"] == "vgg16":
                row["confusion_on_D_det"] = (100 * np.eye(10)[::-1]).tolist()
        self.assertAlmostEqual(lucky(study)["vgg16"][1], 0.3, delta=0.1 + 1e-9)
        learned = claims.claims(study)[0]
        self.assertEqual(learned.verdict, NOT_SHOWN)
        self.assertIn("VGG-16 15.0 % [12.9, 17.3] (by luck at most", learned.measured)

    def test_three_have_no_interval(self):
        counts = dict(list(COUNTS.items())[:4])
        self.assertEqual(self.verdicts(counts)[1:], [NOT_MEASURED] * 2)
        said = words(transfer.html(fake_study(counts)))
        self.assertTrue("no r is enough" in said)


class PageTest(parameterized.TestCase):
    def test_page_is_whole_and_described(self):
        check_page(self, source())
        # Two scatters, and two of the networks have a history here.
        self.assertEqual(source().count("<svg "), 4)
        titles = re.findall("<h2>(.*?)</h2>", source())
        folded = re.findall(
            r'<details class="folded"><summary><h2>(.*?)</h2>', source()
        )
        self.assertEqual(folded, titles[2:])
        expected = {"source", "D", "D_det", "transfer rate", "r", "Fooled"}
        check_terms(self, source(), expected)
        self.assertEqual(verdicts(source()), [("Shown", "#table-transfer")] * 3)

    @parameterized.parameters(
        "VGG-16 15.0 % [12.9, 17.3] (by luck at most 11.1 %); Inception-v3 19.0 %",
        "5 architectures: r = 1.00 [0.70, 1.00], rank correlation 1.00 (p = 0.008); "
        "rate = 2.45 × accuracy + 13.2 %.",
        "With 5 architectures r has to be above 0.88 to be shown",
        "the least possible is 1 in 120",
        "DenseNet-121 26.0 % 41.7 % 75.0 % 92.7 % 25.0 % 36.5 %",
        "VGG-16 20.0 % [17.6, 22.6] 60.0 % [56.9, 63.0] 2.5 %",
        "of those that the network, trained on D, gets right",
        "source: ResNet-50 width 8, trained on a random half of the training images: "
        "7 epochs, batches of 64, learning rate 0.1",
        "PGD, ℓ₂, ε = 1.5, 20 steps of 0.2; target reached by 95.5 %",
        "the paper's five points",
        "python scripts/transfer.py configs/transfer_small.py --out runs/t",
        "CIFAR-10, a copy",
        "abc1234",
    )
    def test_says(self, expected):
        said = re.sub(r"D (?=det)", "D_", words(source()))
        self.assertTrue(expected in said, expected)

    def test_draws_the_paper_beside_cifar10_only(self):
        digits = transfer.html(fake_study(data="digits"))
        self.assertFalse("the paper's five points" in words(digits))
        # Its hollow points are the only marks without a fill, and in both plots.
        count = [html.count("stroke-linejoin: miter") for html in (source(), digits)]
        self.assertGreater(count[0], count[1])

    def test_a_learner_that_the_paper_does_not_have(self):
        made = transfer.html(fake_study(MINE))
        check_page(self, made)
        said = words(made)
        self.assertTrue("Net <of mine> widths 4 5, shape wide, trained on" in said)
        self.assertTrue("; Net &lt;of mine&gt; 14.0 %, 50.0 %." in made)
        table = made[made.index("trained on D<sub>det</sub>, here") :]
        self.assertNotIn("mine", table[: table.index("</table>")])

    def test_names_are_escaped(self):
        study = fake_study() | {"name": "<b>", "command": "a < b"}
        made = transfer.html(study, ["<s>&"])
        self.assertTrue("&lt;b&gt;" in made and "a &lt; b" in made)
        self.assertEqual(check_page(self, made).links(), ["../%3Cs%3E%26/report.html"])

    def test_same_study_same_page(self):
        self.assertTrue(transfer.html(fake_study()) == source())


class FilesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        parent = tempfile.TemporaryDirectory()
        self.addCleanup(parent.cleanup)
        self.out = Path(parent.name) / "transfer"
        self.out.mkdir()

    def save(self, study):
        (self.out / "transfer.json").write_text(json.dumps(study))

    @parameterized.named_parameters(
        ("rows", lambda study: study.pop("rows"), "has no rows; was it made by .*nrf"),
        ("count", lambda study: study["rows"][1].pop("fooled"), r"no rows\[1\].fooled"),
        (
            "taught",
            lambda study: study["rows"][2].pop("right_on_D_det"),
            r"no rows\[2\].right_on_D_det",
        ),
        ("none", lambda study: study["rows"][0].update(total=0), r"rows\[0\].total"),
        ("network", lambda study: study["rows"].pop(3), "no rows of resnet18;"),
        (
            "learner",
            lambda study: study["rows"][3].update(network="other"),
            "no rows of resnet18, learner other;",
        ),
    )
    def test_refuses_what_lacks_something(self, spoil, message):
        study = fake_study()
        spoil(study)
        self.save(study)
        with self.assertRaisesRegex(ValueError, message):
            report.write(self.out)
        self.assertFalse((self.out / "report.html").exists())

    def test_refuses_what_is_no_json(self):
        (self.out / "transfer.json").write_text("{")
        with self.assertRaisesRegex(ValueError, "transfer.json is not JSON"):
            report.write(self.out)

    def test_links_to_experiments_beside_it(self):
        command = "--out runs/digits</code>"
        self.save(fake_study())
        made = report.write(self.out).read_text("utf-8")
        self.assertEqual(check_page(self, made).links(), [])
        self.assertTrue(command in made)
        other = self.out.parent / "main"
        other.mkdir()
        for name in ("results.json", "report.html"):
            (other / name).write_text("")
        made = report.write(self.out).read_text("utf-8")
        self.assertEqual(check_page(self, made).links(), ["../main/report.html"])
        self.assertFalse(command in made)


if __name__ == "__main__":
    absltest.main()
