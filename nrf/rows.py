"""Arrays whose rows are made or read when they are asked for.

    images = Pixels(Stored(file, (50_000, 32, 32, 3), np.uint8))
    images[rows]         # [B, 32, 32, 3] float32 in [0, 1]: x / 255
    np.asarray(images)   # All of it, in memory.

A set that is larger than memory is indexed by rows, as any array is: by whole numbers,
slices, masks or arrays of indices. Other indices, arithmetic and methods of arrays make
one of all of it first, so that a set that does fit may be used as any array.
"""

import abc
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 1 << 22  # Bytes that are looked at, at a time, where all rows are.


class Lazy(np.lib.mixins.NDArrayOperatorsMixin, abc.ABC):
    """An array [N, ...] of which no more is in memory than the rows asked for.

    Attributes:
      shape, dtype: As of NumPy's arrays.
      within: Whether all values are known to lie in [0, 1].
      sha256: Of its floating-point numbers, in the order of memory, where it is known.
    """

    sha256: str | None = None

    def __init__(self, shape: Sequence[int], dtype: Any, within: bool = False):
        self.shape, self.dtype = tuple(map(int, shape)), np.dtype(dtype)
        self.within = within

    @abc.abstractmethod
    def read(self, rows: np.ndarray) -> np.ndarray:
        """The rows [R] as an array [R, ...]; every kind of them has its own way."""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, tuple) or index is None or index is Ellipsis:
            return np.asarray(self)[index]
        rows = np.arange(len(self))[index]
        read = self.read(np.atleast_1d(rows).reshape(-1))
        return read.reshape(*np.shape(rows), *self.shape[1:])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (row for block in blocks(self) for row in block)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("rows that are not in memory cannot be seen uncopied.")
        whole = empty(self.shape, dtype or self.dtype, "this set")
        start = 0
        for block in blocks(self):
            whole[start : start + len(block)] = block
            start += len(block)
        return whole

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any):
        arrays = [np.asarray(a) if isinstance(a, Lazy) else a for a in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        return getattr(np.asarray(self), name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.shape)} {self.dtype})"


class Pixels(Lazy):
    """8-bit values as float32 in [0, 1]: x / 255.

    `base` is an array [N, ...] of uint8, or what answers base[rows] as one.

    Raises:
      ValueError: it has another type.
    """

    def __init__(self, base: Any):
        if base.dtype != np.uint8:
            raise ValueError(f"pixels are made of uint8, got {base.dtype}.")
        super().__init__(base.shape, np.float32, within=True)
        self.base = base

    def read(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.base[rows]).astype(np.float32) / np.float32(255)


class Cast(Lazy):
    """Floating-point values in another precision; `cast` makes it."""

    def __init__(self, base: Any, dtype: Any):
        super().__init__(base.shape, dtype, getattr(base, "within", False))
        self.base = base

    def read(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.base[rows]).astype(self.dtype)


class Rows(Lazy):
    """The rows `index` [N] of other images, in that order; `part` makes them."""

    def __init__(self, images: Any, index: np.ndarray):
        within = getattr(images, "within", False)
        super().__init__((len(index), *images.shape[1:]), images.dtype, within)
        self.images, self.index = images, index

    def read(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.images[self.index[rows]])


class Stored(Lazy):
    """Rows of a file of raw numbers, in the order of memory, read as they are asked.

    Read, not mapped: what a process has seen of a map counts as its memory.

    Args:
      path: Of the file.
      shape: [N, ...] of all of it.
      dtype: Of its numbers.
      offset: Where it begins in the file, in bytes.

    Raises:
      ValueError: when rows are read, if the file ends before.
      OSError: when rows are read, if it cannot be.
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: Any, offset: int = 0):
        super().__init__(shape, dtype)
        self.path, self.offset = Path(path), offset

    def read(self, rows: np.ndarray) -> np.ndarray:
        read = np.empty((len(rows), *self.shape[1:]), self.dtype)
        each = math.prod(self.shape[1:]) * self.dtype.itemsize
        bits = read.reshape(-1).view(np.uint8).data
        # Neighbours are read at once.
        ends = np.flatnonzero(np.diff(rows) != 1) + 1
        with self.path.open("rb", buffering=0) as file:
            for start, end in zip([0, *ends], [*ends, len(rows)], strict=True):
                if start == end:
                    continue
                file.seek(self.offset + int(rows[start]) * each)
                self._fill(file, bits[start * each : end * each])
        return read

    def _fill(self, file: Any, bits: memoryview) -> None:
        while bits:  # The system reads 2 GB at once, at most.
            if not (count := file.readinto(bits)):
                raise ValueError(f"{self.path} ends before its last row: it was cut.")
            bits = bits[count:]


class Decoded(Lazy):
    """Rows that are decoded from records.

    Args:
      fetch: The records of rows, a list of whole numbers.
      decode: A record as an array of shape[1:].
      shape: [N, ...] of all of it.
      dtype: Of what `decode` returns.
      within: Whether all values are known to lie in [0, 1].
    """

    def __init__(
        self,
        fetch: Callable[[list[int]], Sequence[bytes]],
        decode: Callable[[bytes], np.ndarray],
        shape: Sequence[int],
        dtype: Any,
        within: bool = False,
    ):
        super().__init__(shape, dtype, within)
        self.fetch, self.decode = fetch, decode

    def read(self, rows: np.ndarray) -> np.ndarray:
        read = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if len(rows):
            records = self.fetch(rows.tolist())
            for number, record in enumerate(records):
                read[number] = self.decode(record)
        return read


class Joined(Lazy):
    """Rows of several arrays, one after the other."""

    def __init__(self, parts: Sequence[Any]):
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])
        shape = int(self.ends[-1]), *parts[0].shape[1:]
        within = all(getattr(part, "within", False) for part in parts)
        super().__init__(shape, parts[0].dtype, within)

    def read(self, rows: np.ndarray) -> np.ndarray:
        read = np.empty((len(rows), *self.shape[1:]), self.dtype)
        which = np.searchsorted(self.ends, rows, side="right")
        for number in np.unique(which):
            part, of = self.parts[number], which == number
            read[of] = part[rows[of] - (self.ends[number] - len(part))]
        return read


def part(images: Any, index: Any) -> Any:
    """The rows that `index` means, not copied: a view of an array, or lazy rows."""
    if isinstance(index, slice) and not isinstance(images, Lazy):
        return images[index]
    index = np.arange(len(images))[index]
    # What can be kept as it is stays visible: a training may keep 8 bits on a device.
    if isinstance(images, Pixels):
        return Pixels(part(images.base, index))
    if isinstance(images, Cast):
        return Cast(part(images.base, index), images.dtype)
    if isinstance(images, Rows):
        return Rows(images.images, images.index[index])
    return Rows(images, index)


def held(images: Any) -> Any:
    """Images in NumPy, where they are not lazy."""
    return images if isinstance(images, Lazy) else np.asarray(images)


def cast(images: Any, dtype: Any) -> Any:
    """Floating-point images in this precision; row by row where they are read so."""
    if images.dtype == dtype:
        return images
    return Cast(images, dtype) if isinstance(images, Lazy) else images.astype(dtype)


def empty(shape: Sequence[int], dtype: Any, what: str) -> np.ndarray:
    """Space for images of this shape [N, H, W, C].

    Raises:
      ValueError: if they need more than this machine's memory, in which case the
        system would end the process without a word.
    """
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory:
        count, *size = shape
        raise ValueError(
            f"{what} holds {count} images of {' x '.join(map(str, size))}: "
            f"{needed / 1e9:.1f} GB as {np.dtype(dtype)}, and this machine has "
            f"{memory / 1e9:.1f} GB of memory. Make the images smaller, or ask for "
            "fewer examples."
        )
    return np.empty(shape, dtype)


def blocks(images: Any) -> Iterator[np.ndarray]:
    """All rows in order, in arrays of about `BLOCK` bytes; one array is one block."""
    if not isinstance(images, Lazy):
        yield np.asarray(images)
        return
    count = rows_at_once(images)
    for start in range(0, len(images), count):
        yield images[start : start + count]


def ends(images: Any) -> tuple[float, float]:
    """The smallest and the largest value: NaN beside a NaN, and 0 of no values."""
    pairs = [(b.min(), b.max()) for b in blocks(images) if b.size] or [(0, 0)]
    return float(np.min(pairs)), float(np.max(pairs))


def rows_at_once(images: Any) -> int:
    """How many rows have about `BLOCK` bytes; one, where that has more."""
    each = math.prod(images.shape[1:]) * np.dtype(images.dtype).itemsize
    return max(1, BLOCK // max(1, each))
