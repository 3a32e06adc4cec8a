"""Batches of a data set for `train.make_update`: from the devices, or streamed to them.

    feed = Feed(dataset, mesh)
    order = data.batch_indices(seed, epoch, n, batch_size)
    for chunk in feed.chunks(order):
        state, metrics = update(key, state, given, *chunk)

The batches of one call of the devices are a chunk: on CPUs one, elsewhere 50, so that
no small update waits for the host. A set that fits lies on every device, where a chunk
is taken from it. Of a larger one a thread reads a few chunks ahead, each process the
rows of its own devices. Images of 8 bits, and those that are stored as float16, stay so
until they are in a chunk. Parameters are the same, bit for bit, either way.
"""

import collections
import functools
import math
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nrf import devices
from nrf.rows import Cast, Pixels
from nrf.types import Dataset, Images

RESIDENT = 2**31  # Bytes of a set that the devices hold, if nothing else is said.
UPDATES = 50  # Batches of a chunk, but on CPUs, if nothing else is said.
CHUNK = 2**28  # Bytes of a chunk's images, in float32, if it is more than one batch.
_AHEAD = 3  # Chunks that are read before they are needed.


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


# A program of its own, so that the one of updates is the same for all sets.
@functools.partial(jax.jit, static_argnums=(2, 3))
def _rows(
    images: jax.Array, index: jax.Array, where: NamedSharding, dtype: Any
) -> Images:
    return jax.lax.with_sharding_constraint(_float(images[index], dtype), where)


@functools.partial(jax.jit, static_argnums=1)
def _float(x: jax.Array, dtype: Any) -> Images:
    return as_float(x).astype(dtype)


class Chunk(NamedTuple):
    """Batches for one call of the devices, of which the first `made` are meant."""

    x: jax.Array  # [n, B, H, W, C]
    y: jax.Array  # [n, B]
    made: int


class Feed:
    """The batches of a data set.

    Args:
      dataset: Its images are arrays or `nrf.rows`.
      mesh: The devices, which divide every batch.
      resident: Sets of no more bytes are copied to every device, once.
      updates: Batches of a chunk; None: one on CPUs, and 50 elsewhere. They are fewer
        where an epoch has not so many, or where their images were too large.
    """

    def __init__(
        self,
        dataset: Dataset,
        mesh: Mesh,
        *,
        resident: int = RESIDENT,
        updates: int | None = None,
    ):
        images, labels = dataset.images, np.asarray(dataset.labels)
        # As they are kept: they are divided by 255, or widened, when they are taken.
        kept = images.base if isinstance(images, Pixels | Cast) else images
        self.images = kept if kept.dtype.itemsize < images.dtype.itemsize else images
        self.dtype = jax.dtypes.canonicalize_dtype(images.dtype)
        self.labels, self.mesh = labels, mesh
        on_cpu = mesh.devices.flat[0].platform == "cpu"
        self.updates = updates or (1 if on_cpu else UPDATES)
        self.where = NamedSharding(mesh, PartitionSpec(None, "data"))
        self.resident: Any = None
        if self.images.nbytes <= resident:
            self.resident = devices.copy(mesh, np.asarray(self.images))

    def chunks(self, order: np.ndarray, first: int = 0) -> Iterator[Chunk]:
        """The batches of the epoch `order` [U, B], from batch `first` on.

        The last chunk of an epoch is filled up, so that all have one shape.
        """
        length = self._length(order)
        starts = range(first, len(order), length)
        places = [np.arange(s, s + length) for s in starts]
        chunks = [order[np.minimum(rows, len(order) - 1)] for rows in places]
        take = self._streamed if self.resident is None else self._taken
        for start, index, x in zip(starts, chunks, take(chunks), strict=True):
            y = devices.split(self.mesh, self.labels[index], axis=1)
            yield Chunk(x, y, min(length, len(order) - start))

    def _length(self, order: np.ndarray) -> int:
        """Batches of a chunk."""
        batch = 4 * order.shape[1] * math.prod(self.images.shape[1:])
        return min(self.updates, len(order), max(1, CHUNK // batch))

    def _taken(self, chunks: Iterable[np.ndarray]) -> Iterator[Any]:
        """The images of chunks of indices [n, B], from the devices."""
        for index in chunks:
            index = devices.split(self.mesh, index, axis=1)
            yield _rows(self.resident, index, self.where, self.dtype)

    def _streamed(self, chunks: Iterable[np.ndarray]) -> Iterator[Any]:
        """The same, read ahead by a thread."""
        reader = futures.ThreadPoolExecutor(1)
        try:
            ahead: collections.deque = collections.deque()
            for index in chunks:
                ahead.append(reader.submit(self._read, index))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            reader.shutdown(cancel_futures=True)

    def _read(self, index: np.ndarray) -> jax.Array:
        def rows(part: Any) -> np.ndarray:
            return np.asarray(self.images[index[part[:2]]])

        shape = *index.shape, *self.images.shape[1:]
        x = jax.make_array_from_callback(shape, self.where, rows)
        return _float(x, self.dtype)
