"""Random resized crops: what is shown of an image, and how it is enlarged."""

from unittest import mock

import jax
import numpy as np
import PIL.Image
import scipy.stats
from absl.testing import parameterized

from nrf import data, train
from nrf.config import Training
from nrf.data import crops
from nrf.experiments import build
from nrf.models import Linear


def drawn_as_in_torchvision(random, height, width, least):
    """Upper left corner and sides of a part, as parts of the image's sides."""
    sides = (1.0, 1.0)
    for _ in range(10):
        area = random.uniform(least, 1) * height * width
        ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        drawn = np.sqrt(area / ratio) / height, np.sqrt(area * ratio) / width
        if max(drawn) <= 1:
            sides = drawn
            break
    return [random.uniform(0, 1 - side) for side in sides], sides


class CropTest(parameterized.TestCase):
    @parameterized.parameters((6, 6, 0.08), (4, 6, 0.5), (4, 6, 1.0))
    def test_parts_are_drawn_as_in_torchvision(self, height, width, least):
        random = np.random.default_rng(0)
        expected = np.array(
            [drawn_as_in_torchvision(random, height, width, least) for _ in range(4000)]
        ).transpose(1, 2, 0)
        x = np.zeros((4000, height, width, 3), np.float32)
        with mock.patch.object(crops, "_enlarged", lambda x, *part: part):
            found = crops.random_resized_crop(jax.random.key(0), x, least)
        corners, sides = np.asarray(found)
        self.assertGreaterEqual(corners.min(), 0)
        self.assertLess((corners + sides).max(), 1 + 1e-6)
        self.assertEqual(np.mean(sides == 1) > 0.1, least == 1)
        for ours, theirs in zip(
            np.concatenate([corners, sides, sides[:1] * sides[1:]]),
            np.concatenate([*expected, expected[1, :1] * expected[1, 1:]]),
            strict=True,
        ):
            same = scipy.stats.ks_2samp(ours, theirs).pvalue
            self.assertGreater(same, 1e-3)

    def test_parts_are_enlarged_as_by_pillow(self):
        x = np.random.default_rng(0).random((6, 24, 18, 3), np.float32)
        corners, sides = np.random.default_rng(1).uniform(0.2, 0.5, (2, 2, 6))
        corners[:, 0], corners[:, 1] = 0, 1 - sides[:, 1]
        out = np.asarray(crops._enlarged(x, np.float32(corners), np.float32(sides)))
        self.assertEqual(out.dtype, np.float32)
        for number, image in enumerate(x):
            top, left = corners[:, number] * (24, 18)
            bottom, right = (corners + sides)[:, number] * (24, 18)
            box = tuple(map(float, (left, top, min(right, 18), min(bottom, 24))))
            for channel in range(3):
                expected = PIL.Image.fromarray(image[..., channel]).resize(
                    (18, 24), PIL.Image.Resampling.BILINEAR, box=box
                )
                np.testing.assert_allclose(
                    out[number, ..., channel], expected, atol=1e-5
                )

    def test_crops_come_before_everything_else(self):
        x = np.random.default_rng(0).random((20, 8, 8, 3), np.float32)
        out = data.augment(jax.random.key(0), x, pad=0, flip=True, crop=0.3)
        key, key_crop = jax.random.split(jax.random.key(0))
        part = crops.random_resized_crop(key_crop, x, 0.3)
        self.assertFalse(np.array_equal(part, x))
        expected = data.augment(key, part, pad=0, flip=True)
        np.testing.assert_array_equal(out, expected)

    def test_trainings_crop(self):
        training = Training(1, 4, 0.1, flip=True, crop=0.3)
        with mock.patch.object(train, "make_step") as make:
            build.trainer(Linear((0.5,), (0.2,)).build(3), training)
        x = np.random.default_rng(0).random((4, 6, 6, 3), np.float32)
        augment = make.call_args.kwargs["augment"]
        out = augment(jax.random.key(0), x, pad=0, flip=True, rate=0.1)
        expected = data.augment(jax.random.key(0), x, pad=0, flip=True, crop=0.3)
        np.testing.assert_array_equal(out, expected)

    @parameterized.parameters(-0.1, 1.5)
    def test_parts_that_are_none(self, crop):
        with self.assertRaisesRegex(
            ValueError, rf"crop must be in \[0, 1\], got {crop}"
        ):
            Training(1, 2, 0.1, crop=crop)
