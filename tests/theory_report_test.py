"""The theory's page is made from invented numbers, so that all on it are known."""

import functools
import json
import re
import tempfile
from pathlib import Path

import numpy as np
from absl.testing import absltest, parameterized
from pages import check_page, check_terms, verdicts, words

from nrf import report
from nrf.report import theory
from nrf.report.claims import NOT_MEASURED, NOT_SHOWN, SHOWN
from nrf.report.theory import claims, planes

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


def fake_dimensions():
    spectra = {"uniform": (0.093, 0.005), "one tiny direction": (0.0891, 0.0902)}
    return [
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
    ]


def fake_ellipses(rng):
    labels = np.arange(30) % 2
    centres = 0.5 + np.where(labels, 1, -1)[:, None] * np.array([0.25, 0.025])
    grid = np.linspace(0, 1, 12)
    return {
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
    }


def fake_theory():
    """In the shape that the experiment saves."""
    rng = np.random.default_rng(0)
    y = np.where(np.arange(30) % 2, 1, -1)
    x = y[:, None] * np.array([-10.0, 1.0]) + rng.normal(size=(30, 2))
    features = ("x1", "x2", "maximum likelihood", "robust, epsilon 10")
    gamma = {"epsilon": [0.0, 5.0, 10.0], "gamma": [0.9, 0.4, -0.1]}
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
        "dimensions": fake_dimensions(),
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
            {"feature": feature, "weights": [-1.0, 0.0], **gamma}
            for feature in features
        ],
        "ellipses": fake_ellipses(rng),
    }


def at(results, path):
    """What holds the entry at `path`, "fits/0/error", and its name there."""
    *inner, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    return functools.reduce(lambda part, name: part[name], inner, results), last


def changed(path, value):
    """The invented numbers with another one at `path`."""
    results = fake_theory()
    holder, name = at(results, path)
    holder[name] = value
    return results


@functools.cache
def source():
    return theory.html(fake_theory())


class PageTest(parameterized.TestCase):
    def test_page_is_whole_and_described(self):
        check_page(self, source())
        titles = re.findall("<h2>(.*?)</h2>", source())
        self.assertStartsWith(titles[0], "Figure 4:")
        self.assertLess(source().index("<svg"), source().index(f"<h2>{titles[1]}"))
        # Panels, ellipses, and five times two plots.
        self.assertLen(re.findall("<svg ", source()), 3 + 2 + 10)
        for figure in re.findall(r"<figure>.*?</figure>", source(), re.DOTALL):
            self.assertGreater(len(words(figure.partition("<figcaption>")[2])), 100)
        folded = re.findall(
            r'<details class="folded"><summary><h2>(.*?)</h2>', source()
        )
        self.assertEqual(folded, titles[2:])
        # Powers of ten would be drawn as formulas, glyph by glyph.
        self.assertNotIn("<tspan", source())

    def test_terms_and_verdicts(self):
        expected = {
            "Σ",
            "ε",
            "robust training",
            "closed form",
            "Relaxation",
            "γ",
            "PGD",
        }
        check_terms(self, source(), expected)
        addresses = [address for _, address in verdicts(source())]
        self.assertEqual(
            [at for at in addresses if at.startswith("#table-")],
            ["#table-gaussians", "#table-fits", "#table-vulnerability"],
        )
        self.assertLen(set(addresses) - {""}, 6)
        results = changed("dimensions", fake_dimensions()[:3])
        self.assertEqual(claims.claims(results)[1].evidence, "")

    @parameterized.parameters(
        "At ε = 1 the variances 25, 0.5 become 28.2, 2.5: 1.0 % from the closed form "
        "(the relaxation alone: 1.0 %); the mean moves by 0.02.",
        "of 20,000 samples are 3.0 % of the covariance and 0.11 of the mean.",
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
        "Descent from 0.3, 0.7, 2, 5 ends at 2, 2, 2, 2, vulnerability 0.4691",
        "python scripts/theory.py configs/gaussian.py",
        "abc1234",
    )
    def test_says(self, expected):
        self.assertTrue(expected in words(source()), expected)

    def test_names_are_escaped(self):
        results = changed("usefulness/0/feature", "<i>a & b")
        results |= {"name": "<b>", "command": "a < b"}
        made = theory.html(results, ["<s>&"])
        for escaped in ("&lt;b&gt;", "a &lt; b", "&lt;i&gt;a &amp; b"):
            self.assertTrue(escaped in made, escaped)
        self.assertEqual(check_page(self, made).links(), ["../%3Cs%3E%26/report.html"])

    def test_same_numbers_same_page(self):
        self.assertTrue(theory.html(fake_theory()) == source())

    def test_the_paper_s_frame(self):
        cov = np.diag([25, 0.5])
        self.assertEqual(planes.half_width(np.array([-10, 1]), cov), 20)

    def test_ellipse_has_one_mahalanobis_radius(self):
        cov, centre = np.array([[4.0, 1.0], [1.0, 2.0]]), np.array([3.0, -1.0])
        v = planes.ellipse(centre, cov) - centre
        square = np.einsum("ni,ij,nj->n", v, np.linalg.inv(cov), v)
        np.testing.assert_allclose(np.sqrt(square), 1.5)


class ClaimsTest(parameterized.TestCase):
    def verdicts(self, results):
        return [claim.verdict for claim in claims.claims(results)]

    def test_all_shown(self):
        self.assertEqual(self.verdicts(fake_theory()), [SHOWN] * 6)

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
        expected = [SHOWN] * 6
        expected[index] = NOT_SHOWN
        self.assertEqual(self.verdicts(changed(path, value)), expected)

    @parameterized.parameters(
        (0, "panels/1/fitted_cov", [[29.0, 0.0], [0.0, 2.76]]),
        (0, "panels/2/fitted_cov", [[132.0, 0.0], [0.0, 74.19]]),
        (3, "vulnerability/descent/vulnerability/2", 0.469138),
    )
    def test_still_shown(self, index, path, value):
        self.assertEqual(self.verdicts(changed(path, value))[index], SHOWN)

    @parameterized.parameters(
        (0, "exact/epsilon", [0.1, 2.0, 20.0], "at the ε of the panels."),
        (1, "dimensions", fake_dimensions()[:3], "both spectra in two dimensions."),
        (2, "fits", fake_theory()["fits"][:2], "Needs PGD of two lengths."),
        (5, "ellipses/networks/1/training", "standard", "both kinds of training."),
    )
    def test_not_measured(self, index, path, value, needs):
        claim = claims.claims(changed(path, value))[index]
        self.assertEqual(claim.verdict, NOT_MEASURED)
        self.assertEndsWith(claim.measured, needs)


class FilesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        parent = tempfile.TemporaryDirectory()
        self.addCleanup(parent.cleanup)
        self.out = Path(parent.name) / "gaussian"
        self.out.mkdir()
        self.save(fake_theory())

    def save(self, results):
        (self.out / "theory.json").write_text(json.dumps(results))

    @parameterized.parameters(
        ("curve", r"theory\.json has no curve; was it made by .*nrf run gaussian"),
        ("panels/1/cov", r"has no panels\[1\]\.cov;"),
        ("vulnerability/descent", r"has no vulnerability\.descent;"),
    )
    def test_refuses_what_is_incomplete(self, path, message):
        results = fake_theory()
        holder, name = at(results, path)
        del holder[name]
        self.save(results)
        with self.assertRaisesRegex(ValueError, message):
            report.write(self.out)
        self.assertFalse((self.out / "report.html").exists())

    def test_refuses_what_is_no_json(self):
        (self.out / "theory.json").write_text('{"panels": [')
        with self.assertRaisesRegex(ValueError, r"theory\.json is not JSON"):
            report.write(self.out)

    def test_links_to_experiments_beside_it(self):
        command = "--out runs/digits</code>"
        made = report.write(self.out).read_text("utf-8")
        self.assertEqual(check_page(self, made).links(), [])
        self.assertTrue(command in made)
        self.assertEqual(
            {path.name for path in self.out.iterdir()}, {"theory.json", "report.html"}
        )
        for name, files in {
            "digits": ("results.json", "report.html"),
            "two words": ("results.json", "report.html"),
            "without a page": ("results.json",),
        }.items():
            (self.out.parent / name).mkdir()
            for file in files:
                (self.out.parent / name / file).write_text("")
        made = report.write(self.out).read_text("utf-8")
        links = ["../digits/report.html", "../two%20words/report.html"]
        self.assertEqual(check_page(self, made).links(), links)
        self.assertFalse(command in made)


if __name__ == "__main__":
    absltest.main()
