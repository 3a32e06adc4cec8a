"""The theory's page is made from invented numbers, so that all on it are known."""

import atexit
import functools
import html.parser
import json
import pathlib
import re
import shutil
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from nrf import report
from nrf.report import charts, claims, page, theory
from nrf.report.theory import claims as theory_claims
from nrf.report.theory import planes

RADII = [0.1, 1.0, 10.0]


def fake_panel(epsilon, variances, fitted):
    return {
        "epsilon": epsilon,
        "mean": [-10.0, 1.0],
        "cov": np.diag(variances).tolist(),
        "fitted_mean": [-10.02, 1.003],
        "fitted_cov": np.diag(fitted).tolist(),
        "weights": [-10 / variances[0], 1 / variances[1]],
        "alignment": 0.7654,
        "radius": 3.0,
        "perturbations": [[0.0, 3.0]] * 8,
        "standard_accuracy": 0.9928,
        "robust_accuracy": 0.4812,
    }


def fake_fit(epsilon, variances, steps, difference):
    return {
        "maximiser": "pgd" if steps else "exact",
        "steps": steps,
        "step_size": steps and 0.2,
        "epsilon": epsilon,
        "mean": [-10.01, 1.0],
        "cov": np.diag(variances).tolist(),
        "difference": difference,
        "error": 0.0357,
        "monte_carlo": 0.0083,
    }


def fake_theory():
    """In the shape that scripts/theory.py saves."""
    rng = np.random.default_rng(0)
    y = np.where(np.arange(30) % 2, 1, -1)
    x = y[:, None] * np.array([-10.0, 1.0]) + rng.normal(size=(30, 2))
    labels = np.arange(30) % 2
    centres = 0.5 + np.where(labels, 1, -1)[:, None] * np.array([0.25, 0.025])
    grid = np.linspace(0, 1, 12)
    spectra = {"uniform": (0.093, 0.005), "one tiny direction": (0.0891, 0.0902)}
    return {
        "name": "gaussian",
        "config": {"fit_samples": 2345},
        "versions": {"jax": "0.10.2"},
        "device": "cpu x 1",
        "date": "2026-11-23",
        "git": "abc1234",
        "command": "python scripts/theory.py configs/gaussian.py --out runs/gaussian",
        "seconds": {"figure": 1.2},
        "problem": {
            "mean": [-10.0, 1.0],
            "cov": [[25.0, 0.0], [0.0, 0.5]],
            "samples": 20000,
        },
        "points": {"x": x.tolist(), "y": y.tolist()},
        "panels": [
            fake_panel(0.0, [25.0, 0.5], [25.0, 0.5]),
            fake_panel(1.0, [28.08, 2.76], [28.2, 2.5]),
            fake_panel(10.0, [123.7, 74.19], [118.5, 74.0]),
        ],
        "curve": {
            "epsilon": RADII,
            "multiplier": [14.0, 0.63, 0.0147],
            "eigenvalues": [[25.1, 0.6], [28.08, 2.76], [123.7, 74.19]],
            "condition_number": [42.0, 10.2, 1.67],
            "alignment": [0.3, 0.7, 0.99],
        },
        "exact": {
            "epsilon": RADII,
            "eigenvalues": [[25.1, 0.6], [28.147, 2.493], [118.25, 74.14]],
            "points": 4096,
        },
        "fits": [
            fake_fit(1.0, [28.2, 2.5], None, 0.0),
            fake_fit(1.0, [29.2, 2.4], 7, 0.028),
            fake_fit(1.0, [28.4, 2.5], 100, 0.001),
            fake_fit(10.0, [118.5, 74.0], None, 0.0),
            fake_fit(10.0, [141.0, 58.5], 7, 0.1914),
            fake_fit(10.0, [122.0, 71.6], 100, 0.0303),
        ],
        "dimensions": [
            {
                "spectrum": spectrum,
                "dimension": dimension,
                "epsilon": 0.3,
                "samples": 2000,
                "difference": difference,
                "concentration": 1 / dimension,
            }
            for spectrum, ends in spectra.items()
            for dimension, difference in zip((2, 100), ends, strict=True)
        ],
        "vulnerability": {
            "penalty": 5.0,
            "eigenvalues": [0.3, 0.7, 2.0, 5.0],
            "samples": 1000000,
            "formula": 4.63982,
            "monte_carlo": 4.632,
            "standard_error": 0.004,
            "printed": 9.27964,
            "isotropic": 0.46914,
            "descent": {
                "step": [0, 1, 2],
                "vulnerability": [4.63982, 0.9, 0.46914],
                "eigenvalues": [[0.3, 0.7, 2, 5], [1, 1, 2, 4], [2, 2, 2, 2]],
            },
        },
        "alignment": {
            "eigenvalues": [0.05, 1.0, 20.0],
            "epsilon": [0.0, 1.0, 10.0],
            "condition_number": [400.0, 20.0, 1.9],
            "worst_alignment": [0.0998, 0.426, 0.951],
            "problems": 5000,
            "violations": 0,
            "least_gain": 1.3e-4,
        },
        "tradeoff": {
            "test_epsilon": [0.0, 5.0, 10.0],
            "train_epsilon": [0, 10],
            "accuracy": [[0.99, 0.1, 0.0], [0.98, 0.8, 0.5]],
        },
        "usefulness": [
            {
                "feature": feature,
                "weights": [-1.0, 0.0],
                "epsilon": [0.0, 5.0, 10.0],
                "gamma": [0.9, 0.4, -0.1],
            }
            for feature in ("x1", "x2", "maximum likelihood", "robust, epsilon 10")
        ],
        "ellipses": {
            "epsilon": 0.09,
            "centre": [0.25, 0.025],
            "axes": [0.15, 0.015],
            "points": (centres + 0.01 * rng.normal(size=(30, 2))).tolist(),
            "labels": labels.tolist(),
            "first": grid.tolist(),
            "second": grid.tolist(),
            "networks": [
                {
                    "training": training,
                    "correct": 1998,
                    "robustly_correct": robustly,
                    "total": 2000,
                    "margins": np.tile(grid - 0.5, (12, 1)).tolist(),
                }
                for training, robustly in (("standard", 34), ("adversarial", 1960))
            ],
        },
    }


def changed(path, value):
    """The invented numbers with another one at `path`, "fits/0/error"."""
    found = fake_theory()
    *inner, last = [int(p) if p.isdigit() else p for p in path.split("/")]
    functools.reduce(lambda part, name: part[name], inner, found)[last] = value
    return found


def without(path):
    found = changed(path, None)
    *inner, last = [int(p) if p.isdigit() else p for p in path.split("/")]
    del functools.reduce(lambda part, name: part[name], inner, found)[last]
    return found


def fake_results():
    """The least that a page of the main experiment is made of."""
    row = {"trained_on": "D", "training": "standard", "seed": 0, "attack": "none"}
    numbers = {"norm": None, "epsilon": 0.0, "steps": 0, "correct": 90, "total": 100}
    return {"data": "digits", "classes": ["0", "1"], "rows": [{**row, **numbers}]}


class Page(html.parser.HTMLParser):
    """The elements of a page in their order; raises ValueError if one is not closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, source):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise ValueError(f"</{tag}> closes something else")

    def values(self, name):
        return [attrs[name] for _, attrs in self.elements if name in attrs]


@functools.cache
def folder():
    """Of a run whose page is made once for all tests."""
    parent = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, parent)
    out = parent / "gaussian"
    out.mkdir()
    (out / "theory.json").write_text(json.dumps(fake_theory()))
    report.write(out)
    return out


def source():
    return (folder() / "report.html").read_text("utf-8")


def words():
    """What is read on the page, without elements and with plain spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", source()))


class PageTest(parameterized.TestCase):
    def test_page_is_whole_and_needs_no_network(self):
        parsed = Page(source())
        self.assertEqual(parsed.open, [])
        self.assertIsNone(re.search(r"https?:|@import|<script|<link", source()))
        ids = parsed.values("id")
        self.assertLen(set(ids), len(ids))
        local = re.findall(r'(?:href="#|url\(#)([^")]+)', source())
        self.assertEqual(set(local) - set(ids), set())
        self.assertIsNone(re.search(r"\bnan\b", source()))
        self.assertEqual(
            {path.name for path in folder().iterdir()}, {"theory.json", "report.html"}
        )

    def test_every_figure_is_described(self):
        pictures = re.findall(r"<svg [^>]*>", source())
        # Panels, ellipses, and five times two plots.
        self.assertLen(pictures, 3 + 2 + 10)
        described = re.findall(r'<svg role="img" aria-label="([^"]{20,})"', source())
        self.assertLen(set(described), len(pictures))
        for figure in re.findall(r"<figure>.*?</figure>", source(), re.DOTALL):
            self.assertRegex(figure[-3000:], r"<figcaption>[^<]{100,}")

    def test_colours_are_the_page_s(self):
        self.assertIsNone(re.search("|".join(charts.PAGE), source()))
        for own in ("stroke: currentColor", "stroke: var(--rule)", "prefers-color"):
            self.assertIn(own, source())
        # Powers of ten would be drawn as formulas, glyph by glyph.
        self.assertNotIn("<tspan", source())

    @parameterized.parameters(
        "At ε = 1 the variances 25, 0.5 become 28.2, 2.5: 1.0 % from the closed form "
        "(the relaxation alone: 1.0 %); the mean moves by 0.02.",
        "At ε = 10 it differs by 19.1 % after 7, 3.0 % after 100 steps.",
        "9.3 % in 2 dimensions and 0.5 % in 100 with the uniform spectrum",
        "Formula 4.6398, sampled 4.6320 ± 0.0040, printed 9.2796.",
        "condition number goes from 400 to 1.9. 0 of 5,000 random problems",
        "standard training 99.9 % are right, 1.7 % under attack",
        "The classes are 0.2 apart from left to right, 0.02 from below to above",
        "PGD, 7 steps of 0.2 ε 10 −10, 1 141, 58.5 19.1 % 3.6 % 0.8 %",
        "attacked, ε = 3 48.1 % 48.1 % 48.1 %",
        "variances 25, 0.5 28.1, 2.76 124, 74.2",
        "all of length 3",
        "on the same 2,345 samples",
        "robust, ε = 10",
        "python scripts/theory.py configs/gaussian.py",
        "abc1234",
    )
    def test_says(self, expected):
        self.assertTrue(expected in words(), expected)

    def test_names_are_escaped(self):
        theory_ = changed("usefulness/0/feature", "<i>a & b")
        theory_ |= {"name": "<b>", "command": "a < b"}
        made = theory.html(theory_, ["<s>&"])
        for escaped in ("&lt;b&gt;", "a &lt; b", "&lt;i&gt;a &amp; b"):
            self.assertTrue(escaped in made, escaped)
        self.assertTrue('href="../%3Cs%3E%26/report.html">&lt;s&gt;&amp;<' in made)
        self.assertEqual(Page(made).open, [])

    def test_same_numbers_same_page(self):
        self.assertTrue(theory.html(fake_theory()) == source())


class FiguresTest(absltest.TestCase):
    def test_the_paper_s_frame(self):
        cov = np.diag([25, 0.5])
        self.assertEqual(planes._half_width(np.array([-10, 1]), cov), 20)

    def test_ellipse_has_one_mahalanobis_radius(self):
        cov, centre = np.array([[4.0, 1.0], [1.0, 2.0]]), np.array([3.0, -1.0])
        v = planes._ellipse(centre, cov) - centre
        square = np.einsum("ni,ij,nj->n", v, np.linalg.inv(cov), v)
        np.testing.assert_allclose(np.sqrt(square), 1.5)


class ClaimsTest(parameterized.TestCase):
    def test_all_shown(self):
        verdicts = [claim.verdict for claim in theory_claims.claims(fake_theory())]
        self.assertEqual(verdicts, [claims.SHOWN] * 6)

    @parameterized.parameters(
        # Three standard errors of the mean are 0.107, of the covariance 3.0 %, and
        # the relaxation adds 1.0 % at ε = 1 and 3.8 % at ε = 10.
        (0, "panels/1/fitted_mean", [-10.2, 1.0]),
        (0, "panels/1/fitted_cov", [[29.5, 0.0], [0.0, 2.76]]),
        (0, "panels/2/fitted_cov", [[134.0, 0.0], [0.0, 74.19]]),
        (0, "panels/1", fake_panel(0.1, [25.1, 0.6], [25.1, 0.49])),
        (1, "dimensions/1/difference", 0.02),
        (1, "dimensions/3/difference", 0.04),
        (2, "fits/5/difference", 0.2),
        (2, "fits/1/difference", 0.009),
        (3, "vulnerability/monte_carlo", 4.6),
        (3, "vulnerability/printed", 4.63982),
        (3, "vulnerability/descent/eigenvalues/2", [2.1, 1.9, 2, 2]),
        (3, "vulnerability/descent/vulnerability/1", 0.4),
        (4, "alignment/violations", 1),
        (4, "alignment/worst_alignment", [0.1, 0.5, 0.4]),
        (5, "ellipses/networks/0/correct", 1500),
        (5, "ellipses/networks/0/robustly_correct", 990),
        (5, "ellipses/networks/1/robustly_correct", 1810),
    )
    def test_not_shown(self, index, path, value):
        verdicts = [
            claim.verdict for claim in theory_claims.claims(changed(path, value))
        ]
        expected = [claims.SHOWN] * 6
        expected[index] = claims.NOT_SHOWN
        self.assertEqual(verdicts, expected)

    @parameterized.parameters(
        (0, "panels/1/fitted_cov", [[29.0, 0.0], [0.0, 2.76]]),
        (0, "panels/2/fitted_cov", [[132.0, 0.0], [0.0, 74.19]]),
        (3, "vulnerability/descent/vulnerability/2", 0.469138),
    )
    def test_still_shown(self, index, path, value):
        claim = theory_claims.claims(changed(path, value))[index]
        self.assertEqual(claim.verdict, claims.SHOWN)

    @parameterized.parameters(
        (0, "exact/epsilon", [0.1, 2.0, 20.0]),
        (1, "dimensions", fake_theory()["dimensions"][:3]),
        (2, "fits", [fit for fit in fake_theory()["fits"] if fit["steps"] != 100]),
        (5, "ellipses/networks", fake_theory()["ellipses"]["networks"][:1]),
    )
    def test_not_measured(self, index, path, value):
        claim = theory_claims.claims(changed(path, value))[index]
        self.assertEqual(claim.verdict, claims.NOT_MEASURED)


class WriteTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.out = pathlib.Path(temporary.name) / "run"
        self.out.mkdir()

    def save(self, name, results, out=None):
        out = out or self.out
        out.mkdir(exist_ok=True)
        (out / name).write_text(json.dumps(results))

    @parameterized.parameters(
        ("curve", r"theory\.json has no curve; was it made by scripts/theory\.py"),
        ("panels/1/cov", r"has no panels\[1\]\.cov;"),
        ("vulnerability/descent", r"has no vulnerability\.descent;"),
    )
    def test_refuses_what_is_incomplete(self, path, message):
        self.save("theory.json", without(path))
        with self.assertRaisesRegex(ValueError, message):
            report.write(self.out)
        self.assertFalse((self.out / "report.html").exists())

    def test_refuses_what_is_no_run(self):
        with self.assertRaisesRegex(
            ValueError, r"no .*run/results\.json and no theory\.json.*scripts/theory"
        ):
            report.write(self.out)
        (self.out / "theory.json").write_text('{"panels": [')
        with self.assertRaisesRegex(ValueError, r"theory\.json is not JSON"):
            report.write(self.out)
        self.save("theory.json", fake_theory())
        self.save("results.json", fake_results())
        with self.assertRaisesRegex(ValueError, "both results.json and theory.json"):
            report.write(self.out)

    def links(self):
        made = report.write(self.out).read_text("utf-8")
        return [href for href in Page(made).values("href") if href[0] != "#"], made

    def test_links_to_pages_beside_it(self):
        self.save("results.json", fake_results())
        beside = self.out.parent / "two words & more"
        unmade = self.out.parent / "unmade"
        for other in (beside, unmade):
            self.save("theory.json", fake_theory(), other)
        links, made = self.links()
        self.assertEqual(links, [])
        command = "scripts/theory.py configs/gaussian.py --out runs/gaussian</code>"
        self.assertTrue(command in made)
        (beside / "report.html").write_text("")
        links, made = self.links()
        self.assertEqual(links, ["../two%20words%20%26%20more/report.html"])
        self.assertFalse(command in made)
        self.assertTrue(">two words &amp; more</a>." in made)

    def test_the_theory_links_back(self):
        self.assertTrue("--out runs/digits</code>" in source())
        made = theory.html(fake_theory(), ["digits", "cifar10"])
        self.assertFalse("--out runs/digits</code>" in made)
        links = ["../digits/report.html", "../cifar10/report.html"]
        found = [href for href in Page(made).values("href") if href[0] != "#"]
        self.assertEqual(found, links)

    def test_theory_finds_experiments(self):
        self.save("theory.json", fake_theory())
        other = self.out.parent / "digits"
        self.save("results.json", fake_results(), other)
        (other / "report.html").write_text("")
        self.assertEqual(self.links()[0], ["../digits/report.html"])


class ShellTest(absltest.TestCase):
    def test_link(self):
        self.assertEqual(
            page.link('a"b&c', "D_R < x"),
            '<a href="a&quot;b&amp;c">D<sub>R</sub> &lt; x</a>',
        )

    def test_paragraph_ends_in_html(self):
        made = page.paragraph("a < b: ", page.link("c", "d"))
        self.assertEqual(made, '<p>a &lt; b: <a href="c">d</a></p>\n')

    def test_key(self):
        made = page.key([("border-top-style: dashed", "a < b")])
        self.assertIn('<i style="border-top-style: dashed"></i>a &lt; b</li>', made)


if __name__ == "__main__":
    absltest.main()
