"""Reports are made from invented results, so that every number on them is known."""

import atexit
import dataclasses
import functools
import html.parser
import json
import pathlib
import re
import shutil
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from nrf import config, report
from nrf.report import charts, claims, main, page, paper, pictures
from nrf.report import results as results_lib

TEN = tuple("0123456789")
CIFAR = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Standard accuracy of the paper's networks and how it falls with the radius.
NETWORKS = {
    ("D", "standard"): (0.95, 3.0),
    ("D", "adversarial"): (0.90, 0.3),
    ("D_R", "standard"): (0.84, 0.9),
    ("D_NR", "standard"): (0.87, 3.2),
    ("D_rand", "standard"): (0.63, 2.9),
    ("D_det", "standard"): (0.43, 2.7),
}


def fake_config(data, norm, epsilons, seeds, network="small"):
    epsilon = epsilons[-1] if epsilons else 0.5
    attack = config.PGD(norm, epsilon, steps=7, step_size=epsilon / 5)
    training = config.Training(epochs=20, batch_size=128, learning_rate=0.1)
    return config.Experiment(
        name=data,
        data=data,
        network=config.Network(network, (0.5,), (0.25,)),
        standard=training,
        robust=dataclasses.replace(training, attack=attack),
        matching=config.Matching(steps=1000, step_size=0.1),
        mislabelling=config.Mislabelling(
            dataclasses.replace(attack, steps=100, step_size=0.1), identity_relu=True
        ),
        on=config.Students(training, training, training, training),
        evaluation=config.Evaluation(norm, epsilons, steps=100),
        seeds=seeds,
    )


def fake_results(
    data="digits",
    classes=TEN,
    seeds=(0, 1, 2),
    norm="l2",
    epsilons=(0.25, 0.5, 1.0),
    total=500,
    epochs=20,
):
    """Results like a real run's, in the shape that scripts/run.py saves."""
    rng = np.random.default_rng(0)
    chance = 1 / len(classes)
    rows, history, seconds, attacks, matching = [], {}, {}, [], []
    for seed in seeds:
        for (name, training), (clean, fall) in NETWORKS.items():
            clean = chance + (clean - 0.1) / 0.9 * (1 - chance) + rng.normal() * 0.008
            row = {"trained_on": name, "training": training, "seed": seed}
            largest = max(epsilons, default=1)
            for epsilon in (0.0, *epsilons):
                accuracy = min(1, clean * np.exp(-fall * epsilon / largest))
                rows.append(
                    {
                        **row,
                        "attack": "pgd" if epsilon else "none",
                        "norm": norm if epsilon else None,
                        "epsilon": epsilon,
                        "steps": 100 if epsilon else 0,
                        "correct": round(total * accuracy),
                        "total": total,
                    }
                )
            stage = {"adversarial": "robust", "standard": f"on_{name}"}[training]
            stage = "standard" if stage == "on_D" else stage
            seconds[f"seed{seed}/{stage}"] = 3.1
            history[f"seed{seed}/{stage}"] = [
                {
                    "epoch": epoch,
                    "loss": 2 * 0.9**epoch,
                    "accuracy": 1 - (1 - chance) * 0.8**epoch,
                    "test_accuracy": clean - (clean - chance) * 0.85**epoch,
                }
                for epoch in range(1, epochs + 1)
            ]
        for name in ("D_rand", "D_det"):
            entry = {"set": name, "seed": seed}
            attacks.append({**entry, "reached_target": 0.97, "max_norm": 0.5})
        for name in ("D_R", "D_NR"):
            entry = {"set": name, "seed": seed}
            matching.append({**entry, "start_distance": 4.1, "final_distance": 0.3})
    return {
        "name": data,
        "data": data,
        "data_note": "images made up for a test",
        "classes": list(classes),
        "config": dataclasses.asdict(fake_config(data, norm, epsilons, seeds)),
        "versions": {"python": "3.11.7", "nrf": "0.1.0", "jax": "0.10.2"},
        "device": "cpu x 1 (2 cores)",
        "date": "2026-11-22",
        "git": "abc1234",
        "command": f"python scripts/run.py configs/{data}.py --out runs/{data}",
        "seconds": seconds,
        "history": history,
        "rows": rows,
        "attacks": attacks,
        "matching": matching,
    }


def fake_pictures(num_classes=10, size=8, channels=1, epsilon=0.5):
    """Ten smooth images, and what attacks and matching might make of them."""
    rng = np.random.default_rng(1)

    def smooth(amount):
        coarse = rng.uniform(size=(10, 4, 4, channels)) ** 2
        fine = coarse.repeat(size // 4, 1).repeat(size // 4, 2)
        return np.clip(fine + amount * rng.normal(size=fine.shape), 0, 1)

    def attacked(x):
        d = rng.normal(size=x.shape)
        d *= epsilon / np.sqrt((d**2).sum((1, 2, 3), keepdims=True))
        return np.clip(x + d, 0, 1)

    images = smooth(0.05)
    labels = np.arange(10) % num_classes
    found = {
        "D": images,
        "D_R": np.clip(images + 0.1 * rng.normal(size=images.shape), 0, 1),
        "D_NR": smooth(0.08),
        "D_rand": attacked(images),
        "D_det": attacked(images),
    }
    of = {name: labels for name in found}
    of["D_rand"] = rng.integers(0, num_classes, 10)
    of["D_det"] = (labels + 1) % num_classes
    arrays = {name: value.astype(np.float32) for name, value in found.items()}
    return {**arrays, **{f"{name}_labels": value for name, value in of.items()}}


def save_run(out, results, arrays):
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results))
    if arrays:
        np.savez(out / "pictures.npz", **arrays)
    return out


VARIANTS = {
    "digits": lambda: (fake_results(), fake_pictures()),
    "cifar10": lambda: (
        fake_results("cifar10", CIFAR, seeds=(0,), epsilons=(0.25, 0.5), total=10000),
        fake_pictures(size=32, channels=3),
    ),
    "planted": lambda: (
        {
            **fake_results("planted", ("left", "right"), seeds=(0,), epochs=1),
            **{"attacks": [], "matching": []},
        },
        fake_pictures(2, size=16),
    ),
    "linf": lambda: (
        fake_results(norm="linf", epsilons=(2 / 255, 4 / 255, 8 / 255, 0.1)),
        fake_pictures(),
    ),
}


class Page(html.parser.HTMLParser):
    """What a browser would fetch, and whether every element is closed."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self, source):
        super().__init__()
        self.open, self.ids, self.addresses, self.images = [], [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.addresses += [attrs[name] for name in ("src", "href") if name in attrs]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise ValueError(f"</{tag}> closes something else")


def measure(*accuracies, images=500):
    return results_lib.Measure(dict(enumerate(accuracies)), images)


def with_accuracy(results, trained_on, accuracy, attack):
    """The same results, with another accuracy of one network."""
    rows = [
        {**row, "correct": round(accuracy * row["total"])}
        if (row["trained_on"], row["attack"]) == (trained_on, attack)
        else row
        for row in results["rows"]
    ]
    return {**results, "rows": rows}


class NumbersTest(parameterized.TestCase):
    # Wilson's interval by hand: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    @parameterized.parameters(
        ((0.5,), 100, 0.40383, 0.59617),
        ((0.0,), 10, 0.0, 0.27753),
        ((1.0,), 10, 0.72247, 1.0),
        # Seeds do not multiply the images: three seeds, the interval of one.
        ((0.4, 0.5, 0.6), 100, 0.40383, 0.59617),
    )
    def test_interval(self, accuracies, images, low, high):
        found = measure(*accuracies, images=images).interval
        np.testing.assert_allclose(found, (low, high), atol=1e-5)

    def test_mean_and_spread_over_seeds(self):
        self.assertAlmostEqual(measure(0.4, 0.5, 0.6).mean, 0.5)
        self.assertAlmostEqual(measure(0.4, 0.5, 0.6).spread, 0.1)
        self.assertIsNone(measure(0.4).spread)

    @parameterized.parameters(
        ("linf", 8 / 255, "8/255"),
        ("linf", 0.1, "0.1"),
        ("linf", 1e-6, "1e-06"),
        ("l2", 8 / 255, "0.0313725"),
        ("l2", 0.5, "0.5"),
    )
    def test_radius(self, norm, epsilon, expected):
        self.assertEqual(results_lib.radius(norm, epsilon), expected)

    def test_headline_is_half_the_radius_of_training(self):
        results = fake_results(epsilons=(0.25, 0.5, 1.0))
        groups = results_lib.measures(results)
        self.assertEqual(results_lib.headline(results, groups).epsilon, 0.5)
        results["config"]["robust"]["attack"]["norm"] = "linf"
        self.assertEqual(results_lib.headline(results, groups).epsilon, 0.25)
        self.assertIsNone(results_lib.headline(fake_results(epsilons=()), {}))

    def test_refuses_rows_that_cannot_be_pooled(self):
        results = fake_results(seeds=(0, 1))
        again = {**results, "rows": results["rows"] + results["rows"][:1]}
        with self.assertRaisesRegex(ValueError, "seed 0 .* occurs twice"):
            report.table(again)
        results["rows"][0]["total"] = 400
        with self.assertRaisesRegex(ValueError, "400 images|on 400 images"):
            report.table(results)


class TableTest(parameterized.TestCase):
    def test_cells(self):
        results = fake_results(epsilons=(0.5,), total=100)
        results = with_accuracy(results, "D_R", 0.5, "pgd")
        for row, correct in zip(
            [r for r in results["rows"] if r["trained_on"] == "D_det"],
            (40, 10, 50, 20, 60, 30),
            strict=True,
        ):
            row["correct"] = correct
        lines = report.table(results).splitlines()
        self.assertEqual([line.count("|") for line in lines[:8]], [4] * 8)
        self.assertLen({len(line) for line in lines[:8]}, 1)
        self.assertIn("| standard accuracy ", lines[0])
        self.assertIn("| robust, ε = 0.5 ", lines[0])
        names = [line.split("|")[1].strip() for line in lines[2:8]]
        order = ["D, standard", "D, adversarial", "D_R", "D_NR", "D_rand", "D_det"]
        self.assertEqual(names, order)
        self.assertIn("| 50.0 % [40.4, 59.6] ± 0.0 ", lines[4])
        self.assertIn("| 50.0 % [40.4, 59.6] ± 10.0 ", lines[7])
        self.assertIn("| 20.0 % [13.3, 28.9] ± 10.0 ", lines[7])
        self.assertIn("n = 100 images", lines[9])
        self.assertIn("PGD, ℓ₂, 100 steps", lines[9])

    def test_one_seed_has_no_spread(self):
        table = report.table(fake_results(seeds=(0,)))
        self.assertNotIn("±", table)
        self.assertIn("One seed", table)

    def test_unknown_networks_and_attacks_are_added(self):
        results = fake_results(seeds=(0,))
        new = {**results["rows"][0], "trained_on": "D_mix", "correct": 250}
        other = {**results["rows"][1], "attack": "square", "steps": 5000}
        results["rows"] = [new, *results["rows"], other]
        lines = report.table(results).splitlines()
        self.assertIn("robust, ε = 0.25 (square, ℓ₂, 5000 steps)", lines[0])
        self.assertStartsWith(lines[2], "| D, standard")
        self.assertStartsWith(lines[8], "| D_mix")
        self.assertEqual(lines[8].count("| – "), 4)
        self.assertIn("D<sub>mix</sub>", main.html(without_plots(results), {}))

    def test_counts_that_differ_are_listed(self):
        results = fake_results(seeds=(0,), epsilons=(0.5,))
        for row in results["rows"]:
            row["total"] = 1000 if row["attack"] == "none" else 500
        self.assertIn("(1,000 for standard, 500 for ε = 0.5)", report.table(results))

    def test_paper_beside_cifar10_only(self):
        results, _ = VARIANTS["cifar10"]()
        head, rows = paper.comparison(results)
        self.assertEqual(
            head[1::2], ["standard, here", "ε = 0.25, here", "ε = 0.5, here"]
        )
        robust = dict(zip(head, rows[2], strict=True))
        self.assertEqual(rows[2][0], "D_R")
        self.assertEqual(rows[2][2::2], ["84.1 %", "48.27 %", "29.4 %"])
        self.assertEqual(robust["standard, here"][-1], "%")
        self.assertEqual(rows[5][2::2], ["43.7 %", "–", "–"])
        note = paper.setting(results, {})
        self.assertIn("ResNet-50", note)
        self.assertIn("network: small (paper: resnet50)", note)
        self.assertNotIn("matching steps", note)
        results["config"]["mislabelling"]["attack"]["epsilon"] = 1.5
        note = paper.setting(results, {})
        self.assertIn("ε of D_rand and D_det: 1.5 (paper: 0.5)", note)
        for data in ("digits", "cifar100"):
            self.assertFalse(paper.comparable({"data": data}))
            text = main.markdown_page({**results, "data": data})
            self.assertNotIn("48.27", text)

    def test_no_paper_radius_for_another_norm(self):
        results = fake_results("cifar10", norm="linf", epsilons=(0.25,))
        head, _ = paper.comparison(results)
        self.assertEqual(head, ["trained on", "standard, here", "paper"])
        self.assertIn("norm of the tests: linf (paper: l2)", paper.setting(results, {}))


class ClaimsTest(parameterized.TestCase):
    def verdicts(self, results):
        return [claim.verdict for claim in claims.claims(results)]

    def test_all_shown(self):
        self.assertEqual(self.verdicts(fake_results()), [claims.SHOWN] * 4)

    @parameterized.parameters(
        ("D_R", 0.2, "pgd", 0),  # No more robust than D.
        ("D_R", 0.1, "pgd", 0),
        ("D_NR", 0.5, "pgd", 1),  # As robust as D_R.
        ("D_NR", 0.35, "pgd", 1),  # Less than D_R, but more than D.
        ("D_NR", 0.1, "none", 1),
        ("D_rand", 0.12, "none", 2),  # Above chance, within the interval.
        ("D_det", 0.0, "none", 3),
    )
    def test_not_shown(self, trained_on, accuracy, attack, index):
        changed = with_accuracy(fake_results(), trained_on, accuracy, attack)
        self.assertEqual(self.verdicts(changed)[index], claims.NOT_SHOWN)

    def test_a_constant_answer_is_not_robust(self):
        results = fake_results()
        for trained_on, accuracy in (("D", 0.0), ("D_R", 0.1)):
            results = with_accuracy(results, trained_on, accuracy, "pgd")
        self.assertEqual(self.verdicts(results)[0], claims.NOT_SHOWN)

    def test_every_seed_has_to_agree(self):
        self.assertTrue(claims.above(measure(0.6, 0.6), measure(0.3, 0.3)))
        self.assertFalse(claims.above(measure(1.0, 0.2), measure(0.3, 0.3)))
        self.assertFalse(claims.above(measure(0.9, 0.09), 0.1))

    def test_chance_depends_on_the_classes(self):
        results = with_accuracy(fake_results(), "D_det", 0.43, "none")
        self.assertEqual(self.verdicts(results)[3], claims.SHOWN)
        results["classes"] = ["left", "right"]
        self.assertEqual(self.verdicts(results)[3], claims.NOT_SHOWN)
        self.assertIn("chance 50.0 %", claims.claims(results)[3].measured)

    def test_not_measured(self):
        results = fake_results(epsilons=())
        expected = [claims.NOT_MEASURED] * 2 + [claims.SHOWN] * 2
        self.assertEqual(self.verdicts(results), expected)


class PicturesTest(parameterized.TestCase):
    def test_amplification(self):
        d = np.zeros((2, 4, 4, 1))
        arrays = {"D": d, "D_rand": d + 0.02, "D_det": d - 0.02}
        self.assertEqual(pictures.amplification(arrays), 20)
        self.assertEqual(pictures.amplification({"D": d, "D_rand": d}), 1)

    @parameterized.parameters((8, 1, 64), (32, 3, 64), (16, 2, 64), (224, 3, 96))
    def test_sizes_and_channels(self, size, channels, width):
        image = np.full((size, size, channels), 0.5, np.float32)
        self.assertIn(f'width="{width}"', pictures._img(image, 'a "<b>"'))

    def test_changed_labels_are_marked(self):
        arrays = fake_pictures()
        source = pictures.grid(arrays, TEN)
        changed = np.sum(arrays["D_rand_labels"] != arrays["D_labels"]) + 10
        self.assertEqual(source.count('class="changed"'), changed)
        self.assertEqual(source.count("<img"), 7 * 10)
        self.assertIn('alt="Image 3 in D_det, labelled 3"', source)


@functools.cache
def folder_of(variant):
    """A folder with the report of a variant, made once for all tests."""
    out = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, out)
    report.write(save_run(out, *VARIANTS[variant]()))
    return out


def source_of(variant):
    return (folder_of(variant) / "report.html").read_text("utf-8")


def without_plots(results):
    """A page of these is quick to make: plots are what takes the time."""
    rows = [row for row in results["rows"] if row["attack"] == "none"]
    return {**results, "rows": rows, "history": {}}


class WriteTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "run"

    def write(self, results, arrays=None):
        return report.write(save_run(self.out, results, arrays)).read_text("utf-8")

    def has(self, source, pattern):
        # assertRegex would print the whole page.
        return re.search(pattern, source) is not None

    @parameterized.parameters(*VARIANTS)
    def test_page_is_whole_and_needs_no_network(self, variant):
        source = source_of(variant)
        parsed = Page(source)
        self.assertEqual(parsed.open, [])
        self.assertFalse(self.has(source, r"https?:|//www|@import|<script|<link"))
        for address in parsed.addresses:
            self.assertRegex(address[:40], r"^(#|data:image/png;base64,)")
        self.assertLen(set(parsed.ids), len(parsed.ids))
        local = re.findall(r'(?:href="#|url\(#)([^")]+)', source)
        self.assertEqual(set(local) - set(parsed.ids), set())
        self.assertTrue(all(image["alt"] for image in parsed.images))
        self.assertLen(parsed.images, 70)
        # Standard and robust bars, curves, and six networks' training.
        self.assertEqual(source.count('<svg role="img" aria-label="'), 2 + 1 + 6)
        self.assertEqual(source.count("<figcaption>"), 4)
        self.assertLess(len(source), 3_000_000)
        self.assertFalse(self.has(source, r"\bnan\b"))
        expected = {"report.html", "results.md", "results.json", "pictures.npz"}
        files = {path.name for path in folder_of(variant).iterdir()}
        self.assertEqual(files, expected)

    def test_colours_and_fonts_are_the_page_s(self):
        source = source_of("digits")
        self.assertFalse(self.has(source, "|".join(charts.PAGE)))
        self.assertFalse(self.has(source, "font: 1?[0-9]px|font-family: '"))
        for own in ("fill: currentColor", "stroke: var.--rule", "fill: var.--paper"):
            self.assertTrue(self.has(source, own), own)
        self.assertTrue(self.has(source, "prefers-color-scheme: dark"))
        self.assertTrue(self.has(source, "D<tspan [^>]*>rand</tspan>"))

    def test_linf_radius_in_levels(self):
        source = source_of("linf")
        self.assertTrue(self.has(source, "robust, ε.=.4/255"))
        self.assertTrue(self.has(source, r"radius ε of the attack \(ℓ∞\)"))

    def test_without_attacks_matching_history_pictures_and_versions(self):
        results = without_plots(fake_results(seeds=(0,)))
        for name in ("attacks", "matching", "history", "versions", "seconds", "git"):
            del results[name]
        source = self.write(results)
        self.assertEqual(source.count("not recorded"), 4)
        self.assertTrue(self.has(source, "no pictures.npz"))
        self.assertEqual(source.count("<svg"), 1)
        self.assertEqual(Page(source).open, [])

    def test_names_are_escaped(self):
        results = without_plots(fake_results())
        results |= {"classes": ["<b>", "a & b", *TEN[2:]], "command": "a < b"}
        source = self.write(results, fake_pictures())
        for escaped in ("&lt;b&gt;", "a &amp; b", "a &lt; b"):
            self.assertTrue(self.has(source, escaped), escaped)
        self.assertEqual(Page(source).open, [])

    def test_same_results_same_page(self):
        self.assertTrue(self.write(*VARIANTS["planted"]()) == source_of("planted"))

    def test_refuses_a_folder_without_results(self):
        with self.assertRaisesRegex(
            ValueError, r"no .*run/results\.json.*scripts/run\.py .*--out .*run"
        ):
            report.write(self.out)
        self.out.mkdir()
        (self.out / "results.json").write_text('{"rows": [')
        with self.assertRaisesRegex(ValueError, r"results\.json is not JSON"):
            report.write(self.out)
        (self.out / "results.json").write_text('{"data": "digits", "rows": []}')
        with self.assertRaisesRegex(ValueError, "has no classes, rows"):
            report.write(self.out)

    def test_a_failed_report_leaves_the_old_one(self):
        results = without_plots(fake_results())
        self.write(results)
        names = ("report.html", "results.md")
        before = [(self.out / name).read_text("utf-8") for name in names]
        broken = {**results, "name": "new", "matching": [{"set": "D_R"}]}
        with self.assertRaises(KeyError):
            self.write(broken)
        after = [(self.out / name).read_text("utf-8") for name in names]
        self.assertTrue(before == after)
        self.assertLen(list(self.out.iterdir()), 3)


class ShellTest(absltest.TestCase):
    def test_another_page_in_the_same_style(self):
        source = page.page(
            "Theory & practice",
            "A lead.",
            [page.section("One part", page.figure("<svg></svg>", "D_R at 5 % < 6 %"))],
        )
        self.assertEqual(Page(source).open, [])
        self.assertIn('<section id="one-part">', source)
        self.assertIn("Theory &amp; practice", source)
        self.assertIn("D<sub>R</sub> at 5\N{NO-BREAK SPACE}% &lt; 6", source)


if __name__ == "__main__":
    absltest.main()
