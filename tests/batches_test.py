"""The order of training examples, and their augmentation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from PIL import Image, ImageEnhance

from nrf import data
from nrf.data import batches


def fresh():
    return jax.random.key(0)


class BatchIndicesTest(parameterized.TestCase):
    @parameterized.parameters((10, 3, 3), (10, 5, 2), (4, 4, 1))
    def test_is_a_permutation_without_its_remainder(self, n, batch_size, batches):
        rows = data.batch_indices(0, 0, n, batch_size)
        chex.assert_shape(rows, (batches, batch_size))
        self.assertLen(set(rows.ravel()), batches * batch_size)
        self.assertContainsSubset(rows.ravel(), range(n))

    def test_depends_on_seed_and_epoch_alone(self):
        rows = data.batch_indices(1, 2, 100, 10)
        np.testing.assert_array_equal(rows, data.batch_indices(1, 2, 100, 10))
        np.testing.assert_array_equal(
            rows.ravel(), data.batch_indices(1, 2, 100, 50).ravel()
        )
        others = [
            data.batch_indices(s, e, 100, 10) for s, e in ((1, 3), (2, 2), (2, 1))
        ]
        for other in others:
            self.assertFalse(np.array_equal(rows, other))

    @parameterized.parameters(0, 11, -1, 2.5)
    def test_no_full_batch(self, batch_size):
        with self.assertRaisesRegex(ValueError, f"1 .. 10.* got {batch_size}"):
            data.batch_indices(0, 0, 10, batch_size)


class AugmentTest(chex.TestCase):
    @parameterized.parameters((0, False), (0, True), (1, False), (2, True))
    def test_is_a_crop_of_the_padded_image(self, pad, flip):
        """Every output is one of numpy's crops; all of them occur about equally."""
        x = np.random.default_rng(0).random((1000, 5, 4, 2), np.float32)
        augment = jax.jit(data.augment, static_argnames=("pad", "flip"))
        out = np.asarray(augment(jax.random.key(0), x, pad=pad, flip=flip))
        self.assertEqual(out.dtype, x.dtype)
        # One program for all of them makes the same.
        traced = jax.jit(data.augment)(jax.random.key(0), x, pad=pad, flip=flip)
        np.testing.assert_array_equal(traced, out)
        padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        candidates = []
        for top in range(2 * pad + 1):
            for left in range(2 * pad + 1):
                crop = padded[:, top : top + 5, left : left + 4]
                candidates += [crop, crop[:, :, ::-1]] if flip else [crop]
        matches = np.array([(c == out).all(axis=(1, 2, 3)) for c in candidates])
        np.testing.assert_array_equal(matches.sum(axis=0), 1)
        expected = 1000 / len(candidates)
        spread = 5 * np.sqrt(expected)
        np.testing.assert_allclose(matches.sum(axis=1), expected, rtol=0, atol=spread)

    def test_colours_are_those_of_pillow_in_a_random_order(self):
        """As torchvision's ColorJitter makes them of 8-bit images, up to rounding."""
        x = np.random.default_rng(0).integers(40, 216, (60, 6, 5, 3), np.uint8)
        out = jax.jit(batches.jitter_colours)(fresh(), np.float32(x) / 255, 0.25)
        key_order, key_factor = jax.random.split(fresh())
        order = jnp.argsort(jax.random.uniform(key_order, (3, 60, 1, 1, 1)), 0)
        factors = jax.random.uniform(key_factor, order.shape, minval=0.75, maxval=1.25)
        enhance = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
        for number, image in enumerate(x):
            image = Image.fromarray(image)
            for which, factor in zip(
                order[:, number].ravel(), factors[:, number].ravel(), strict=True
            ):
                image = enhance[which](image).enhance(float(factor))
            np.testing.assert_allclose(out[number] * 255, np.asarray(image), atol=5)
        orders = [tuple(one) for one in np.asarray(order).reshape(3, -1).T]
        self.assertLen(set(orders), 6)
        self.assertBetween(float(factors.min()), 0.75, 0.76)
        self.assertBetween(float(factors.max()), 1.24, 1.25)

    def test_greys_have_no_saturation(self):
        x = np.full((50, 3, 3, 1), 0.5, np.float32)
        out = np.asarray(data.augment(fresh(), x, pad=0, flip=False, jitter=0.25))
        # A flat grey image has no contrast either.
        np.testing.assert_allclose(out, out[:, :1, :1] * np.ones_like(out), rtol=1e-6)
        self.assertBetween(float(out.min()), 0.375, 0.4)
        self.assertBetween(float(out.max()), 0.6, 0.625)

    @parameterized.parameters(2, 30)
    def test_rotations_are_those_of_pillow(self, degrees):
        x = np.random.default_rng(0).integers(1, 256, (20, 32, 28, 3), np.uint8)
        out = jax.jit(batches.rotate)(fresh(), np.float32(x), degrees)
        angles = jax.random.uniform(
            fresh(), (20, 1, 1), minval=-degrees, maxval=degrees
        )
        same = [
            np.asarray(out[number])
            == np.asarray(Image.fromarray(image).rotate(float(angle)))
            for number, (image, angle) in enumerate(
                zip(x, np.asarray(angles).ravel(), strict=True)
            )
        ]
        # Pixels half-way between two neighbours may go to either.
        self.assertGreater(np.mean(same), 0.999)
        self.assertLess(np.mean(np.asarray(out) == x), 0.9999)

    def test_colours_and_rotations_come_after_crops(self):
        x = np.random.default_rng(0).random((20, 8, 8, 3), np.float32)
        settings = dict(pad=2, flip=True, jitter=0.25, rotation=10.0)
        out = data.augment(fresh(), x, **settings)
        *_, key_jitter, key_rotation = jax.random.split(fresh(), 4)
        expected = data.augment(fresh(), x, pad=2, flip=True)
        expected = batches.jitter_colours(key_jitter, expected, 0.25)
        np.testing.assert_array_equal(out, batches.rotate(key_rotation, expected, 10.0))

    def test_another_key_is_another_augmentation(self):
        x = np.random.default_rng(0).random((50, 5, 4, 1), np.float32)
        keys = jax.random.split(jax.random.key(0))
        for settings in (
            dict(pad=1, flip=True),
            dict(pad=0, flip=False, jitter=0.1),
            dict(pad=0, flip=False, rotation=30.0),
        ):
            one, two = (data.augment(key, x, **settings) for key in keys)
            self.assertFalse(np.array_equal(one, two))

    @parameterized.parameters(-1, 1.5)
    def test_pads_by_whole_pixels(self, pad):
        with self.assertRaisesRegex(ValueError, f"whole number of pixels.* got {pad}"):
            data.augment(jax.random.key(0), np.zeros((2, 3, 3, 1)), pad=pad, flip=True)
