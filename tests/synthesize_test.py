"""The four data sets: what is kept, what is lowered, what is permuted."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import attacks, devices, losses, models, rows, synthesize
from nrf.data import Dataset
from nrf.experiments import recipes

MODEL = models.MLP((0.5,), (0.25,), widths=(16,)).build(3)
ATTACK = attacks.pgd(
    losses.negate(losses.cross_entropy(MODEL.apply)),
    attacks.l2(1.0),
    steps=10,
    step_size=0.3,
)


def dataset(count=12):
    images = np.random.default_rng(0).uniform(0, 1, (count, 4, 4, 1))
    labels = np.arange(count, dtype=np.int32) % 3
    return Dataset(images.astype(np.float32), labels, ("a", "b", "c"))


def params():
    return MODEL.init(jax.random.key(1), jnp.asarray(dataset().images))


def key():
    return jax.random.key(3)


def matching(steps, step_size):
    # Through dead units too, which a network without training has.
    return synthesize.make_robustify(
        MODEL.identity_relu,
        lambda loss: attacks.pgd(
            loss, attacks.free(), steps=steps, step_size=step_size
        ),
    )


MATCH, FEW_STEPS = matching(60, 0.05), matching(5, 0.05)
PERTURB = synthesize.make_mislabel(MODEL.apply, ATTACK)


def robustify(**options):
    options = {"batch_size": 5, "mesh": devices.make_mesh(1), **options}
    data, match = options.pop("data", dataset()), options.pop("match", MATCH)
    return synthesize.robustify(key(), match, params(), data, **options)


class RobustifyTest(parameterized.TestCase):
    @parameterized.parameters("image", "noise")
    def test_lowers_the_distance_and_keeps_the_label(self, start):
        made, data = robustify(start=start), dataset()
        self.assertTrue((made.final_distance < 0.5 * made.start_distance).all())
        np.testing.assert_array_equal(made.labels, data.labels)
        np.testing.assert_array_equal(made.indices, np.arange(12))
        self.assertBetween(made.images.min(), 0, 1)
        self.assertBetween(made.images.max(), 0, 1)
        # The distances are those of these images, from the originals.
        features = [
            MODEL.apply(params(), x).features for x in (made.images, data.images)
        ]
        distance = np.linalg.norm(features[0] - features[1], axis=1)
        np.testing.assert_allclose(made.final_distance, distance, rtol=1e-3)

    def test_starts_at_other_images(self):
        # Without steps to speak of, an image stays where it started.
        data = dataset()
        made = synthesize.robustify(
            key(),
            matching(1, 1e-9),
            params(),
            data,
            copies=20,
            batch_size=30,
            mesh=devices.make_mesh(1),
        )
        gaps = np.abs(made.images[:, None] - data.images[None]).max((2, 3, 4))
        starts = gaps.argmin(1)
        np.testing.assert_allclose(gaps.min(1), 0, atol=1e-6)
        self.assertTrue((starts != made.indices).all())
        self.assertLen(np.unique(starts), 12)
        # Whatever the label: also images of the same class.
        self.assertTrue((data.labels[starts] == data.labels[made.indices]).any())
        np.testing.assert_array_equal(made.indices, np.tile(np.arange(12), 20))

    @parameterized.parameters((4, 1), (12, 1), (4, 4))
    def test_does_not_depend_on_batches_or_devices(self, batch_size, mesh):
        # Few steps: near its end a path of unit steps turns on rounding errors.
        expected = robustify(match=FEW_STEPS)
        made = robustify(
            match=FEW_STEPS, batch_size=batch_size, mesh=devices.make_mesh(mesh)
        )
        np.testing.assert_allclose(made.images, expected.images, atol=1e-5)

    @parameterized.parameters(
        (dict(start="foo"), "start must be 'image' or 'noise', got 'foo'"),
        (dict(copies=0), "copies must be at least 1, got 0"),
        (dict(copies=2.5), "copies must be a whole number, got 2.5"),
        (dict(batch_size=0), "batch_size must be at least 1, got 0"),
        (dict(data=dataset(1)), "two or more, got 1"),
        (dict(data=dataset()._replace(labels=np.zeros(5, "i"))), "5 labels for 12"),
    )
    def test_refuses(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            robustify(**options)

    def test_images_in_half_precision_are_matched_in_float32(self):
        half = dataset()._replace(images=dataset().images.astype(np.float16))
        made = robustify(data=half)
        expected = robustify(data=half._replace(images=half.images.astype(np.float32)))
        for a, b in zip(made, expected, strict=True):
            self.assertEqual(a.dtype, b.dtype)
            np.testing.assert_array_equal(a, b)

    def test_noise_starts_are_drawn_by_the_key_of_their_row(self):
        x = dataset().images
        starts = synthesize.matching_starts(key(), x, "noise", copies=3)
        self.assertEqual(starts.shape, (3 * len(x), *x.shape[1:]))
        first, _ = jax.random.split(key())
        order = np.array([5, 0, 2 * len(x)])
        for row, start in zip(order, starts[order], strict=True):
            drawn = jax.random.normal(jax.random.fold_in(first, row), x.shape[1:])
            np.testing.assert_allclose(start, jnp.clip(0.5 + drawn / 20, 0, 1), 1e-6)
        noise = 20 * (np.asarray(starts) - 0.5)
        self.assertAlmostEqual(noise.mean(), 0, delta=0.1)
        self.assertAlmostEqual(noise.std(), 1, delta=0.1)

    def test_starts_refuse_what_robustify_does(self):
        with self.assertRaisesRegex(ValueError, "must be 'image' or 'noise', got 'foo"):
            synthesize.matching_starts(key(), dataset().images, "foo")

    def test_another_distance_is_lowered_and_told(self):
        def distance_on(apply):
            def distance(params, x, features):
                return 3 + jnp.sum(jnp.abs(apply(params, x).features - features), 1)

            return distance

        def attack_on(loss):
            return attacks.pgd(loss, attacks.free(), steps=60, step_size=0.05)

        match = synthesize.make_robustify(MODEL.apply, attack_on, distance=distance_on)
        made = robustify(match=match)
        features = [
            MODEL.apply(params(), x).features for x in (made.images, dataset().images)
        ]
        expected = 3 + np.abs(features[0] - features[1]).sum(1)
        np.testing.assert_allclose(made.final_distance, expected, rtol=1e-3)
        # Not all goes: a dead unit has no gradient.
        left = (made.final_distance - 3) / (made.start_distance - 3)
        self.assertLess(left.mean(), 0.5)


class ArraysTest(parameterized.TestCase):
    """A user's arrays and plain function; no devices, no batches."""

    def test_the_sets_of_a_plain_function(self):
        x, y = jnp.asarray(dataset().images), jnp.arange(12) % 3
        matrix = jax.random.normal(jax.random.key(5), (16, 3)) / 4

        def apply(params, x):
            return (x - 0.5).reshape(len(x), -1) @ params

        def attack_on(loss):
            return attacks.pgd(loss, attacks.free(), steps=200, step_size=0.02)

        data = Dataset(x, y, ("a", "b", "c"))
        match = synthesize.make_robustify(apply, attack_on)
        made = synthesize.robustify(key(), match, matrix, data)
        # The features are the logits, and matched where pixels leave room for it.
        self.assertLess(np.median(made.final_distance), 0.05)
        np.testing.assert_allclose(
            made.final_distance,
            np.linalg.norm(apply(matrix, made.images) - apply(matrix, x), axis=1),
            atol=1e-4,
        )

        def towards(params, x, y):
            return jnp.take_along_axis(apply(params, x), y[:, None], 1)[:, 0]

        push = attacks.pgd(towards, attacks.l2(0.5), steps=1, step_size=0.5)
        perturb = synthesize.make_mislabel(apply, push)
        targets = synthesize.next_class(y, 3)
        made = synthesize.mislabel(key(), perturb, matrix, data, targets)
        np.testing.assert_array_equal(made.labels, (np.arange(12) + 1) % 3)
        # One step along the target's column, which is its gradient.
        column = np.asarray(matrix.T)[made.labels].reshape(12, 4, 4, 1)
        column /= np.linalg.norm(column, axis=(1, 2), keepdims=True)
        expected = np.clip(dataset().images + 0.5 * column, 0, 1)
        np.testing.assert_allclose(made.images, expected, atol=1e-5)


class MislabelTest(parameterized.TestCase):
    def mislabel(self, targets, batch_size=5, mesh=1):
        return synthesize.mislabel(
            key(),
            PERTURB,
            params(),
            dataset(),
            targets,
            batch_size=batch_size,
            mesh=devices.make_mesh(mesh),
        )

    def test_pushes_towards_the_new_label_within_the_ball(self):
        targets = synthesize.next_class(dataset().labels, 3)
        made = self.mislabel(targets)
        np.testing.assert_array_equal(made.labels, targets)
        moved = (made.images - dataset().images).reshape(12, -1)
        self.assertLessEqual(np.linalg.norm(moved, axis=1).max(), 1 + 1e-5)
        loss = losses.cross_entropy(MODEL.apply)
        before, after = (
            loss(params(), x, targets) for x in (dataset().images, made.images)
        )
        self.assertTrue(bool((after < before).all()))
        said = MODEL.apply(params(), made.images).logits.argmax(1)
        np.testing.assert_array_equal(made.reached, said == targets)

    @parameterized.parameters((4, 1), (4, 4))
    def test_does_not_depend_on_batches_or_devices(self, batch_size, mesh):
        targets = synthesize.next_class(dataset().labels, 3)
        made, expected = (
            self.mislabel(targets, batch_size, mesh),
            self.mislabel(targets),
        )
        np.testing.assert_allclose(made.images, expected.images, atol=1e-5)

    def test_refuses_targets_out_of_range(self):
        with self.assertRaisesRegex(ValueError, "labels must be in 0 .. 2"):
            self.mislabel(np.full(12, 3, np.int32))

    def test_refuses_another_number_of_targets(self):
        message = r"targets must be \[12\], one for each image, got shape \(5,\)"
        with self.assertRaisesRegex(ValueError, message):
            self.mislabel(np.zeros(5, np.int32))

    def test_next_class_is_a_fixed_permutation_without_fixed_points(self):
        labels = np.arange(10, dtype=np.int32)
        targets = synthesize.next_class(labels, 10)
        np.testing.assert_array_equal(targets, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
        self.assertEqual(targets.dtype, np.int32)

    def test_random_targets_are_uniform_and_include_the_true_label(self):
        labels = jnp.full(20_000, 4, jnp.int32)
        targets = synthesize.random_targets(key(), labels, 10)
        shares = np.bincount(np.asarray(targets), minlength=10) / 20_000
        # Five standard deviations of a binomial share.
        np.testing.assert_allclose(shares, np.full(10, 0.1), atol=5 * 0.0021)


class RandomPushTest(parameterized.TestCase):
    @parameterized.parameters(0.01, 0.5, 1.5)
    def test_moves_by_the_length_after_clipping(self, length):
        x = jnp.asarray(dataset().images)
        # As in pictures, half of the pixels are at an end.
        x = jnp.where(x < 0.5, 0, x)
        keys = jax.random.split(key(), len(x))
        lengths = jnp.linspace(length / 2, length, len(x))
        pushed = synthesize.random_push(keys, x, lengths)
        self.assertBetween(float(pushed.min()), 0, 1)
        self.assertBetween(float(pushed.max()), 0, 1)
        moved = np.linalg.norm((pushed - x).reshape(len(x), -1), axis=1)
        np.testing.assert_allclose(moved, lengths, rtol=1e-4)

    def test_goes_to_the_end_where_that_is_nearer(self):
        x = jnp.zeros((1, 4, 4, 1))
        keys = jax.random.split(key(), 1)
        pushed = np.asarray(synthesize.random_push(keys, x, jnp.array([100.0])))
        # Away from black there is white; a direction points there or beyond the end.
        self.assertEqual(set(np.unique(pushed)), {0.0, 1.0})

    def test_zero_length_moves_nothing(self):
        x = jnp.asarray(dataset().images)
        keys = jax.random.split(key(), len(x))
        pushed = synthesize.random_push(keys, x, jnp.zeros(len(x)))
        np.testing.assert_allclose(pushed, x, atol=1e-6)


class NormsTest(parameterized.TestCase):
    @parameterized.parameters(2, np.inf)
    def test_norms_of_a_few_images_at_a_time(self, order):
        a, b = np.random.default_rng(0).uniform(0, 1, (2, 7, 4, 4, 1))
        expected = np.linalg.norm((a - b).reshape(7, -1), order, axis=1)
        with mock.patch.object(rows, "BLOCK", 2 * a[0].nbytes):
            found = recipes.norms(a, rows.Rows(b, np.arange(7)), order)
        np.testing.assert_array_equal(found, expected)
