"""The conformance set: its files, its closed forms, and nrf on a part of it."""

import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from scipy import optimize, signal

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
with mock.patch.object(sys, "path", [*sys.path, str(BENCHMARKS)]):
    import conformance

EXPECTED = json.loads(conformance.EXPECTED.read_text())
CASES = {(case["network"], case["norm"]): case for case in EXPECTED["cases"]}


def slow(layers, weights, x):
    """README.md's words in NumPy and SciPy, for one image."""
    x = np.float64(x)
    for i, layer in enumerate(layers):
        kernel, bias = (
            np.float64(weights.get(f"{k}{i}", 0)) for k in ("kernel", "bias")
        )
        if layer == "conv":
            planes = [
                sum(
                    signal.correlate2d(x[:, :, c], kernel[:, :, c, k], "same")
                    for c in range(x.shape[2])
                )
                for k in range(kernel.shape[3])
            ]
            x = np.stack(planes, -1) + bias
        elif layer == "relu":
            x = np.maximum(x, 0)
        elif layer == "pool":
            x = (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4
        elif layer == "flatten":
            x = x.ravel()
        else:
            x = x @ kernel + bias
    return x


class FilesTest(parameterized.TestCase):
    def test_all_cases_are_there_and_small(self):
        radii = conformance.RADII
        self.assertEqual(
            list(CASES), [(of, norm) for of in radii for norm in radii[of]]
        )
        self.assertLess(
            sum(f.stat().st_size for f in conformance.FOLDER.iterdir()), 3e5
        )
        _, digits = conformance.load("linear")
        np.testing.assert_array_equal(digits.labels, np.arange(100) % 10)
        np.testing.assert_array_equal(digits.images * 16 % 1, 0)

    @parameterized.parameters(*conformance.LAYERS)
    def test_networks_are_what_the_readme_says(self, name):
        weights, digits = conformance.load(name)
        layers = EXPECTED["layers"][name]
        expected = np.array([slow(layers, weights, x) for x in digits.images])
        apply = conformance.network(conformance.LAYERS[name])
        logits = apply(weights, digits.images).logits
        np.testing.assert_allclose(logits, expected, atol=2e-5)
        right = int(np.sum(expected.argmax(-1) == digits.labels))
        for norm, epsilon in conformance.RADII[name].items():
            case = CASES[name, norm]
            self.assertEqual((case["right"], case["epsilon"]), (right, epsilon))

    @parameterized.parameters("linf", "l2", "l1")
    def test_worst_images_of_the_linear_network(self, norm):
        weights, digits = conformance.load("linear")
        case = conformance.Case(
            conformance.network(conformance.LAYERS["linear"]), weights, digits
        )
        epsilon = CASES["linear", norm]["epsilon"]
        count, near = conformance.exact(weights, case, norm, epsilon)
        self.assertEqual(CASES["linear", norm]["exact"], count)
        self.assertGreater(near, 1e-4)  # Rounding decides about no image.
        # One of them beside a general solver.
        x = np.float64(digits.images[3]).ravel()
        slope = np.float64(weights["kernel1"][:, 5] - weights["kernel1"][:, 3])
        best = conformance._climb(slope, x, norm, epsilon)
        self.assertAlmostEqual(best, solved(slope, x, norm, epsilon), places=4)

    def test_expected_counts_conform_to_themselves(self):
        for case in CASES.values():
            for component in conformance.COMPONENTS:
                low, high = conformance.bounds(case, component)
                counts = case["components"][component]["nrf"]
                self.assertTrue(all(low <= count <= high for count in counts), case)
                self.assertLen(counts, 3)
            if case["exact"] is not None:
                targeted = case["components"]["apgd-t"]
                exact = [case["exact"]] * 3
                self.assertEqual(targeted["published"], exact)
                self.assertEqual(targeted["nrf"], exact)


def solved(slope, x, norm, epsilon):
    """The largest <slope, d> with x + d in [0, 1] and d in the ball, by SciPy."""
    box = list(zip(-x, 1 - x, strict=True))
    if norm == "l2":
        found = optimize.minimize(
            lambda d: -slope @ d,
            np.zeros_like(x),
            jac=lambda d: -slope,
            bounds=box,
            constraints={
                "type": "ineq",
                "fun": lambda d: epsilon**2 - d @ d,
                "jac": lambda d: -2 * d,
            },
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-10},
        )
        return -found.fun
    if norm == "linf":
        box = [(max(low, -epsilon), min(high, epsilon)) for low, high in box]
        return -optimize.linprog(-slope, bounds=box).fun
    # d = up - down, both at least 0.
    both = np.concatenate([slope, -slope])
    bounds = [(0, high) for _, high in box] + [(0, -low) for low, _ in box]
    ones = np.ones((1, len(both)))
    return -optimize.linprog(-both, A_ub=ones, b_ub=[epsilon], bounds=bounds).fun


class ComponentsTest(parameterized.TestCase):
    @parameterized.parameters(
        ("linear", "l2", "apgd-t"), ("linear", "linf", "square"), ("mlp", "l2", "fab-t")
    )
    def test_nrf_conforms(self, name, norm, component):
        expected = CASES[name, norm]
        _, rows = conformance.by_nrf(
            name, norm, expected["epsilon"], components=[component], seeds=1
        )
        low, high = conformance.bounds(expected, component)
        (count,) = rows[component]["nrf"]
        self.assertBetween(count, low, high)


if __name__ == "__main__":
    absltest.main()
