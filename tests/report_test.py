"""Reports are made from invented results, so that every number on them is known."""

import csv
import functools
import io
import json
import re
import tempfile
import urllib.parse
from pathlib import Path

import numpy as np
import pages
import PIL.Image
import theory_report_test
import transfer_report_test
from absl.testing import absltest, parameterized
from pages import CIFAR, fake_results

from nrf import report
from nrf.evaluate import Evidence
from nrf.report import charts, main, page, paper, pictures, provenance
from nrf.report import results as results_lib
from nrf.report.table import remarks


def fake_pictures(num_classes=10, size=8, channels=1):
    """Ten images, and what attacks and matching might make of them."""
    rng = np.random.default_rng(1)
    shape = (10, size, size, channels)
    images, labels = rng.uniform(size=shape), np.arange(10) % num_classes
    arrays = {"D": images, "D_rand": images + 0.02, "D_det": images - 0.02}
    for name in ("D_R", "D_NR", "D_R_start", "D_NR_start"):
        arrays[name] = rng.uniform(size=shape)
    arrays = {name: value.astype(np.float32) for name, value in arrays.items()}
    of = dict.fromkeys(("D", "D_R", "D_NR"), labels)
    of["D_rand"] = rng.integers(0, num_classes, 10)
    of["D_det"] = (labels + 1) % num_classes
    return {**arrays, **{f"{name}_labels": value for name, value in of.items()}}


def save_run(out, results, arrays=None):
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
            **{"constructed": []},
        },
        fake_pictures(2, size=16),
    ),
    "linf": lambda: (
        fake_results(norm="linf", epsilons=(2 / 255, 4 / 255, 8 / 255, 0.1)),
        fake_pictures(),
    ),
}


def measure(*accuracies, images=500):
    return results_lib.Measure(dict(enumerate(accuracies)), images)


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
        interval = measure(*accuracies, images=images).interval
        np.testing.assert_allclose(interval, (low, high), atol=1e-5)

    def test_mean_and_spread_over_seeds(self):
        self.assertAlmostEqual(measure(0.4, 0.5, 0.6).mean, 0.5)
        self.assertAlmostEqual(measure(0.4, 0.5, 0.6).spread, 0.1)
        self.assertIsNone(measure(0.4).spread)

    @parameterized.parameters(
        ("linf", 8 / 255, "8/255"),
        ("linf", 0.1, "0.1"),
        ("linf", 1e-6, "1e-06"),
        ("l2", 8 / 255, "0.0313725"),
    )
    def test_radius(self, norm, epsilon, expected):
        self.assertEqual(results_lib.radius(norm, epsilon), expected)

    def test_the_run_says_at_which_radius_verdicts_are_given(self):
        results = fake_results(epsilons=(0.25, 0.5, 1.0))
        groups = results_lib.measures(results)
        results["reported_epsilon"] = 1.0
        self.assertEqual(results_lib.reported(results, groups).epsilon, 1.0)
        results["reported_epsilon"] = None
        self.assertIsNone(results_lib.reported(results, groups))

    def test_refuses_rows_that_cannot_be_pooled(self):
        results = fake_results(seeds=(0, 1))
        again = {**results, "rows": results["rows"] + results["rows"][:1]}
        with self.assertRaisesRegex(ValueError, "seed 0 .* occurs twice"):
            report.table(again)
        results["rows"][0].update(pages.counted(300, 400))
        with self.assertRaisesRegex(ValueError, "400 images|on 400 images"):
            report.table(results)


class TableTest(parameterized.TestCase):
    def test_cells(self):
        results = fake_results(epsilons=(0.5,), total=100)
        results = pages.with_accuracy(results, "D_R", 0.5, "pgd")
        for row, correct in zip(
            [r for r in results["rows"] if r["trained_on"] == "D_det"],
            (40, 10, 50, 20, 60, 30),
            strict=True,
        ):
            row.update(pages.counted(correct, 100))
        lines = report.table(results).splitlines()
        self.assertEqual([line.count("|") for line in lines[:8]], [4] * 8)
        self.assertLen({len(line) for line in lines[:8]}, 1)
        self.assertIn("| standard accuracy ", lines[0])
        self.assertStartsWith(lines[0].split("| ")[2], "robust, ε = 0.5 ")
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

    def test_networks_and_sets_that_nobody_foresaw(self):
        results = fake_results(seeds=(0,))
        results["networks"].append(
            pages.fake_network("on_mine", "D_mine", title="D_mine, inverted")
        )
        results["sets"].append(pages.fake_set("D_mine", title="D_mine, inverted"))
        results["constructed"].append(
            {"set": "D_mine", "seed": 0, "settings": {"sharpness": 3}, "darker": 0.25}
        )
        results["rows"].insert(0, pages.fake_row("on_mine", "D_mine", 250))
        results["rows"].append(
            {**results["rows"][2], "attack": "square", "steps": 5000}
        )
        lines = report.table(results).splitlines()
        self.assertIn("robust, ε = 0.25 (square, ℓ₂, 5000 steps)", lines[0])
        self.assertStartsWith(lines[8], "| D_mine, inverted")
        self.assertEqual(lines[8].count("| – "), 4)
        images = fake_pictures()
        images |= {"D_mine": 1 - images["D"], "D_mine_labels": images["D_labels"]}
        source = main.html(results, images)
        self.assertIn("D<sub>mine</sub>, inverted − D<small>", source)
        words = pages.words(source)
        self.assertIn(
            "D mine , inverted how D mine is made source: D, standard, sharpness 3 "
            "darker 0.25",
            words,
        )
        # Its colour in the list's order, the seventh, in bars and curves.
        self.assertIn(charts.look(6)["color"], source)

    def test_what_a_mark_leaves_open_is_said_once_where_it_stands(self):
        results = fake_results(seeds=(0, 1))
        open_of = {}
        for row in results["rows"]:
            if row["epsilon"]:
                # At 0.25 no row says all, at 0.5 one network's, at 1 none is open.
                left = row["epsilon"] == 0.25 or (
                    row["epsilon"] == 0.5 and row["trained_on"] == "D_R"
                )
                row["evidence"] = pages.fake_evidence(
                    500, row["correct"], lost_to_other=None if left else 0
                )
                of = Evidence.from_dict(row["evidence"]).remarks
                open_of[row["epsilon"], row["trained_on"]] = " ".join(of)
        (said,) = {text for text in open_of.values() if text}
        groups = results_lib.measures(results)
        told = [f"ε = 0.25; D_R at ε = 0.5: {said}"]
        self.assertEqual(remarks(groups), told)
        self.assertIn(f"What ✓ leaves open. {told[0]}", report.table(results))
        # A mark ✗ says by itself what is wrong.
        for row in results["rows"]:
            if row["epsilon"] == 0.25 or row["trained_on"] == "D_R":
                if row["epsilon"]:
                    row["evidence"]["missed"] = 200
        self.assertEqual(remarks(results_lib.measures(results)), [])
        for row in results["rows"]:
            if row["epsilon"]:
                row["evidence"] |= {"missed": 0, "lost_to_other": None}
        self.assertEqual(remarks(results_lib.measures(results)), [said])

    def test_the_page_has_the_reported_radius_first(self):
        results = fake_results(seeds=(0,))
        source = main.html(pages.without_plots(results, ("pgd", "none")), {})
        heads = re.findall(r'<th scope="col">robust, ε.=.([\d.]+)', source)
        self.assertEqual(heads, ["0.5", "0.25", "1"])
        first = re.search(r"<table>.*?</th>(<th.*?</th>)", source, flags=re.DOTALL)
        self.assertIn("robust, ε", first[1])

    def test_counts_that_differ_are_listed(self):
        results = fake_results(seeds=(0,), epsilons=(0.5,))
        for row in results["rows"]:
            total = 1000 if row["attack"] == "none" else 500
            row.update(pages.counted(row["correct"], total))
        self.assertIn("(1,000 for standard, 500 for ε = 0.5)", report.table(results))

    def test_paper_beside_cifar10_only(self):
        results, _ = VARIANTS["cifar10"]()
        groups = results_lib.measures(results)
        head, rows = paper.comparison(results, groups)
        self.assertEqual(
            head[1::2], ["ε = 0.25, here", "standard, here", "ε = 0.5, here"]
        )
        self.assertEqual(rows[2][0], "D_R")
        self.assertEqual(rows[2][2::2], ["48.27 %", "84.1 %", "29.4 %"])
        self.assertEqual(rows[5][2::2], ["–", "43.7 %", "–"])
        note = paper.setting(results)
        self.assertIn("ResNet-50", note)
        self.assertIn("network.kind: Small (paper: ResNet50)", note)
        for data in ("digits", "cifar100"):
            self.assertFalse(paper.comparable({"data": data}))
            text = main.markdown_page({**results, "data": data})
            self.assertNotIn("48.27", text)

    def test_no_paper_radius_for_another_norm(self):
        results = fake_results("cifar10", norm="linf", epsilons=(0.25,))
        head, _ = paper.comparison(results, results_lib.measures(results))
        self.assertEqual(head, ["trained on", "standard, here", "paper"])
        self.assertIn("evaluation.norm: linf (paper: l2)", paper.setting(results))
        network, *_ = results_lib.networks(results).values()
        for norm, expected in (("l2", 0.0449), ("linf", None)):
            at = results_lib.Column("pgd", norm, 0.25, 100)
            self.assertEqual(paper.published(results, network, at), expected)


class PicturesTest(parameterized.TestCase):
    def test_changes_are_signed_and_have_their_norm(self):
        d = np.full((1, 4, 4, 1), 0.5)
        images = {"D": d, "D_rand": d.copy(), "D_R": d + 0.1, "D_R_start": d}
        images["D_rand"][0, 0, 0] += 0.3
        images["D_rand"][0, 1, 1] -= 0.4
        ((image, norm),) = pictures.changes(images, "D_rand")
        self.assertAlmostEqual(norm, 0.5)
        brighter, darker, same = image[0, 0], image[1, 1], image[2, 2]
        self.assertGreater(brighter[0], brighter[2])
        self.assertLess(darker[0], darker[2])
        np.testing.assert_array_equal(same, 1)
        # A matched set is no change of D, and nothing is shown of none.
        self.assertEqual(pictures.changes(images, "D_R"), [])
        self.assertEqual(pictures.changes({**images, "D_rand": d}, "D_rand"), [])

    @parameterized.parameters(
        (8, 1, 96), (12, 3, 96), (32, 3, 96), (16, 2, 96), (224, 3, 96)
    )
    def test_sizes_and_channels(self, size, channels, width):
        image = np.full((size, size, channels), 0.5, np.float32)
        self.assertEqual(pictures.attributes(image)["width"], str(width))

    def test_changed_labels_are_marked(self):
        source, arrays = source_of("digits"), fake_pictures()
        changed = np.sum(arrays["D_rand_labels"] != arrays["D_labels"]) + 10
        self.assertEqual(source.count('class="changed"'), changed)
        self.assertIn('alt="Image 3 in D_det, labelled 3"', source)
        self.assertIn('alt="Image 3 before D_NR was matched"', source)
        for what in ("robust features", "non-robust features", "random target"):
            self.assertIn(f"<small>{what}</small>", source)


@functools.cache
def folder_of(variant):
    """A folder with the report of a variant, made once for all tests."""
    # Its object removes the folder at the end of the process.
    folder = tempfile.TemporaryDirectory()
    report.write(save_run(Path(folder.name), *VARIANTS[variant]()))
    return folder


def source_of(variant):
    return (Path(folder_of(variant).name) / "report.html").read_text("utf-8")


class FigureTest(parameterized.TestCase):
    @parameterized.named_parameters(("grey", 1), ("colours", 3))
    def test_images_stand_in_their_places(self, channels):
        names = ("D", "D_R", "D_NR", "D_rand", "D_det")
        colors = np.random.default_rng(0).uniform(size=(5, 8, 1, 1, channels))
        arrays = {
            name: np.tile(of, (1, 6, 6, 1))
            for name, of in zip(names, colors, strict=True)
        }
        arrays |= {f"{name}_labels": np.arange(8) for name in names}
        with tempfile.TemporaryDirectory() as folder:
            run = save_run(Path(folder), fake_results(), arrays)
            image = PIL.Image.open(io.BytesIO(report.figure(run))).convert("RGB")
        height, width, _ = (pixels := np.asarray(image) / 255).shape
        self.assertLess(height, width)
        for row in range(5):
            for column in range(8):
                # The middle of an image, in inches from the upper left.
                x, y = 2.34 + 0.77 * column, 0.48 + 0.4 + 0.94 * row
                there = pixels[round(110 * y), round(110 * x)]
                self.assertLess(abs(there - colors[row, column, 0, 0]).max(), 0.02)

    def test_without_pictures(self):
        with tempfile.TemporaryDirectory() as folder:
            run = save_run(Path(folder), fake_results())
            with self.assertRaisesRegex(ValueError, "no pictures.npz"):
                report.figure(run)


class WriteTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name) / "run"

    def write(self, results, arrays=None):
        return report.write(save_run(self.out, results, arrays)).read_text("utf-8")

    def has(self, source, pattern):
        # assertRegex would print the whole page.
        return re.search(pattern, source) is not None

    @parameterized.parameters(*VARIANTS)
    def test_page_is_whole_and_needs_no_network(self, variant):
        source = source_of(variant)
        parsed = pages.check_page(self, source)
        self.assertEqual(parsed.links(), ["results.json", "results.md"])
        # Every table but that of the pictures.
        tables = source.count('href="data:text/csv;')
        self.assertEqual(tables, source.count("<table>"))
        pictures = [attrs for tag, attrs in parsed.elements if tag == "img"]
        self.assertTrue(all(image["alt"] for image in pictures))
        # Five sets, two starts and two rows of changes.
        self.assertLen(pictures, 90)
        # Standard and robust bars, curves, and six networks' training.
        self.assertEqual(source.count("<svg"), 2 + 1 + 6)
        self.assertEqual(source.count("<figcaption>"), 4)
        self.assertLess(len(source), 3_000_000)
        expected = {"report.html", "results.md", "results.json", "pictures.npz"}
        files = {path.name for path in Path(folder_of(variant).name).iterdir()}
        self.assertEqual(files, expected)
        # The index is of all sections, and those after the claims are folded.
        sections = re.findall(r"<section>.*?<h2>(.*?)</h2>", source, flags=re.DOTALL)
        (index,) = re.findall(r"<nav.*?</nav>", source, flags=re.DOTALL)
        self.assertEqual(re.findall(r'<a href="#.*?">(.*?)</a>', index), sections)
        self.assertEqual(
            sections[:3],
            [
                "The same images in every data set",
                "Standard and robust accuracy",
                "What this run shows",
            ],
        )
        folded = re.findall(r'<details class="folded"><summary><h2>(.*?)</h2>', source)
        self.assertEqual(folded, sections[3:])

    @parameterized.parameters("digits", "planted")
    def test_each_term_is_defined_once_and_where_it_first_stands(self, variant):
        expected = {"D", "D_R", "D_NR", "D_rand", "D_det", "Standard", "PGD", "chance"}
        pages.check_terms(self, source_of(variant), expected)

    def test_each_verdict_leads_to_its_numbers(self):
        differ, right = "#table-differences", "#table-accuracy"
        found = pages.verdicts(source_of("digits"))
        self.assertEqual([at for _, at in found], [differ, differ, right, right, right])
        # What was not measured has none.
        results = pages.without_plots(fake_results())
        found = pages.verdicts(main.html(results, {}))
        self.assertEqual(
            found[:3],
            [("Not measured", ""), ("Not measured", ""), ("Not measured", "")],
        )

    def test_colours_and_fonts_are_the_page_s(self):
        source = source_of("digits")
        self.assertFalse(self.has(source, "|".join(charts.PAGE)))
        self.assertFalse(self.has(source, "font: 1?[0-9]px|font-family: '"))
        for own in ("fill: currentColor", "stroke: var.--rule", "fill: var.--paper"):
            self.assertTrue(self.has(source, own), own)
        self.assertTrue(self.has(source, "prefers-color-scheme: dark"))
        self.assertTrue(self.has(source, "D<tspan [^>]*>rand</tspan>"))

    def test_bars_have_the_paper_beside_cifar10(self):
        for variant, has in (("cifar10", True), ("linf", False), ("digits", False)):
            said = pages.words(source_of(variant))
            self.assertEqual("Thick upright tick: the paper's ResNet-50" in said, has)
            self.assertEqual("so that they have no ticks here" in said, not has)

    def test_what_was_not_measured_can_be_read(self):
        drawn = charts.bars("one", "accuracy", [charts.Bar("D_rand", None)], 0.1)
        # The words are on paper, above the dotted line of chance.
        paper = drawn.index("fill: var(--paper)")
        self.assertLess(drawn.rindex("stroke-dasharray"), paper)
        self.assertLess(paper, drawn.index("not measured"))

    def test_linf_radius_in_levels(self):
        source = source_of("linf")
        self.assertTrue(self.has(source, "robust, ε.=.4/255"))
        self.assertTrue(self.has(source, r"radius ε of the attack \(ℓ∞\)"))

    def test_without_what_may_be_missing(self):
        results = pages.without_plots(fake_results(seeds=(0,)))
        for name in ("constructed", "history", "versions", "seconds", "git"):
            del results[name]
        source = self.write(results)
        self.assertEqual(source.count("not recorded"), 4)
        self.assertTrue(self.has(source, "no pictures.npz"))
        self.assertEqual(source.count("<svg"), 1)
        pages.check_page(self, source)

    def test_names_are_escaped(self):
        results = pages.without_plots(fake_results())
        results |= {"classes": ["<b>", "a & b", *"23456789"], "command": "a < b"}
        source = self.write(results, fake_pictures())
        for escaped in ("&lt;b&gt;", "a &amp; b", "a &lt; b"):
            self.assertTrue(self.has(source, escaped), escaped)
        pages.check_page(self, source)

    def test_same_results_same_page(self):
        self.assertTrue(self.write(*VARIANTS["planted"]()) == source_of("planted"))

    def test_how_sets_were_made(self):
        made = provenance.construction(fake_results())
        self.assertEqual(
            made[0],
            [
                "D_R",
                "how D_R is made|source: D, standard, from another training image, "
                "1000 steps of 0.1 in ℓ₂",
                "distance 4.1 → 0.3, 7.3 % of it left",
            ],
        )
        self.assertEqual(
            made[3][1:],
            [
                "how D_det is made|source: D, standard, ℓ₂, ε = 0.5, 100 steps of 0.1, "
                "gradients through the last ReLU as if it were the identity",
                "target reached by 97.0 %, largest change 0.5",
            ],
        )

    def test_networks_that_only_help_have_no_chart_of_training(self):
        results = fake_results(seeds=(0,))
        results["networks"].append(pages.fake_network("labeller", "D", "controls"))
        results["history"]["seed0/labeller"] = results["history"]["seed0/standard"]
        results["history"]["seed0/linear"] = results["history"]["seed0/standard"]
        student = pages.fake_network("mlp_on_D_R", "D_R", "students")
        results["networks"].append(student | {"learner": "mlp"})
        results["history"]["seed0/mlp_on_D_R"] = results["history"]["seed0/standard"]
        self.assertLen(main.trainings(results), 6)

    def test_refuses_a_folder_without_results(self):
        with self.assertRaisesRegex(
            ValueError, r"no .*run/results\.json.*nrf run digits --out .*run"
        ):
            report.write(self.out)
        self.out.mkdir()
        for text, message in (
            ('{"rows": [', r"results\.json is not JSON"),
            ('{"data": "digits", "rows": []}', "has no classes, networks, rows"),
        ):
            (self.out / "results.json").write_text(text)
            with self.assertRaisesRegex(ValueError, message):
                report.write(self.out)
        results = fake_results()
        del results["networks"][2]
        with self.assertRaisesRegex(
            ValueError, "entry of rows is of the network 'on_D_R'"
        ):
            self.write(results)
        (self.out / "theory.json").write_text("{}")
        with self.assertRaisesRegex(ValueError, "both results.json and theory.json"):
            report.write(self.out)

    def test_a_failed_report_leaves_the_old_one(self):
        results = pages.without_plots(fake_results())
        self.write(results)
        names = ("report.html", "results.md")
        before = [(self.out / name).read_text("utf-8") for name in names]
        with self.assertRaises(KeyError):
            self.write({**results, "name": "new", "history": {"seed0/standard": [{}]}})
        after = [(self.out / name).read_text("utf-8") for name in names]
        self.assertTrue(before == after)
        self.assertLen(list(self.out.iterdir()), 3)


class CompareTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def folder(self, name, **options):
        return save_run(self.root / name, fake_results(**options))

    def test_networks_by_runs_at_the_radius_of_each(self):
        one = self.folder("one", seeds=(0,))
        two = self.folder("two", epsilons=(0.1, 0.2), total=100)
        (self.root / "gaussian").mkdir()
        table, html = report.compare([one, two, self.root / "gaussian"])
        head, _, *lines = table.splitlines()
        self.assertEqual(
            [cell.strip() for cell in head.split("|")[1:-1]],
            [
                *("trained on", "one, ε = 0.5", "two, ε = 0.1"),
                *("one, standard", "two, standard"),
            ],
        )
        self.assertLen(lines, 6)
        clean = results_lib.measures(fake_results(seeds=(0,)))
        expected = next(iter(clean.values()))[results_lib.CLEAN]
        self.assertEqual(lines[0].split("|")[4].strip(), page.told(expected))
        pages.check_page(self, html, programs=1)
        robust, clean = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
        self.assertIn("Lines of robust accuracy by run", robust)
        lines_of = [re.findall(r' d="[^"]*"', drawn) for drawn in (clean, robust)]
        self.assertNotEqual(*lines_of)
        self.assertRegex(html, "Not in this table, having no results.json: gaussian")

    def test_the_index_leads_to_the_pages_of_runs(self):
        one, two = self.root / "sub/one", self.root / "two"
        results = fake_results(seeds=(0, 1))
        for row in results["rows"]:
            if row["epsilon"] == 0.5:
                row["evidence"] = pages.fake_evidence(500, row["correct"])
        for folder in (one, two):
            save_run(folder, results)
        theory, transfer = self.root / "the theory", self.root / "transfer"
        for folder, name, record in (
            (theory, "theory.json", theory_report_test.fake_theory()),
            (transfer, "transfer.json", transfer_report_test.fake_study()),
        ):
            folder.mkdir()
            (folder / name).write_text(json.dumps(record))
        for folder in (two, theory):
            (folder / "report.html").write_text("a page")
        runs = [one, two, theory, transfer]
        source = report.compare(runs, self.root / "here.html").html
        index, table = re.findall("<tbody>.*?</tbody>", source, flags=re.DOTALL)
        self.assertEqual(re.findall(' href="(.*?)"', index)[0], "two/report.html")
        self.assertEqual(
            re.findall(' href="(.*?)"', index)[2], "the%20theory/report.html"
        )
        # Without a page beside it, neither name nor mark leads anywhere.
        to = "two/report.html#evidence-on_D_R-test-pgd-0.5-100"
        self.assertEqual(source.count(to), 2)
        self.assertEqual(set(re.findall(' href="(.*?)#', table)), {"two/report.html"})
        self.assertIn(
            "two 53.5 % [49.2, 57.9] ± 0.1 ✓ ε = 0.5 83.8 %", pages.words(index)
        )
        said = pages.words(index)
        self.assertIn("5 of 5 digits 2 2026-11-22", said)
        # Runs of other kinds have their own claims, and no networks on sets.
        self.assertIn("the theory – – – 6 of 6 two Gaussians – 2026-11-23", said)
        self.assertIn("transfer – – – 3 of 3 cifar10 1 2026-11-23", said)
        (transfer / "transfer.json").write_text("{")
        with self.assertRaisesRegex(ValueError, "transfer.json is not JSON"):
            report.compare(runs)

    def test_runs_of_one_name_are_told_apart_and_networks_may_be_missing(self):
        one, two = self.folder("a/run"), self.root / "b/run"
        results = fake_results()
        results["rows"] = [r for r in results["rows"] if r["network"] != "on_D_NR"]
        save_run(two, results)
        table = report.compare([one, two]).table
        self.assertIn("| a/run, standard ", table)
        (line,) = [line for line in table.splitlines() if line.startswith("| D_NR")]
        self.assertEqual(line.count("| – "), 2)

    def test_refused(self):
        one = self.folder("one")
        with self.assertRaisesRegex(ValueError, "compared once"):
            report.compare([one, one])
        for folders in ([], [self.root]):
            with self.assertRaisesRegex(ValueError, "no results.json to compare"):
                report.compare(folders)


class KernelTest(absltest.TestCase):
    def test_typesetting_leaves_programs_and_tags_alone(self):
        source = page.typeset(
            '<p title="D_R 5 %">D_R at 5 % = 6</p><pre>D_R 5 %</pre> 7\n%'
        )
        gap = "\N{NO-BREAK SPACE}"
        self.assertEqual(
            source,
            f'<p title="D_R 5 %">D<sub>R</sub> at 5{gap}%{gap}={gap}6</p>'
            f"<pre>D_R 5 %</pre> 7{gap}%",
        )

    def test_a_mark_leads_to_its_evidence(self):
        cell = page.cell(page.Cell.of("5 %|[1, 2] ✗ a < b", {}, "#there"))
        self.assertEqual(
            cell,
            '5 %<small>[1, 2] <a class="mark" href="#there">✗ a &lt; b</a></small>',
        )
        self.assertNotIn("href", page.cell("5 %|[1, 2] ✗ a < b"))

    def test_a_table_as_csv_has_a_column_for_every_number(self):
        cell = page.Cell.of("5.1 %|[1, 9]", {"mean": 0.0512, "low": 0.01}, "")
        head = ["on", "robust, ε = 1", None, "other|units"]
        rows = [["D, standard", cell, None, "−3|x"], ["D_R", "–", None, ""]]
        address = page.csv(head, rows)
        start, _, text = urllib.parse.unquote(address).partition(",")
        self.assertEqual(start, "data:text/csv;charset=utf-8")
        self.assertEqual(
            list(csv.reader(io.StringIO(text))),
            [
                ["on", "robust, ε = 1, mean", "robust, ε = 1, low", "other units"],
                ["D, standard", "0.0512", "0.01", "-3 x"],
                ["D_R", "", "", ""],
            ],
        )

    def test_ticks_that_would_collide_are_left_out(self):
        def labels(ticks, scale):
            line = [charts.series(ticks, ticks)]
            axis = charts.Axis(
                scale=scale, ticks=ticks, names=[f"at{t}" for t in ticks]
            )
            return re.findall(r">at([\d.]+)<", charts.plot("a", "", line, x=axis))

        self.assertEqual(labels([0, 1, 1.2, 8, 10], "linear"), ["0", "1", "8", "10"])
        self.assertEqual(labels([1, 1.5, 2, 10], "log"), ["1", "2", "10"])

    def test_a_value_that_a_template_lacks_is_refused(self):
        with self.assertRaisesRegex(Exception, "'lead' is undefined"):
            page.render("results.md", title="")


if __name__ == "__main__":
    absltest.main()
