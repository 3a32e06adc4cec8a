"""What is no image and what is no label, in words that say what to write."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from flax import linen as nn
from flax import nnx

from nrf import types

IMAGES = np.full((4, 3, 3, 1), 0.5, np.float32)
LABELS = np.array([0, 1, 2, 1], np.int32)


class ImagesTest(parameterized.TestCase):
    @parameterized.parameters(np.float32, np.float16, np.float64, jnp.bfloat16)
    def test_accepted(self, dtype):
        types.check_images(IMAGES.astype(dtype))
        types.check_images(IMAGES[:0].astype(dtype))

    @parameterized.parameters(
        (IMAGES.tolist(), "images must be a NumPy or JAX array, got a list"),
        (IMAGES[0], r"images must be \[B, H, W, C\], got shape \(3, 3, 1\)"),
        (np.uint8(255 * IMAGES), "got uint8; for 8-bit images write x / 255"),
        (255 * IMAGES, "values from 127.5 to 127.5; divide 8-bit values"),
        (IMAGES - 1, r"must lie in \[0, 1\], got values from -0.5"),
        (IMAGES * np.nan, "values from nan"),
        (np.zeros((4, 3, 8, 8)), r"first; write images.transpose\(0, 2, 3, 1\)"),
    )
    def test_refused(self, x, words):
        with self.assertRaisesRegex(ValueError, words):
            types.check_images(x)


class LabelsTest(parameterized.TestCase):
    @parameterized.parameters(np.uint8, np.int32, np.int64)
    def test_accepted(self, dtype):
        types.check_labels(LABELS.astype(dtype), 3, 4)
        types.check_labels(LABELS.astype(dtype), 5)

    @parameterized.parameters(
        (LABELS.tolist(), "labels must be a NumPy or JAX array, got a list"),
        (LABELS.astype(np.float32), r"whole numbers write y.astype\(np.int32\)"),
        # Its argmax would be 0 throughout.
        (LABELS[:, None], r"got int32 \(4, 1\); for a column write y\[:, 0\]"),
        (np.eye(3)[LABELS], r"for one-hot labels write y.argmax\(-1\)"),
        (LABELS.astype(str), r"words write names, y = np.unique\(y, return_inv"),
        (LABELS - 1, "got -1 .. 1; where a negative label means unlabelled"),
        (LABELS + 1, "0 .. 2 for 3 classes, got 1 .. 3; they seem to count from 1"),
        (LABELS * 2, "got 0 .. 4; is num_classes too small"),
        (LABELS[:3], "there are 3 labels for 4 images"),
    )
    def test_refused(self, y, words):
        with self.assertRaisesRegex(ValueError, words):
            types.check_labels(y, 3, 4)

    def test_one_class_is_none(self):
        with self.assertRaisesRegex(ValueError, "two classes or more, got 1"):
            types.check_labels(LABELS * 0, 1)

    def test_counts_are_compared_under_jit(self):
        def traced(y):
            types.check_labels(y, 3, 4)
            return y

        jax.jit(traced)(LABELS + 7)  # Values are unknown there.
        with self.assertRaisesRegex(ValueError, "3 labels for 4 images"):
            jax.jit(traced)(LABELS[:3])


class NetworkTest(parameterized.TestCase):
    @parameterized.parameters(
        (nn.Dense(3), r"write models.linen\(module\).apply, got a Dense"),
        (nnx.Linear(3, 3, rngs=nnx.Rngs(0)), r"models.nnx\(module\).apply, got a Lin"),
        (lambda x: x, r"apply\(params, x\): too many .* write lambda params, x: netw"),
    )
    def test_what_is_called_otherwise(self, apply, words):
        with self.assertRaisesRegex(ValueError, words):
            types.outputs(apply)

    def test_functions_that_do_not_tell_what_they_take(self):
        types.outputs(max)
        types.outputs(nnx.jit(lambda params, x: x))

    def test_a_seed_is_no_key(self):
        with self.assertRaisesRegex(
            ValueError, r"a key is jax.random.key\(seed\), got 0"
        ):
            types.check_key(0)


class DatasetTest(parameterized.TestCase):
    @parameterized.parameters(
        (dict(images=255 * IMAGES), r"images must lie in \[0, 1\]"),
        (dict(labels=LABELS[:2]), "2 labels for 4 images"),
        (dict(names=("a", "b")), "0 .. 1 for 2 classes"),
        (dict(images=IMAGES[:0], labels=LABELS[:0]), "needs images, got none"),
    )
    def test_refused(self, change, words):
        dataset = types.Dataset(IMAGES, LABELS, ("a", "b", "c"))
        types.check_dataset(dataset)
        with self.assertRaisesRegex(ValueError, words):
            types.check_dataset(dataset._replace(**change))
