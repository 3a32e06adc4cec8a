"""Usefulness of features: closed forms, bounds that must hold, planted truth."""

import csv
import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from flax import linen as nn

from nrf import devices, features, models, theory
from nrf.data import Dataset, planted
from nrf.features import Estimate, Extremes
from nrf.models import linen as functional
from nrf.models.densenet import DenseNet
from nrf.models.inception import Inception
from nrf.models.resnet import ResNet
from nrf.models.vgg import VGG
from nrf.theory import planted as answers

KEY = jax.random.key(0)
ONE = devices.make_mesh(1)
NORMS = ("l2", "linf")


@functools.cache
def gaussian_problem(n=4000, d=6):
    """Images [n, 1, d, 1] of a Gaussian, far from 0 and 1, and what they come from."""
    generator = np.random.default_rng(0)
    root = generator.normal(size=(d, d))
    mean = 0.01 * generator.normal(size=d)
    cov = 0.0002 * (root @ root.T / d + 0.2 * np.eye(d))
    g = theory.Gaussian(jnp.float32(mean), jnp.float32(cov))
    y = generator.permutation(np.arange(n) % 2) * 2 - 1
    x = y[:, None] * mean + generator.multivariate_normal(0 * mean, cov, n)
    images = np.float32(0.5 + x)[:, None, :, None]
    a = np.concatenate([np.eye(d), -np.linalg.solve(cov, mean)[None] / 100])
    return g, images, np.float32(y)[:, None], np.float32(a)


def images(n, shape=(6, 6, 1), seed=0):
    x = np.random.default_rng(seed).uniform(size=(n, *shape))
    # Some pixels at the ends, where only one direction is free.
    return np.clip(1.2 * x - 0.1, 0, 1).astype(np.float32)


def shaken(model, x, seed=0):
    """Random parameters; statistics and biases too, which start at 0 and 1."""
    generator = np.random.default_rng(seed)
    params = jax.device_get(model.init(jax.random.key(seed), x))
    return jax.tree.map(
        lambda a: a + 0.1 * np.abs(generator.normal(size=a.shape)).astype(a.dtype),
        params,
    )


MLP = models.MLP((0.5,), (0.3,), widths=(12, 10)).build(3)
CNN = models.Small((0.5,), (0.3,), widths=(6, 8)).build(3)


class LabelsTest(parameterized.TestCase):
    def test_two_classes_are_one_column(self):
        y = features.one_against_rest(np.array([0, 1, 1, 1, 0, 0]), 2)
        np.testing.assert_array_equal(y, [[-1], [1], [1], [1], [-1], [-1]])

    def test_more_classes_are_one_against_the_rest(self):
        y = features.one_against_rest(np.array([2, 0, 1, 0] * 3), 3)
        expected = [[-1, -1, 1], [1, -1, -1], [-1, 1, -1], [1, -1, -1]]
        np.testing.assert_array_equal(y, expected * 3)

    @parameterized.parameters(
        ([0, 0, 0, 2, 2, 2, 3, 3], 4, "fewer than 3 examples of class 1, 3;"),
        ([0, 3], 3, r"labels must be in 0 \.\. 2"),
        ([0, 0], 1, "two classes or more"),
    )
    def test_refuses(self, labels, num_classes, message):
        with self.assertRaisesRegex(ValueError, message):
            features.one_against_rest(np.array(labels), num_classes)


class EstimateTest(parameterized.TestCase):
    @parameterized.product(norm=NORMS, epsilon=(0.0, 0.004, 0.02))
    def test_linear_features_have_their_closed_form(self, norm, epsilon):
        g, x, y, a = gaussian_problem()
        values = features.linear(a, x)
        rho, sign = features.rho(values, y)
        expected = theory.usefulness(g, a)
        np.testing.assert_array_equal(sign[:, 0], jnp.sign(expected))
        self.assertEqual(sign[-1, 0], -1)  # The likelihood test, negated.
        extremes = features.linear_extremes(a, x, epsilon, norm)
        gamma = features.gamma(values, extremes, y, sign)
        robust = theory.usefulness(g, sign * a, epsilon, norm)
        for found, truth in ((rho, jnp.abs(expected)), (gamma, robust)):
            # The ends of intervals of two standard errors, twice as far away.
            error = 2 * (found.high - found.value)[:, 0]
            self.assertTrue((error < 0.1).all())
            self.assertTrue((jnp.abs(found.value[:, 0] - truth) < error).all())
        # The two differ by exactly the formula's last term.
        order = 2 if norm == "l2" else 1
        lost = epsilon * np.linalg.norm(a, order, axis=1) / np.std(values, axis=0)
        np.testing.assert_allclose(
            (rho.value - gamma.value)[:, 0], lost, rtol=2e-2, atol=1e-5
        )

    def test_expectations_by_hand(self):
        values = np.array([[1.0], [1], [3], [3], [6], [6], [6]], np.float32)
        y = np.array([[-1]] * 4 + [[1]] * 3, np.float32)
        rho, _ = features.rho(values, y)
        # Means 2 and 6 of the sides: 4; variance half of 4 + 1, and half of 4.
        np.testing.assert_allclose(rho.value, 2 / np.sqrt(4.5), rtol=1e-6)
        extremes = Extremes(values - 1, values + 2)
        ones = np.ones((1, 1), np.float32)
        gamma = features.gamma(values, extremes, y, ones)
        np.testing.assert_allclose(gamma.value, (2 - 1.5) / np.sqrt(4.5), rtol=1e-5)

    def test_a_negative_correlation_is_of_the_negated_feature(self):
        values = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
        y = np.sign(values[:, :1] + values[:, 1:2])
        plus, sign = features.rho(values, y)
        minus, other = features.rho(-values, y)
        np.testing.assert_array_equal(sign, -other)
        self.assertTrue((plus.value > 0).all())
        np.testing.assert_allclose(plus, minus, atol=1e-6)
        extremes = Extremes(values - 0.1, values + 0.3)
        mirrored = Extremes(-values - 0.3, -values + 0.1)
        np.testing.assert_allclose(
            features.gamma(values, extremes, y, sign),
            features.gamma(-values, mirrored, y, other),
            atol=1e-5,
        )

    @parameterized.parameters(0.5, 0.15)
    def test_intervals_cover(self, share):
        """Of 480 data sets; the k-th feature is made of the k-th labels."""
        generator = np.random.default_rng(3)
        n, gap = 600, 2.0
        found, halves = [], []
        for _ in range(8):
            y = np.where(generator.uniform(size=(n, 60)) < share, 1, -1)
            y = y.astype(np.float32)
            values = gap * y + generator.normal(size=y.shape).astype(np.float32)
            rho, sign = features.rho(values, y)
            # An attack that does more harm to one side.
            reach = np.where(y > 0, 0.2, 1.4).astype(np.float32)
            extremes = Extremes(values - reach, values + reach)
            gamma = features.gamma(values, extremes, y, sign)
            for estimate in (rho, gamma):
                found.append(np.diag(estimate.value))
                halves.append(np.diag(estimate.high - estimate.value))
        found = np.reshape(found, (8, 2, 60))
        halves = np.reshape(halves, (8, 2, 60))
        # Both signs count the same, whatever their shares: of the harm, too.
        truth = np.array([gap, gap - 0.8]) / np.sqrt(1 + gap**2)
        covered = np.abs(found - truth[None, :, None]) < halves
        np.testing.assert_allclose(covered.mean((0, 2)), 0.95, atol=0.035)
        np.testing.assert_allclose(
            halves.mean((0, 2)) / 1.96, found.std((0, 2)), rtol=0.12
        )

    def test_classes_are_judged_by_themselves(self):
        generator = np.random.default_rng(0)
        labels = generator.permutation(np.arange(90) % 3)
        values = generator.normal(size=(90, 4)).astype(np.float32)
        y = features.one_against_rest(labels, 3)
        rho, sign = features.rho(values, y)
        for k in range(3):
            alone, own = features.rho(values, y[:, k : k + 1])
            np.testing.assert_allclose(rho.value[:, k], alone.value[:, 0], atol=1e-6)
            np.testing.assert_array_equal(sign[:, k], own[:, 0])
            extremes = Extremes(values - 0.1, values + 0.3)
            together, alone = (
                features.gamma(values, extremes, *given)
                for given in ((y, sign), (y[:, k : k + 1], own))
            )
            np.testing.assert_allclose(together.low[:, k], alone.low[:, 0], atol=1e-6)

    @parameterized.parameters(
        (lambda v, y: (v[:, 0], y), r"features must be \[N, D\]"),
        (lambda v, y: (v, y[:4]), r"got \(6, 9\) and \(4, 1\)"),
        (lambda v, y: (v[:5], y[:5]), "3 of each sign at least, .* column 0"),
        (lambda v, y: (v, y / 2 + 0.5), "y must be −1 or \\+1"),
        (lambda v, y: (v, jnp.abs(y)), "3 of each sign at least, .* column 0"),
        (lambda v, y: (v.at[2, 1].set(jnp.inf), y), "must be finite"),
        (lambda v, y: (v.at[:, 1:3].set(0.7), y), "feature 1, 2 of 9 has zero var"),
        (lambda v, y: (0 * v, y), r"6, 7, … \(9 in all\) of 9"),
    )
    def test_refuses(self, change, message):
        generator = np.random.default_rng(0)
        v = jnp.float32(generator.normal(size=(6, 9)))
        with self.assertRaisesRegex(ValueError, message):
            features.rho(*change(v, jnp.float32([[1], [-1]] * 3)))

    def test_refuses_extremes_of_something_else(self):
        v = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
        y = np.float32([[1], [-1]] * 3)
        with self.assertRaisesRegex(ValueError, r"extremes must be \(6, 2\)"):
            features.gamma(v, Extremes(v, v[:, :1]), y, np.ones((2, 1)))
        with self.assertRaisesRegex(ValueError, r"sign must be \[D, K\] = \(2, 1\)"):
            features.gamma(v, Extremes(v, v), y, np.ones((1, 2)))

    def test_rounding_is_no_variation(self):
        v = np.full((5, 3), 0.3, np.float32)
        v[2, 0] = np.nextafter(v[2, 0], np.float32(1))
        v[:, 2] = np.arange(5)
        np.testing.assert_array_equal(features.constant_units(v), [0, 1])


class AttackTest(parameterized.TestCase):
    @parameterized.parameters(*NORMS)
    def test_finds_the_worst_of_linear_features(self, norm):
        _, x, _, a = gaussian_problem(n=6)
        probe = features.make_probe(features.linear, norm, steps=4, step_size=0.4)
        heard = []
        found = features.attacked_extremes(
            KEY,
            probe,
            a,
            x,
            epsilon=0.02,
            units=np.array([5, 0, 6]),
            batch_size=4,
            chunk=2,
            mesh=ONE,
            tick=heard.append,
        )
        self.assertEqual(heard, [4, 2, 4, 2])
        exact = features.linear_extremes(a[np.array([5, 0, 6])], x, 0.02, norm)
        np.testing.assert_allclose(found, exact, atol=2e-5)

    def test_random_starts_and_what_depends_on_what(self):
        x = images(10)
        a = np.random.default_rng(0).normal(size=(10, 36)).astype(np.float32)
        # Steps that are too small to come back from where they start.
        probe = features.make_probe(
            lambda a, x: jnp.abs(features.linear(a, x)),
            "linf",
            steps=1,
            step_size=1e-4,
            random_start=True,
            restarts=2,
        )
        attacked = functools.partial(
            features.attacked_extremes, KEY, probe, a, x, epsilon=0.3
        )
        units = np.arange(10)
        plain = attacked(units=units, batch_size=10, chunk=10, mesh=ONE)
        values = probe.values(a, x)
        self.assertTrue((plain.least <= values).all())
        self.assertTrue((plain.most >= values).all())
        # Of two random starts, both are worse than the image one time in four.
        self.assertBetween((plain.least < values).mean(), 0.5, 0.95)
        self.assertBetween((plain.most > values).mean(), 0.5, 0.95)
        # On batch, chunk and devices only rounding depends.
        given = dict(batch_size=4, chunk=3, mesh=devices.make_mesh(4))
        other = attacked(units=units, **given)
        np.testing.assert_allclose(plain, other, atol=1e-5)
        picked = attacked(units=units[7:4:-2], **given)
        np.testing.assert_allclose(np.stack(plain)[:, :, [7, 5]], picked, atol=1e-5)

    @parameterized.parameters(
        (dict(epsilon=-0.1), "epsilon must be at least 0"),
        (dict(epsilon=float("nan")), "epsilon must be at least 0"),
        (dict(epsilon=8), "for k grey levels out of 255 write k / 255"),
        (dict(chunk=0), "chunk must be at least 1"),
        (dict(images=2 * images(4)), "images must lie in"),
    )
    def test_refuses(self, change, message):
        probe = features.make_probe(features.linear, "linf", steps=1, step_size=1.0)
        given = dict(images=images(4), epsilon=0.1, chunk=1) | change
        with self.assertRaisesRegex(ValueError, message):
            features.attacked_extremes(
                KEY,
                probe,
                jnp.ones((2, 36)),
                units=np.arange(2),
                batch_size=4,
                mesh=ONE,
                **given,
            )

    @parameterized.parameters(
        (dict(norm="l1"), "norm must be 'l2' or 'linf'"),
        (dict(certificate="lipschitz"), "certificate must be"),
        (dict(steps=0), "steps must be at least 1"),
        (dict(restarts=2), "without random_start"),
        (dict(step_size=0.0), "step_size must be positive"),
    )
    def test_refuses_a_probe(self, change, message):
        given = dict(norm="l2", steps=1, step_size=1.0) | change
        with self.assertRaisesRegex(ValueError, message):
            features.make_probe(features.linear, **given)


def awkward(params, x):
    """What else bounds know: maxima of two values and of windows, scalars, and more."""
    x = (2 - x.reshape(len(x), -1) @ params).reshape(-1, 4, 4, 1)
    pooled = nn.max_pool(-x, (2, 2), (2, 2)).reshape(-1, 4)
    x = x.reshape(-1, 16)[:, ::-1]
    x, y = x[:, :8], x[:, 8:]
    z = jnp.maximum(x, y) - 0.5 * x
    first = jnp.max(z, 1, keepdims=True)
    z = jnp.concatenate([first, nn.sigmoid(z[:, ::3]), jnp.exp(z / 4), pooled], 1)
    return jnp.pad(jnp.tanh(z) - z / 2, ((0, 0), (1, 0)), constant_values=3) + 1.0


class OneOfEach(Inception):
    """Of Inception's kinds of blocks; the whole takes seconds to trace."""

    @nn.compact
    def __call__(self, x, train):
        x = self.square(train, self.normalise(x), 32)
        x = self.halve_square(train, x)
        x = self.halve_long(train, self.long(train, x, 128))
        return self.output(self.forked(train, x, self.last_relu).mean((1, 2)))


class CertificateTest(parameterized.TestCase):
    @parameterized.parameters(
        ("mlp", "l2"),
        ("mlp", "linf"),
        ("cnn", "l2"),
        ("cnn", "linf"),
        ("awkward", "linf"),
    )
    def test_nothing_in_reach_is_outside(self, name, norm):
        x = images(4, (8, 8, 1))
        generator = np.random.default_rng(1)
        if name == "awkward":
            params = jnp.float32(generator.normal(size=(64, 16)) / 4)
            unit = awkward
        else:
            model = {"mlp": MLP, "cnn": CNN}[name]
            params, unit = shaken(model, x), features.representation(model.apply)
        make = functools.partial(
            features.make_probe, unit, norm, steps=5, step_size=0.4
        )
        linear, intervals = make(certificate="linear"), make(certificate="intervals")
        count = linear.values(params, x).shape[1]
        for epsilon in (0.003, 0.05, 0.6):
            found = features.attacked_extremes(
                KEY,
                linear,
                params,
                x,
                epsilon=epsilon,
                units=np.arange(count),
                batch_size=4,
                chunk=count,
                mesh=ONE,
            )
            reached = [found.least, found.most]
            d = generator.normal(size=(20, *x.shape))
            if norm == "l2":
                d /= np.linalg.norm(d, axis=(2, 3), keepdims=True)
            else:
                d = np.sign(d)
            for moved in np.clip(x + epsilon * d, 0, 1).astype(np.float32):
                reached.append(linear.values(params, moved))
            widths = []
            # Intervals are the same for both norms.
            for probe in (linear, intervals) if norm == "linf" else (linear,):
                low, high = features.certified_extremes(
                    probe, params, x, epsilon=epsilon, mesh=ONE
                )
                for values in reached:
                    rounding = 1e-5 * (1 + np.abs(values))
                    self.assertTrue((values >= low - rounding).all())
                    self.assertTrue((values <= high + rounding).all())
                widths.append((high - low).mean())
            if norm == "linf":
                self.assertLessEqual(*widths)
            if epsilon == 0.003 and name != "awkward":
                # Linear bounds say something where intervals do not.
                attack = (found.most - found.least).mean()
                self.assertLess(widths[0], 1.5 * attack)
                self.assertGreater(widths[-1], (norm == "linf") * 2 * attack)

    def test_a_relu_that_is_mostly_on_is_bounded_by_its_input(self):
        def bend(params, x):
            z = 4 * x[:, 0, 0] - 1
            return nn.relu(z) - z

        bounds = jax.jit(features.certify(bend, "linf", "linear"))
        found = bounds(None, jnp.float32(0.5), jnp.full((1, 1, 1, 1), 0.5))
        # Over z in -1 .. 3.
        np.testing.assert_allclose(found, [[[0]], [[1]]], atol=1e-6)

    @parameterized.parameters(*NORMS)
    def test_exact_for_affine_features(self, norm):
        x = images(3)
        generator = np.random.default_rng(0)
        kernel = jnp.float32(generator.normal(size=(3, 3, 1, 2)))
        a = jnp.float32(generator.normal(size=(32, 5)))

        def affine(params, x):
            kernel, a = params
            x = jax.lax.conv_general_dilated(
                (x - 0.4) / 0.3,
                kernel,
                (1, 1),
                "VALID",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            return x.reshape(len(x), -1) @ a + 3

        params = kernel, a
        probe = features.make_probe(
            affine, norm, steps=1, step_size=1.0, certificate="linear"
        )
        values = probe.values(params, x)
        units = np.eye(36, dtype=np.float32).reshape(36, 6, 6, 1)
        slope = (probe.values(params, units) - probe.values(params, 0 * units)).T
        flat = x.reshape(3, 1, -1)
        for epsilon in (0.0, 0.01, 0.3):
            found = features.certified_extremes(
                probe, params, x, epsilon=epsilon, mesh=ONE
            )
            if norm == "l2":
                reach = epsilon * np.linalg.norm(slope, axis=1)[None]
                expected = values - reach, values + reach
            else:
                ends = np.maximum(flat - epsilon, 0), np.minimum(flat + epsilon, 1)
                moved = (np.stack(ends) - flat) * slope[None, None]
                expected = [values + a.sum(-1) for a in (moved.min(0), moved.max(0))]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    @parameterized.parameters(
        (ResNet, dict(blocks=(1, 1, 1, 1)), 8),
        (ResNet, dict(blocks=(1, 1, 1, 1), bottleneck=True), 32),
        (VGG, {}, 8),
        (OneOfEach, {}, 32),
        (DenseNet, dict(layers=(1, 1, 1, 1)), 2),
        (VGG, dict(dtype=jnp.bfloat16, identity_relu=True), 8),
    )
    def test_knows_every_network(self, module, options, count):
        model = functional(module(3, mean=(0.5,), std=(0.3,), width=1, **options))
        unit = features.representation(model.apply)
        x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
        bounds = features.certify(unit, "linf", "intervals")
        with jax.numpy_dtype_promotion("standard"):  # Flax's bfloat16 needs it.
            params = jax.eval_shape(model.init, KEY, x)
            found = jax.eval_shape(bounds, params, jnp.float32(0.1), x)
        for a in found:
            self.assertEqual((a.shape, a.dtype), ((2, count), jnp.float32))

    @parameterized.parameters(
        (jnp.sin, "operation 'sin'"),
        (lambda x: x * x, "operation 'mul'"),
        (lambda x: 1 / x, "operation 'div'"),
        (lambda x: x.astype(jnp.int32).astype(jnp.float32), "'convert_element_type'"),
    )
    def test_refuses_what_it_does_not_know(self, f, message):
        bounds = features.certify(
            lambda params, x: f(x.reshape(len(x), -1)), "l2", "linear"
        )
        with self.assertRaisesRegex(ValueError, message):
            bounds(None, jnp.float32(0.1), images(1))

    def test_narrow_types_are_bounded_in_wide_ones(self):
        a = jnp.float32(np.random.default_rng(0).integers(-8, 9, (36, 4)))

        def narrow(a, x):
            narrow = x.reshape(len(x), -1).astype(jnp.bfloat16) @ a.astype(jnp.bfloat16)
            return narrow.astype(jnp.float32)

        x, epsilon = images(2), jnp.float32(0.1)
        found, expected = (
            jax.jit(features.certify(f, "l2", "linear"))(a.T if wide else a, epsilon, x)
            for f, wide in ((narrow, False), (features.linear, True))
        )
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_same_on_four_devices(self):
        x = images(6)
        a = np.random.default_rng(0).normal(size=(3, 36)).astype(np.float32)
        probe = features.make_probe(
            features.linear, "l2", steps=1, step_size=1.0, certificate="linear"
        )
        one, four = (
            features.certified_extremes(
                probe, a, x, epsilon=0.1, mesh=devices.make_mesh(count)
            )
            for count in (1, 4)
        )
        np.testing.assert_allclose(one, four, atol=1e-5)

    def test_refuses_a_probe_without(self):
        probe = features.make_probe(features.linear, "l2", steps=1, step_size=1.0)
        with self.assertRaisesRegex(ValueError, "without a certificate"):
            features.certified_extremes(
                probe, jnp.ones((1, 36)), images(1), epsilon=0.1, mesh=ONE
            )


def estimate(low, high):
    return Estimate(*(np.full((1, 1), a) for a in ((low + high) / 2, low, high)))


class MeasureTest(parameterized.TestCase):
    @parameterized.parameters(
        # rho, gamma after PGD, certified gamma
        ((0.0, 0.1), (-1.0, 0.05), (-2.0, 0.05), "not useful"),
        ((0.05, 0.11), (0.02, 0.08), (0.01, 0.08), "undecided"),
        ((0.3, 0.5), (-0.2, 0.0), (-0.4, -0.1), "useful, not robust"),
        ((0.3, 0.5), (0.2, 0.4), (0.01, 0.4), "robustly useful"),
        ((0.3, 0.5), (0.2, 0.4), (-0.1, 0.4), "robustly useful by PGD"),
        ((0.3, 0.5), (0.2, 0.4), None, "robustly useful by PGD"),
        ((0.3, 0.5), (-0.1, 0.1), (-0.3, 0.1), "undecided"),
    )
    def test_verdicts(self, rho, upper, lower, expected):
        found = features.judge(
            estimate(*rho), estimate(*upper), lower and estimate(*lower)
        )
        self.assertEqual(features.VERDICTS[found[0, 0]], expected)

    def test_refuses_to_judge(self):
        with self.assertRaisesRegex(ValueError, "useful must be in 0 .. 1, got 2"):
            features.judge(estimate(0, 1), estimate(0, 1), useful=2)

    def test_planted_features_are_told_apart(self):
        data = planted.load()[1]
        a = jnp.float32(planted.basis()[:12])
        probe = features.make_probe(
            features.linear, "l2", steps=1, step_size=1.0, certificate="linear"
        )
        found = features.measure(
            KEY,
            probe,
            a,
            data,
            epsilon=0.15,
            batch_size=500,
            chunk=12,
            mesh=ONE,
        )
        words = [features.VERDICTS[i] for i in found.verdict[:, 0]]
        expected = ["robustly useful", "useful, not robust", *["not useful"] * 10]
        self.assertEqual(words, expected)
        np.testing.assert_array_less(
            found.gamma_certified.value, found.gamma_attacked.value + 1e-4
        )
        for i, unit in enumerate(np.eye(64)[:2]):
            truth = [answers.usefulness(unit, e) for e in (0, 0.15)]
            closed = found.rho.value[i, 0], found.gamma_attacked.value[i, 0]
            np.testing.assert_allclose(closed, truth, atol=0.02)

    def dataset(self, n=20, num_classes=3):
        labels = np.arange(n, dtype=np.int32) % num_classes
        return Dataset(images(n), labels, tuple("abc"[:num_classes]))

    PROBE = features.make_probe(
        features.representation(MLP.apply),
        "l2",
        steps=2,
        step_size=0.7,
        certificate="intervals",
    )

    def measure(self, dataset, params, **options):
        given = dict(epsilon=0.1, batch_size=10, chunk=4, mesh=ONE) | options
        return features.measure(KEY, self.PROBE, params, dataset, **given)

    def dead(self, dataset):
        """Parameters whose units 2 and 7 of 10 are dead."""
        params = shaken(MLP, dataset.images)
        bias = params["params"]["Dense_1"]["bias"]
        dead = np.isin(np.arange(10), (2, 7))
        params["params"]["Dense_1"]["bias"] = np.where(dead, np.float32(-100), bias)
        return params

    def test_dead_units_are_left_out_and_listed(self):
        data = self.dataset()
        found = self.measure(data, self.dead(data))
        np.testing.assert_array_equal(found.constant, [2, 7])
        np.testing.assert_array_equal(found.units, [0, 1, 3, 4, 5, 6, 8, 9])
        for a in jax.tree.leaves(found[2:]):
            self.assertEqual(a.shape, (8, 3))
            self.assertTrue(np.isfinite(a).all())
        self.assertTrue(
            (found.gamma_certified.value <= found.gamma_attacked.value + 1e-5).all()
        )

    def test_a_network_that_is_all_dead_is_refused(self):
        data = self.dataset()
        params = jax.tree.map(jnp.zeros_like, shaken(MLP, data.images))
        with self.assertRaisesRegex(ValueError, "10 in all"):
            self.measure(data, params)

    def test_options_arrive(self):
        data = self.dataset()
        params = shaken(MLP, data.images)
        values = self.PROBE.values(params, data.images)
        y = features.one_against_rest(data.labels, 3)
        found = self.measure(data, params, epsilon=0.0, useful=1.0)
        expected, sign = features.rho(values, y)
        np.testing.assert_allclose(found.rho, expected, atol=1e-5)
        np.testing.assert_array_equal(found.sign, sign)
        # Nothing moves at a radius of 0.
        still = features.gamma(values, Extremes(values, values), y, sign)
        np.testing.assert_allclose(still.value, expected.value, atol=1e-5)
        np.testing.assert_allclose(found.gamma_attacked, still, atol=1e-4)
        np.testing.assert_allclose(found.gamma_certified, still, atol=1e-4)
        self.assertEqual(set(found.verdict.ravel()), {0})

    @parameterized.parameters(
        (dict(epsilon=-1.0), "epsilon must be at least 0"),
        (dict(useful=-0.1), "useful must be in 0 .. 1"),
        (dict(batch_size=0), "batch_size must be at least 1, got 0"),
    )
    def test_refuses(self, options, message):
        data = self.dataset()
        with self.assertRaisesRegex(ValueError, message):
            self.measure(data, shaken(MLP, data.images), **options)

    def test_refuses_a_class_without_examples(self):
        data = self.dataset()
        data = data._replace(labels=np.minimum(data.labels, 1))
        with self.assertRaisesRegex(ValueError, "fewer than 3 examples of class 2"):
            self.measure(data, shaken(MLP, data.images))

    @parameterized.parameters((3, "abc", "abc"), (2, "ab", "b"))
    def test_rows_and_their_table(self, num_classes, names, columns):
        data = self.dataset(num_classes=num_classes)
        found = self.measure(data, self.dead(data))
        self.assertEqual(found.constant.tolist(), [2, 7])
        rows = features.rows(found, names)
        self.assertLen(rows, 8 * len(columns))
        for row in rows:
            i = list(found.units).index(row["feature"])
            k = columns.index(row["class"])
            self.assertEqual(row["sign"], found.sign[i, k])
            self.assertEqual(row["rho_low"], found.rho.low[i, k])
            self.assertEqual(row["gamma_attacked"], found.gamma_attacked.value[i, k])
            self.assertEqual(
                row["gamma_certified_high"], found.gamma_certified.high[i, k]
            )
            self.assertEqual(row["verdict"], features.VERDICTS[found.verdict[i, k]])
        entries = [{"network": "robust", "seed": seed, "rows": rows} for seed in (4, 5)]
        table = list(csv.DictReader(io.StringIO(features.table(entries))))
        self.assertLen(table, 2 * len(rows))
        for line, row in zip(table[len(rows) :], rows, strict=True):
            expected = {"network": "robust", "seed": 5, **row}
            self.assertEqual(
                line, {name: str(value) for name, value in expected.items()}
            )
        with self.assertRaisesRegex(ValueError, "5 classes are named"):
            features.rows(found, "abcde")


class LayerRobustnessTest(parameterized.TestCase):
    @parameterized.parameters(("l2", 7, 1), ("linf", 4, 4))
    def test_of_the_pixels_themselves(self, norm, batch_size, mesh):
        """Any perturbation of full size moves them by epsilon, or epsilon √pixels."""
        x = 0.3 + 0.4 * images(7)
        params = 3 * jnp.eye(36)
        # One step outwards from anywhere in the ball.
        probe = features.make_probe(features.linear, norm, steps=1, step_size=2.0)
        flat = x.reshape(7, -1)
        apart = np.linalg.norm(flat[:, None] - flat[None], axis=-1).sum() / 42
        moved = 0.1 if norm == "l2" else 0.6
        found = features.layer_robustness(
            KEY,
            probe,
            params,
            x,
            epsilon=0.1,
            batch_size=batch_size,
            mesh=devices.make_mesh(mesh),
        )
        self.assertAlmostEqual(found, moved / apart, delta=1e-4)

    def test_refuses(self):
        probe = features.make_probe(features.linear, "l2", steps=1, step_size=1.0)
        given = dict(batch_size=2, mesh=ONE)
        with self.assertRaisesRegex(ValueError, "epsilon must be at least 0"):
            features.layer_robustness(
                KEY, probe, jnp.eye(36), images(2), epsilon=-1.0, **given
            )
        with self.assertRaisesRegex(ValueError, "zero variance"):
            features.layer_robustness(
                KEY, probe, 0 * jnp.eye(36), images(2), epsilon=1.0, **given
            )
