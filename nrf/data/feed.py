"""Batches of a data set for `train.make_update`: from the devices, or streamed to them.

    feed = Feed(dataset, mesh)
    for batch in feed.batches(data.batch_indices(seed, epoch, n, batch_size)):
        state, metrics = update(key, state, *batch)

A set that fits lies on every device, and a batch is the indices of its examples. Of a
larger one a thread reads a few batches ahead, each process the rows of its own devices.
Images of 8 bits stay so until they are in the program: `as_float`. Parameters are the
same, bit for bit, either way.
"""

import collections
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nrf import devices
from nrf.rows import Pixels
from nrf.types import Dataset, Images

RESIDENT = 2**31  # Bytes of a set that the devices hold, if nothing else is said.
_AHEAD = 3  # Batches that are read before they are needed.


def as_float(x: jax.Array) -> Images:
    """Images of 8 bits as x / 255 in float32, others as they are.

    Division is rounded as on the host, on any device: GPUs divide to within two units
    in the last place, and a product with 1 / 255 is wrong for every second value.
    """
    if x.dtype != jnp.uint8:
        return x
    # 1 / 255 in two parts, the first of so few bits that its product is exact.
    high, low = np.float32(257 / 2**16), np.float32(1 / 255 - 257 / 2**16)
    x = x.astype(jnp.float32)
    return x * high + x * low


class Feed:
    """The batches of a data set.

    Args:
      dataset: Its images are arrays or `nrf.rows`.
      mesh: The devices, which divide every batch.
      resident: Sets of no more bytes are copied to every device, once.
    """

    def __init__(self, dataset: Dataset, mesh: Mesh, *, resident: int = RESIDENT):
        images, labels = dataset.images, np.asarray(dataset.labels)
        # As they are kept: the program divides by 255.
        self.images = images.base if isinstance(images, Pixels) else images
        self.labels, self.mesh = labels, mesh
        self.resident: Any = None
        if self.images.nbytes <= resident:
            self.resident = devices.copy(mesh, (np.asarray(self.images), labels))

    def batches(self, order: Iterable[np.ndarray]) -> Iterator[tuple[Any, Any, Any]]:
        """(images, labels, index) for each batch of indices [B] of `order`.

        Images and labels are all there are, of which the batch is `index`; or, where
        that is None, those of the batch.
        """
        if self.resident is not None:
            for index in order:
                yield *self.resident, devices.split(self.mesh, index)
            return
        reader = futures.ThreadPoolExecutor(1)
        try:
            ahead: collections.deque = collections.deque()
            for index in order:
                ahead.append(reader.submit(self._read, index))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            reader.shutdown(cancel_futures=True)

    def _read(self, index: np.ndarray) -> tuple[jax.Array, jax.Array, None]:
        images, labels = (self._split(a, index) for a in (self.images, self.labels))
        return images, labels, None

    def _split(self, array: Any, index: np.ndarray) -> jax.Array:
        """The rows `index` [B], divided over the devices."""

        def rows(part: Any) -> np.ndarray:
            return np.asarray(array[index[part[0]]])

        shape = len(index), *array.shape[1:]
        where = NamedSharding(self.mesh, PartitionSpec("data"))
        return jax.make_array_from_callback(shape, where, rows)
