import tempfile
from unittest import mock

import chex
import jax
import numpy as np
from absl.testing import parameterized

from nrf import data
from nrf.data import planted


class DigitsTest(parameterized.TestCase):
    def test_split_is_fixed_balanced_and_complete(self):
        from sklearn.datasets import load_digits

        train, test = data.load("digits")
        chex.assert_shape(train.images, (1297, 8, 8, 1))
        chex.assert_shape(test.images, (500, 8, 8, 1))
        self.assertEqual(train.images.dtype, np.float32)
        self.assertEqual(train.labels.dtype, np.int32)
        self.assertEqual(train.names, tuple("0123456789"))
        self.assertEqual(train.num_classes, 10)
        np.testing.assert_array_equal(np.bincount(test.labels), [50] * 10)
        # Together they are scikit-learn's examples, each once.
        ours = np.concatenate(
            [
                np.c_[part.images.reshape(-1, 64) * 16, part.labels]
                for part in (train, test)
            ]
        )
        truth = np.c_[load_digits(return_X_y=True)]
        np.testing.assert_array_equal(
            sorted(map(tuple, ours)), sorted(map(tuple, truth))
        )
        # Written down from the first release: a new split is a new data set.
        np.testing.assert_array_equal(train.labels[:8], [6, 6, 6, 2, 5, 6, 6, 2])
        np.testing.assert_array_equal(test.labels[:8], [7, 7, 7, 8, 7, 3, 8, 3])

    def test_the_first_so_many(self):
        train, test = data.load("digits")
        few, fewer = data.load("digits", train_examples=300, test_examples=7)
        np.testing.assert_array_equal(few.images, train.images[:300])
        np.testing.assert_array_equal(fewer.labels, test.labels[:7])

    @parameterized.parameters(1298, 0, -1)
    def test_too_many_are_refused(self, count):
        with self.assertRaisesRegex(ValueError, f"1297 examples; {count} were asked"):
            data.load("digits", train_examples=count)

    def test_planted_is_made_by_its_module(self):
        train, test = data.load("planted", test_examples=20)
        truth = planted.load()
        np.testing.assert_array_equal(train.images, truth[0].images)
        np.testing.assert_array_equal(test.labels, truth[1].labels[:20])
        self.assertEqual(test.names, planted.NAMES)


class NamesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.enterContext(tempfile.TemporaryDirectory())

    @parameterized.parameters(
        ("digit", "Did you mean 'digits'"),
        ("cifar", "Did you mean 'cifar10'"),
        ("cifar10", "python scripts/prepare_cifar10.py"),
        ("mnist", "tfds build mnist"),
        ("my photographs", "no data set 'my photographs'"),
        ("mnist", "holds no prepared data set, and digits and planted are built in"),
    )
    def test_unknown(self, name, words):
        with self.assertRaisesRegex(ValueError, words):
            data.load(name, data_dir=self.folder)

    def test_missing_folder(self):
        with self.assertRaisesRegex(ValueError, "there is no folder .*/nowhere"):
            data.load("cifar10", data_dir=f"{self.folder}/nowhere")

    def test_default_folder_is_that_of_tfds(self):
        with (
            mock.patch.dict("os.environ", TFDS_DATA_DIR=f"{self.folder}/mine"),
            self.assertRaisesRegex(ValueError, "there is no folder .*/mine"),
        ):
            data.load("cifar10")


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

    @parameterized.parameters(0, 11, -1)
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
