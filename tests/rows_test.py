"""Rows that are read when they are asked for are those of an array in memory."""

import pickle
import tempfile
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import rows, types

BITS = np.arange(7 * 37).astype(np.uint8).reshape(7, 37, 1, 1)
PIXELS = BITS / np.float32(255)
ORDER = np.array([6, 0, 3, 4, 5, 3, 1])


class Counted:
    """An array that remembers how many rows at once were asked for."""

    def __init__(self, array):
        self.array, self.asked = array, []
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        made = self.array[index]
        self.asked.append(len(made))
        return made


class RowsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = folder / "pixels"
        self.path.write_bytes(b"head" + BITS.tobytes())

    def kinds(self):
        """Every kind of lazy rows, with the array that each stands for."""
        stored = rows.Stored(self.path, BITS.shape, np.uint8, offset=4)
        records = [pickle.dumps(image) for image in PIXELS]
        decoded = rows.Decoded(
            lambda of: [records[row] for row in of],
            pickle.loads,
            PIXELS.shape,
            np.float32,
        )
        half = PIXELS.astype(np.float16)
        yield stored, BITS
        yield rows.Pixels(BITS), PIXELS
        yield rows.Pixels(stored), PIXELS
        yield decoded, PIXELS
        yield rows.Cast(half, np.float32), half.astype(np.float32)
        for whole, array in ((PIXELS, PIXELS), (rows.Pixels(stored), PIXELS)):
            yield rows.part(whole, ORDER), array[ORDER]
            yield rows.part(rows.part(whole, ORDER), [4, 2]), array[ORDER[[4, 2]]]
            yield rows.part(rows.part(whole, ORDER), slice(1, -2)), array[ORDER[1:-2]]

    def same(self, got, expected):
        self.assertIsInstance(got, np.ndarray)
        self.assertEqual((got.shape, got.dtype), (expected.shape, expected.dtype))
        np.testing.assert_array_equal(got, expected)

    def test_every_kind_is_indexed_as_an_array_is(self):
        for lazy, array in self.kinds():
            mask = np.arange(len(array)) % 2 == 0
            for index in (
                *(0, -1, np.int64(1), slice(None), slice(1, None, 2), slice(0, 0)),
                *([1, 0], [], mask, np.array([[1, 0], [-1, 1]]), jnp.array([1])),
                *((), ..., (0, 3), (slice(1), ..., 0), None),
            ):
                self.same(lazy[index], array[index])
            with self.assertRaises(IndexError):
                lazy[len(array)]

    def test_every_kind_is_an_array_where_one_is_needed(self):
        for lazy, array in self.kinds():
            self.assertLen(lazy, len(array))
            self.assertEqual((lazy.ndim, lazy.size), (4, array.size))
            self.assertEqual(lazy.nbytes, array.nbytes)
            self.same(np.asarray(lazy), array)
            self.same(np.asarray(lazy, np.float64), array.astype(np.float64))
            self.same(np.asarray(jnp.asarray(lazy)), array)
            self.same(1 - lazy, 1 - array)
            self.same(array - lazy, array - array)
            self.same(lazy.reshape(len(lazy), -1), array.reshape(len(array), -1))
            self.assertEqual(lazy.max(), array.max())
            self.same(np.stack(list(lazy)), array)
            self.assertEqual(jax.tree.leaves([lazy]), [lazy])  # One array of many.
        with self.assertRaisesRegex(AttributeError, "Pixels has no 'colour'"):
            _ = rows.Pixels(BITS).colour

    def test_only_what_is_asked_for_is_read(self):
        base = Counted(BITS)
        images = rows.part(rows.Pixels(base), ORDER)
        self.same(images[:2], PIXELS[ORDER[:2]])
        self.same(images[4], PIXELS[ORDER[4]])
        self.assertEqual(base.asked, [2, 1])

    def test_all_is_looked_at_in_blocks(self):
        base = Counted(np.zeros((100, 256, 256, 1), np.uint8))
        images = rows.Pixels(base)
        types.check_images(images)  # 8 bits have no other values.
        self.assertEqual(base.asked, [])
        self.assertEqual(np.concatenate([*rows.blocks(images)]).shape, base.shape)
        self.assertEqual(base.asked, [16] * 6 + [4])

    def test_parts_of_pixels_can_be_kept_in_8_bits(self):
        images = rows.part(rows.part(rows.Pixels(BITS), ORDER), slice(2, 5))
        self.same(np.asarray(images.base), BITS[ORDER[2:5]])

    def test_pixels_have_8_bits(self):
        with self.assertRaisesRegex(ValueError, "made of uint8, got float32"):
            rows.Pixels(PIXELS)

    def test_values_are_looked_at_where_they_are_unknown(self):
        for value in (-0.5, 1.5, np.nan):
            images = PIXELS.copy()
            images[5, 3] = value
            for block in (rows.BLOCK, 1):
                with (
                    mock.patch.object(rows, "BLOCK", block),
                    self.assertRaisesRegex(ValueError, "in .0, 1., got values"),
                ):
                    types.check_images(rows.part(images, ORDER))
        types.check_images(rows.part(images, [1, 2]))

    def test_files_that_end_before_are_named(self):
        self.path.write_bytes(self.path.read_bytes()[:-1])
        stored = rows.Stored(self.path, BITS.shape, np.uint8, offset=4)
        self.same(stored[:6], BITS[:6])
        with self.assertRaisesRegex(ValueError, f"{self.path} ends before its last"):
            stored[6]

    def test_more_than_this_machine_holds_is_refused(self):
        stored = rows.Stored(self.path, (10**12, 6, 5, 3), np.uint8)
        with self.assertRaisesRegex(ValueError, "1000000000000 images of 6 x 5 x 3"):
            np.asarray(rows.Pixels(stored))


class EndsTest(parameterized.TestCase):
    @parameterized.parameters(
        ([3.0, 1.0, 2.0], (1.0, 3.0)), ([-1.0], (-1.0, -1.0)), ([], (0.0, 0.0))
    )
    def test_smallest_and_largest(self, values, expected):
        self.assertEqual(rows.ends(np.array(values)), expected)

    def test_over_blocks_and_beside_nan(self):
        images = rows.Rows(PIXELS, ORDER)
        with mock.patch.object(rows, "BLOCK", 1):
            self.assertEqual(rows.ends(images), (PIXELS.min(), PIXELS.max()))
            bad = PIXELS.copy()
            bad[ORDER[2]] = np.nan
            self.assertTrue(np.isnan(rows.ends(rows.Rows(bad, ORDER))).all())
