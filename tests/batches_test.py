"""The order of training examples, and the crops and mirror images of them."""

import chex
import jax
import numpy as np
from absl.testing import parameterized

from nrf import data


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

    def test_another_key_is_another_augmentation(self):
        x = np.random.default_rng(0).random((50, 5, 4, 1), np.float32)
        keys = jax.random.split(jax.random.key(0))
        augment = jax.jit(data.augment, static_argnames=("pad", "flip"))
        one, two = (augment(key, x, pad=1, flip=True) for key in keys)
        self.assertFalse(np.array_equal(one, two))

    @parameterized.parameters(-1, 1.5)
    def test_pads_by_whole_pixels(self, pad):
        with self.assertRaisesRegex(ValueError, f"whole number of pixels.* got {pad}"):
            data.augment(jax.random.key(0), np.zeros((2, 3, 3, 1)), pad=pad, flip=True)
