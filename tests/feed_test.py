"""What trainings are fed with: the same batches from the devices and from elsewhere."""

import tempfile
import threading
from pathlib import Path

import jax
import numpy as np
from absl.testing import parameterized

from nrf import data, devices
from nrf.data.feed import Feed, as_float
from nrf.types import Dataset

BITS = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3)).astype(np.uint8)
LABELS = (np.arange(40) % 10).astype(np.int32)
NAMES = tuple("abcdefghij")
ORDER = data.batch_indices(seed=0, epoch=0, n=40, batch_size=8)


class AsFloatTest(parameterized.TestCase):
    def test_every_value_is_divided_as_on_the_host(self):
        x = np.arange(256, dtype=np.uint8)
        for f in (as_float, jax.jit(as_float)):
            np.testing.assert_array_equal(f(x), x / np.float32(255))
        # Where the program is one with what comes after.
        doubled = jax.jit(lambda x: 2 * as_float(x))(x)
        np.testing.assert_array_equal(doubled, x / np.float32(255) * 2)

    def test_other_images_are_left_as_they_are(self):
        x = jax.numpy.ones(3, jax.numpy.float16)
        self.assertIs(as_float(x), x)


class FeedTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "pixels"
        self.path.write_bytes(BITS.tobytes())
        self.stored = data.Pixels(data.Stored(self.path, BITS.shape, np.uint8))
        self.mesh = devices.make_mesh()

    def feed(self, images, resident):
        return Feed(Dataset(images, LABELS, NAMES), self.mesh, resident=resident)

    def test_batches_are_those_of_the_order(self):
        """Of arrays and of files; on the devices, and a few at a time."""
        floats = BITS / np.float32(255)
        for images in (floats, data.Pixels(BITS), self.stored):
            for resident in (0, 2**31):
                for rows, (x, y, index) in zip(
                    ORDER, self.feed(images, resident).batches(ORDER), strict=True
                ):
                    if resident:
                        x, y = x[index], y[index]
                    else:
                        self.assertIsNone(index)
                        self.assertEqual(
                            x.sharding, devices.split(self.mesh, x).sharding
                        )
                    np.testing.assert_array_equal(as_float(x), floats[rows])
                    np.testing.assert_array_equal(y, LABELS[rows])

    def test_sets_that_fit_are_uploaded_once_and_as_8_bits(self):
        feed = self.feed(self.stored, BITS.nbytes)
        (x, y, _), (again, same, _) = list(feed.batches(ORDER[:2]))
        self.assertIs(x, again)
        self.assertIs(y, same)
        self.assertEqual((x.dtype, x.shape), (np.uint8, BITS.shape))
        self.assertIsNone(self.feed(self.stored, BITS.nbytes - 1).resident)

    def test_a_few_batches_are_read_ahead_and_no_more(self):
        taken, threads = [], set()

        class Watched(np.ndarray):
            def __getitem__(self, rows):
                threads.add(threading.current_thread())
                return np.asarray(self)[rows]

        def order():
            for index in ORDER:
                taken.append(index)
                yield index

        batches = self.feed(BITS.view(Watched), 0).batches(order())
        for ahead in (4, 5, 5):
            next(batches)
            self.assertLen(taken, ahead)
        self.assertLen(threads, 1)
        self.assertNotIn(threading.current_thread(), threads)
        batches.close()
        self.assertFalse(threads.pop().is_alive())

    def test_errors_of_the_reader_reach_the_training(self):
        batches = self.feed(self.stored, 0).batches(ORDER)
        self.path.write_bytes(b"")
        with self.assertRaisesRegex(ValueError, "ends before its last row"):
            list(batches)
