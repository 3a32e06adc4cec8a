"""What trainings are fed with: the same batches from the devices and from elsewhere."""

import tempfile
import threading
from concurrent import futures
from pathlib import Path
from unittest import mock

import jax
import numpy as np
from absl.testing import parameterized

from nrf import data, devices
from nrf.data.feed import Feed, as_float
from nrf.rows import Cast
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

    def feed(self, images, resident, updates=None):
        dataset = Dataset(images, LABELS, NAMES)
        return Feed(dataset, self.mesh, resident=resident, updates=updates)

    def test_batches_are_those_of_the_order(self):
        """Of arrays and of files; on the devices, and a few at a time."""
        floats = BITS / np.float32(255)
        half = Cast(Cast(data.Pixels(BITS), np.float16), np.float32)
        for images in (floats, data.Pixels(BITS), self.stored, half):
            floats = np.asarray(images)
            for resident in (0, 2**31):
                for updates, first in ((None, 0), (None, 3), (2, 0), (3, 1), (9, 0)):
                    feed = self.feed(images, resident, updates)
                    number = first
                    for x, y, made in feed.chunks(ORDER, first):
                        self.assertEqual(len(x), min(updates or 1, 5))
                        of_batch = devices.split(self.mesh, x, 1).sharding
                        self.assertTrue(x.sharding.is_equivalent_to(of_batch, 5))
                        rows = ORDER[number : number + made]
                        np.testing.assert_array_equal(x[:made], floats[rows])
                        np.testing.assert_array_equal(y[:made], LABELS[rows])
                        number += made
                    self.assertEqual(number, 5)

    def test_sets_that_fit_are_on_the_devices_as_8_bits(self):
        held = self.feed(self.stored, BITS.nbytes).resident
        self.assertEqual((held.dtype, held.shape), (np.uint8, BITS.shape))
        self.assertTrue(held.is_fully_replicated)
        self.assertIsNone(self.feed(self.stored, BITS.nbytes - 1).resident)

    def test_sets_that_are_stored_as_float16_are_so_on_the_devices(self):
        half = (BITS / np.float32(255)).astype(np.float16)
        half[:, 0, 0] = (
            6e-8,
            1e-5,
            0,
        )  # Subnormal numbers, which devices may take for 0.
        for images, dtype in ((Cast(half, np.float32), np.float32), (half, half.dtype)):
            feed = self.feed(images, half.nbytes)
            self.assertEqual(feed.resident.dtype, np.float16)
            x = next(feed.chunks(ORDER)).x[0]
            self.assertEqual(x.dtype, dtype)
            np.testing.assert_array_equal(x, half[ORDER[0]].astype(dtype))
        wide = Cast(half, np.float32), np.float16  # There and back: in no more bytes.
        self.assertEqual(self.feed(Cast(*wide), half.nbytes).resident.dtype, np.float16)

    def test_chunks_are_of_a_size_that_devices_have(self):
        batch = 4 * BITS[:8].size
        for size, length in ((2 * batch, 2), (3 * batch - 1, 2), (1, 1)):
            with mock.patch.object(data.feed, "CHUNK", size):
                x, *_ = next(self.feed(self.stored, 0, 4).chunks(ORDER))
            self.assertLen(x, length)

    def test_a_few_batches_are_read_ahead_and_no_more(self):
        taken, threads = [], set()

        class Watched(np.ndarray):
            def __getitem__(self, rows):
                threads.add(threading.current_thread())
                return np.asarray(self)[rows]

        class Reader(futures.ThreadPoolExecutor):
            def submit(self, f, index):
                taken.append(index)
                return super().submit(f, index)

        with mock.patch.object(futures, "ThreadPoolExecutor", Reader):
            chunks = self.feed(BITS.view(Watched), 0).chunks(ORDER)
            for ahead in (4, 5, 5):
                next(chunks)
                self.assertLen(taken, ahead)
        self.assertLen(threads, 1)
        self.assertNotIn(threading.current_thread(), threads)
        chunks.close()
        self.assertFalse(threads.pop().is_alive())

    def test_errors_of_the_reader_reach_the_training(self):
        batches = self.feed(self.stored, 0).chunks(ORDER)
        self.path.write_bytes(b"")
        with self.assertRaisesRegex(ValueError, "ends before its last row"):
            list(batches)
