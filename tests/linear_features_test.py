"""Linear features: the plane against closed forms, leakage against planted truth."""

import functools
import importlib
import json
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import features, theory
from nrf.data import Dataset, planted
from nrf.features import Directions
from nrf.theory import planted as answers

KEY = jax.random.key(0)
# The package has the function of this name.
MODULE = importlib.import_module("nrf.features.plane")


def population(rho, deviation):
    """Directions with these ρ and robustness, and the Gaussian that has them."""
    deviation, mean = np.array(deviation), np.array(rho) * np.array(deviation)
    d = len(mean)
    cov = np.diag(deviation**2) - np.outer(mean, mean)
    g = theory.Gaussian(jnp.float32(mean), jnp.float32(cov))
    return Directions(np.zeros(d), np.eye(d), mean, deviation**2), g


@functools.cache
def some():
    """12 directions of any usefulness, few of them robust at ε = 0.3."""
    generator = np.random.default_rng(0)
    rho = np.abs(generator.normal(size=12))
    return population(0.9 * rho / np.linalg.norm(rho), np.geomspace(1, 0.02, 12))


def robustness(directions, c):
    """As the paper has it, and not as the code: ‖a‖_Σ / ‖a‖."""
    return np.sqrt(np.sum(c**2 * directions.variance, -1) / np.sum(c**2, -1))


def useful(g, c, epsilon=0.0):
    return np.asarray(theory.usefulness(g, jnp.float32(c), epsilon))


def draw(g, n, share=0.5, seed=0):
    """n images [1, D, 1] of a Gaussian, around grey, and labels; 1 has y = +1."""
    generator = np.random.default_rng(seed)
    labels = (generator.permutation(n) < share * n).astype(np.int32)
    noise = generator.multivariate_normal(0 * g.mean, np.float64(g.cov), n)
    x = (2 * labels - 1)[:, None] * np.asarray(g.mean) + noise
    return Dataset(np.float32(0.5 + x / 8)[:, None, :, None], labels, ("no", "yes"))


def first(dataset, n):
    return Dataset(dataset.images[:n], dataset.labels[:n], dataset.names)


class PrincipalTest(parameterized.TestCase):
    def test_second_moment_is_diagonal_and_signs_are_useful(self):
        data = draw(some()[1], 300, share=0.2)
        y = 2 * data.labels - 1
        found = features.principal(data.images, y)
        np.testing.assert_allclose(found.a @ found.a.T, np.eye(12), atol=1e-9)
        z = found.coordinates(data.images)
        # Both classes weigh the same, though one has four times as many.
        sides = z[y > 0], z[y < 0]
        np.testing.assert_allclose(sum(s.mean(0) for s in sides), 0, atol=1e-9)
        second = sum(s.T @ s / len(s) for s in sides) / 2
        np.testing.assert_allclose(second, np.diag(found.variance), atol=1e-9)
        mean = (sides[0].mean(0) - sides[1].mean(0)) / 2
        np.testing.assert_allclose(mean, found.mean, atol=1e-9)
        self.assertTrue((found.mean >= 0).all())
        self.assertTrue((np.diff(found.variance) < 0).all())

    def test_directions_that_do_not_vary_are_dropped(self):
        x = draw(some()[1], 50).images.copy()
        x[:, :, 3] = 0.7
        x[:, :, 5] = x[:, :, 4]
        y = np.arange(50) % 2 * 2 - 1
        self.assertLen(features.principal(x, y).mean, 10)
        # Of n images, n − 1 differences.
        self.assertLen(features.principal(x[:6], y[:6]).mean, 5)

    def test_refuses(self):
        x, y = np.full((4, 2, 2, 1), 0.3, np.float32), np.array([1, -1, 1, -1])
        with self.assertRaisesRegex(ValueError, "all pixels are constant"):
            features.principal(x, y)
        x[2:] = 0.6
        with self.assertRaisesRegex(ValueError, "the same mean image"):
            features.principal(x, y)


class ConstructionTest(parameterized.TestCase):
    def test_an_ensemble_is_more_useful_than_its_members_and_not_robust(self):
        # Faint ones that know a little each, under two robust ones.
        deviation = [1.0, 0.6, *np.linspace(0.09, 0.05, 20)]
        directions, g = population([0.3, 0.2, *[0.2] * 20], deviation)
        c = features.ensemble(directions, 0.1)
        np.testing.assert_array_equal(c, [0, 0, *[1] * 20])
        alone = useful(g, np.eye(22))
        np.testing.assert_allclose(alone[2:], 0.2, atol=1e-5)
        # Σ mean / √Σ variance: nearly √20 times as much.
        self.assertBetween(useful(g, c), 0.86, 0.2 * 20**0.5)
        self.assertLessEqual(useful(g, c, 0.1), 0)
        self.assertGreater(useful(g, [1, 0.6, *[0] * 20], 0.1), 0)

    def test_directions_that_are_not_robust_alone_can_be_so_together(self):
        """Why the threshold is one of robustness, and not of gamma."""
        directions, g = population([0.6, 0.6], [0.31, 0.3])
        np.testing.assert_array_less(useful(g, np.eye(2), 0.2), 0)
        self.assertGreater(useful(g, [1, 1], 0.2), 0)
        np.testing.assert_array_equal(features.ensemble(directions, 0.2), [0, 0])

    def test_a_containment_is_useful_and_not_robust(self):
        directions, g = population([0.8, 0.0], [0.5, 0.01])
        c = features.containment(directions, 1, 0, 0.1)
        np.testing.assert_allclose(c, [0.1, 0.9])
        self.assertGreater(useful(g, c), 0.7)
        self.assertLess(useful(g, c, 0.2), -1)
        self.assertGreater(useful(g, [1, 0], 0.2), 0.3)
        self.assertEqual(useful(g, [0, 1]), 0)
        with self.assertRaisesRegex(ValueError, "alpha must be in 0 .. 1, got 2"):
            features.containment(directions, 1, 0, 2)


class FrontierTest(parameterized.TestCase):
    def test_nothing_as_robust_is_more_useful(self):
        directions, g = some()
        c = features.frontier(directions, points=20)
        r, rho = robustness(directions, c), useful(g, c)
        self.assertTrue((np.diff(r) >= -1e-9).all())
        generator = np.random.default_rng(1)
        # Any features; directions; and what lies closely beside the frontier.
        beside = np.repeat(c / np.linalg.norm(c, axis=1, keepdims=True), 200, 0)
        size = 10 ** generator.uniform(-4, 0, (len(beside), 1))
        others = np.concatenate(
            [
                generator.normal(size=(5000, 12)) / np.sqrt(directions.variance),
                np.eye(12),
                beside + size * generator.normal(size=beside.shape),
            ]
        )
        r_others, rho_others = robustness(directions, others), useful(g, others)
        for i in range(len(c)):
            as_robust = r_others >= r[i]
            self.assertLessEqual(
                rho_others[as_robust].max(initial=0), rho[i] + 1e-5, f"point {i}"
            )
        # And they come close to it everywhere.
        for i in range(0, len(c) - 1, 4):
            self.assertGreater(rho_others[r_others >= r[i]].max(), rho[i] - 0.01)

    def test_goes_from_the_most_useful_by_the_means_to_the_most_robust(self):
        directions, g = some()
        c = features.frontier(directions, points=20)
        best = np.sqrt(np.sum(directions.mean**2 / directions.variance))
        self.assertAlmostEqual(useful(g, c[0]), best, places=5)
        np.testing.assert_allclose(c[20], directions.mean)  # τ = ∞
        np.testing.assert_array_equal(c[-1], np.eye(12)[0])
        # In between it is (Σ + τI)⁻¹m.
        inverse = directions.mean / c[10]
        tau = np.polyfit(directions.variance, inverse, 1)
        np.testing.assert_allclose(
            np.polyval(tau, directions.variance), inverse, rtol=1e-9
        )

    def test_beyond_the_distance_of_the_means_nothing_is_robust(self):
        directions, g = some()
        limit = np.linalg.norm(directions.mean)
        c = features.frontier(directions)
        self.assertGreater(useful(g, c, 0.99 * limit).max(), 0)
        self.assertLess(useful(g, c, 1.01 * limit).max(), 0)


class PlaneTest(parameterized.TestCase):
    def test_points_have_their_closed_form(self):
        g = some()[1]
        data, epsilon = draw(g, 4000, share=0.3), 0.03
        found = features.plane(
            data, draw(g, 500, seed=1), classes=(0, 1), epsilon=epsilon
        )
        directions = features.principal(data.images, 2 * data.labels - 1)
        points = found["directions"]
        self.assertLen(points, 12)
        for a, point in zip(directions.a, points, strict=True):
            # Images are an eighth of the Gaussian.
            for name, radius in (("rho", 0.0), ("gamma", 8 * epsilon)):
                error = 2 * (point[f"{name}_high"] - point[name])
                self.assertLess(abs(point[name] - useful(g, a, radius)), error)
            exact = point["rho"] - epsilon / point["robustness"]
            np.testing.assert_allclose(point["gamma"], exact, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            [point["robustness"] for point in points], np.sqrt(directions.variance)
        )
        self.assertAlmostEqual(found["limit"], np.linalg.norm(g.mean) / 8, delta=0.002)
        # The most useful direction of all is on the frontier's end, on both sets.
        best = float(np.sqrt(np.sum(some()[0].mean ** 2 / some()[0].variance)))
        end = found["frontier"][0]
        self.assertAlmostEqual(end["train"]["rho"], best, delta=0.03)
        self.assertAlmostEqual(end["test"]["rho"], best, delta=0.06)

    def test_planted_directions_are_told_apart(self):
        found = features.plane(*planted.load(4000), classes=(0, 1), epsilon=0.15)
        words = [point["verdict"] for point in found["directions"]]
        expected = ["robustly useful", *["not useful"] * 62, "useful, not robust"]
        self.assertEqual(words, expected)
        mean, variance = planted.moments()
        _, c = np.linalg.eigh(np.diag(variance) + np.outer(mean, mean))
        train = planted.load(4000)[0]
        a = features.principal(train.images, 2 * train.labels - 1).a
        # Shade and chessboard go together, by the label: directions are a little of
        # both.
        for place, unit, column in ((0, 0, -1), (-1, 1, 0)):
            self.assertGreater(abs(a[place] @ planted.basis()[unit]), 0.95)
            truth = c[:, column] * np.sign(c[:, column] @ mean)
            point = found["directions"][place]
            for name, radius in (("rho", 0.0), ("gamma", 0.15)):
                error = 3 * (point[f"{name}_high"] - point[name])
                exact = answers.usefulness(truth, radius)
                self.assertAlmostEqual(point[name], exact, delta=error)
        self.assertAlmostEqual(found["limit"], np.hypot(0.3, 0.08), delta=0.01)
        # The sum of the 63 others is worth what their means and variances say.
        points = found["directions"][1:]
        r, rho = (np.array([p[name] for p in points]) for name in ("robustness", "rho"))
        whole = found["ensemble"]
        self.assertEqual((whole["members"], whole["best_member"]), (63, rho.max()))
        expected = np.sum(r * rho) / np.sqrt(np.sum(r**2))
        self.assertAlmostEqual(whole["train"]["rho"], expected, places=5)
        mixed = found["containment"]
        self.assertEqual((mixed["robust"], mixed["verdict"]), (0, "useful, not robust"))
        # Half of its variance is the useful direction's.
        self.assertAlmostEqual(
            mixed["train"]["rho"], found["directions"][0]["rho"] / 2**0.5, delta=1e-3
        )

    def test_what_fits_noise_is_not_called_useful(self):
        train, test = planted.load(4000)
        generator = np.random.default_rng(0)
        train = first(train, 200)._replace(labels=generator.permutation(200) % 2)
        test = test._replace(labels=generator.permutation(4000) % 2)
        found = features.plane(train, test, classes=(0, 1), epsilon=0.5)["ensemble"]
        self.assertEqual((found["members"], found["verdict"]), (64, "not useful"))
        self.assertGreater(found["train"]["rho"], 0.3)
        self.assertLess(found["test"]["rho"], 0.1)

    def test_a_sign_that_is_wrong_on_test_images_stays(self):
        train, test = planted.load(400)
        test = test._replace(labels=1 - test.labels)
        found = features.plane(train, test, classes=(0, 1), epsilon=0.15)
        self.assertLess(found["frontier"][0]["test"]["rho"], -0.9)
        self.assertLess(found["containment"]["test"]["rho_high"], 0)

    def test_other_classes_are_left_out_and_the_order_of_the_two_is_free(self):
        train, test = planted.load(300)
        other = np.random.default_rng(0).uniform(size=(50, 8, 8, 1)).astype(np.float32)

        def with_others(data):
            return Dataset(
                np.concatenate([other, data.images]),
                np.concatenate([np.full(50, 1), 2 * data.labels]).astype(np.int32),
                ("above", "noise", "below"),
            )

        plain = features.plane(train, test, classes=(0, 1), epsilon=0.15)
        found = features.plane(
            with_others(train), with_others(test), classes=(2, 0), epsilon=0.15
        )
        self.assertEqual(found.pop("classes"), ["below", "above"])
        self.assertEqual(plain.pop("classes"), list(planted.NAMES))
        # Sums over the images are in another order.
        leaves = map(jax.tree.leaves, (found, plain))
        for one, other in zip(*leaves, strict=True):
            same = self.assertEqual if isinstance(one, str) else self.assertAlmostEqual
            same(one, other)

    def test_constructions_that_are_not_possible(self):
        data = planted.load(300)
        found = features.plane(*data, classes=(0, 1), epsilon=0.0)
        self.assertIsNone(found["ensemble"])
        self.assertIsNone(found["containment"])
        # Nothing is robust at 0.5, beyond the limit.
        found = features.plane(*data, classes=(0, 1), epsilon=0.5)
        self.assertEqual(found["ensemble"]["members"], 64)
        self.assertIsNone(found["containment"])

    def test_is_json_and_depends_on_no_chunk(self):
        data = planted.load(300)
        found = features.plane(*data, classes=(0, 1), epsilon=0.15)
        self.assertEqual(json.loads(json.dumps(found)), found)
        self.assertEqual(found["images"], {"train": 300, "test": 300})
        self.assertEqual((found["pixels"], found["epsilon"]), (64, 0.15))
        with mock.patch.object(MODULE, "_CHUNK", 37):
            again = features.plane(*data, classes=(0, 1), epsilon=0.15)
        for one, other in zip(found["directions"], again["directions"], strict=True):
            self.assertEqual(one.pop("verdict"), other.pop("verdict"))
            np.testing.assert_allclose(
                list(one.values()), list(other.values()), rtol=1e-4, atol=1e-5
            )

    @parameterized.parameters(
        (dict(epsilon=-0.1), "epsilon must be at least 0"),
        (dict(classes=(0, 0)), "two different labels"),
        (dict(classes=(0, 3)), r"classes must be in 0 \.\. 2, got \(0, 3\)"),
        (dict(classes=(0, 2)), "0 of the training images are of class c"),
        (dict(useful=2), "useful must be in 0 .. 1"),
    )
    def test_refuses(self, change, message):
        train, test = (one._replace(names=("a", "b", "c")) for one in planted.load(40))
        given = dict(classes=(0, 1), epsilon=0.1) | change
        with self.assertRaisesRegex(ValueError, message):
            features.plane(train, test, **given)

    def test_refuses_another_number_of_labels(self):
        train, test = planted.load(40)
        test = test._replace(labels=test.labels[:-1])
        with self.assertRaisesRegex(ValueError, r"39 labels for 40 (test )?images"):
            features.plane(train, test, classes=(0, 1), epsilon=0.1)

    def test_refuses_test_images_of_another_size(self):
        train, test = planted.load(40)
        test = test._replace(images=test.images[:, 1:])
        with self.assertRaisesRegex(ValueError, "have 64 pixels and test images 56"):
            features.plane(train, test, classes=(0, 1), epsilon=0.1)


SHADE, CHECKER = np.float32(planted.basis()[:2])


@functools.cache
def pushed(feature, seed=0):
    """Planted images pushed along a feature towards random labels; these labels."""
    data = planted.load(4000)[0]
    labels = np.random.default_rng(seed).permutation(4000).astype(np.int32) % 2
    a = (SHADE, CHECKER)[feature].reshape(8, 8, 1)
    x = data.images + 0.1 * (2 * labels - 1)[:, None, None, None] * a
    return Dataset(np.float32(x).clip(0, 1), labels, data.names)


class LeakageTest(parameterized.TestCase):
    def leakage(self, a, made, epsilon=0.15, **options):
        options = dict(norm="l2", epsilon=epsilon, shuffles=4) | options
        return features.leakage(KEY, a, *self.given(made), **options)

    def given(self, made):
        train, test = planted.load(4000)
        return train, made, test

    @parameterized.parameters("l2", "linf")
    def test_gammas_are_the_closed_forms(self, norm):
        a, g = np.stack([SHADE, -CHECKER]), answers.gaussian()
        epsilon = 0.15 if norm == "l2" else 0.15 / 8
        robust, gammas = features.robustly_useful(
            a, planted.load(4000)[0], norm=norm, epsilon=epsilon
        )
        np.testing.assert_array_equal(robust, [True, False])
        # In ℓ∞ these two are as in ℓ2 at 8 times the radius: pixels are ±1/8.
        truth = theory.usefulness(g, jnp.eye(2, 64), 0.15, "l2")
        np.testing.assert_allclose(gammas, truth, atol=0.02)

    def test_what_robust_features_teach_is_found(self):
        found = self.leakage(np.stack([SHADE, CHECKER]), {"D_rand": pushed(0)})
        self.assertEqual((found["features"], found["robust"]), (2, 1))
        score = found["D_rand"]
        self.assertEqual(score["total"], 4000)
        # As many as the shade alone is right for.
        truth = answers.accuracy(np.eye(64)[0])
        self.assertAlmostEqual(score["correct"] / 4000, truth, delta=0.02)

    def test_features_that_are_not_robust_are_left_out(self):
        a, made = np.stack([SHADE, CHECKER]), {"D_rand": pushed(1)}
        found = self.leakage(a, made)
        self.assertEqual(found["D_rand"], self.leakage(SHADE[None], made)["D_rand"])
        self.assertLess(found["D_rand"]["correct"], 0.6 * 4000)
        # With the chessboard, at ε = 0, what was added is learned.
        both = self.leakage(a, made, epsilon=0.0)
        self.assertEqual(both["robust"], 2)
        self.assertGreater(both["D_rand"]["correct"], 0.7 * 4000)

    def test_labels_against_the_features_are_below_chance(self):
        train = planted.load(4000)[0]
        against = train._replace(labels=1 - train.labels)
        found = self.leakage(SHADE[None], {"D_det": against})
        self.assertLess(found["D_det"]["correct"], 0.15 * 4000)

    def test_labels_without_meaning_are_at_chance_as_shuffled_ones(self):
        train, test = planted.load(4000)
        generator = np.random.default_rng(0)
        labels = generator.integers(0, 2, 4000).astype(np.int32)
        a = generator.normal(size=(6, 64)).astype(np.float32) + SHADE[None]
        made = {"D_rand": train._replace(labels=labels)}
        found = features.leakage(
            KEY, a, train, made, test, norm="l2", epsilon=0.0, useful=0.0, shuffles=39
        )
        score = found["D_rand"]
        self.assertLen(score["shuffled"], 39)
        self.assertBetween(
            score["correct"], min(score["shuffled"]), max(score["shuffled"])
        )
        # Far wider than the 63 that 4,000 test images alone would give; not biased.
        self.assertGreater(np.std(score["shuffled"]), 150)
        self.assertAlmostEqual(np.mean(score["shuffled"]), 2000, delta=300)

    def test_orders_depend_on_key_and_name_alone(self):
        a = np.stack([SHADE, CHECKER])
        alone = self.leakage(a, {"one": pushed(1)}, epsilon=0.0)
        both = self.leakage(a, {"two": pushed(1), "one": pushed(1)}, epsilon=0.0)
        self.assertEqual(alone["one"], both["one"])
        self.assertEqual(both["two"]["correct"], both["one"]["correct"])
        self.assertNotEqual(both["two"]["shuffled"], both["one"]["shuffled"])

    def test_nothing_leaks_where_nothing_is_robust(self):
        found = self.leakage(CHECKER[None], {"D_rand": pushed(0)})
        self.assertEqual((found["features"], found["robust"]), (1, 0))
        self.assertLess(found["gammas"][0], 0)
        self.assertIsNone(found["D_rand"])
        self.assertEqual(json.loads(json.dumps(found)), found)

    def test_features_that_do_not_vary_are_no_features(self):
        a = np.stack([0 * SHADE, SHADE])
        found = self.leakage(a, {"D_rand": pushed(0)})
        self.assertEqual((found["features"], found["robust"]), (1, 1))
        found = self.leakage(a[:1], {"D_rand": pushed(0)})
        self.assertEqual((found["features"], found["gammas"]), (0, []))
        self.assertIsNone(found["D_rand"])

    @parameterized.parameters(
        (dict(epsilon=-1.0), "epsilon must be at least 0"),
        (dict(norm="linf", epsilon=8), "write k / 255"),
        (dict(a=SHADE[None, :60]), r"features must be \[F, 64\] for images of dataset"),
        (dict(labels=np.ones(4000, np.int32)), "all labels of D_rand are 1;"),
        (dict(labels=np.full(4000, 7, np.int32)), r"labels must be in 0 \.\. 1"),
        (dict(labels=np.arange(50, dtype=np.int32) % 2), "50 labels for 4000 images"),
    )
    def test_refuses(self, change, message):
        made = pushed(0)
        made = made._replace(labels=change.pop("labels", made.labels))
        a = change.pop("a", SHADE[None])
        with self.assertRaisesRegex(ValueError, message):
            self.leakage(a, {"D_rand": made}, **change)
