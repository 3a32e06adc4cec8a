"""What two networks differ by, with intervals for other trainings and other images.

    a, b = np.stack(right_of_D_R), np.stack(right_of_D)  # [S, N] bool: seeds, images
    difference = statistics.paired(a, b)
    difference.mean, difference.over_seeds, difference.over_images
    difference.above()  # Beyond doubt about both?

Networks that are tested on the same images, and trained in pairs, are compared pair by
pair: what makes an image hard, or a seed lucky, then drops out of the difference.
"""

import base64
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t

Interval = tuple[float, float]
_LEVEL = 0.95


class Difference(NamedTuple):
    """A mean difference of accuracies, a fraction, with its 95 % intervals."""

    mean: float
    over_seeds: Interval | None  # For other trainings, these images; None: one seed.
    over_images: Interval  # For other images, these trainings.

    def above(self, level: float = 0.0) -> bool:
        """Whether both intervals are above the level; with one seed, never."""
        ends = self.over_seeds
        return ends is not None and min(ends[0], self.over_images[0]) > level

    def below(self, level: float = 0.0) -> bool:
        """Whether both intervals are below the level; with one seed, never."""
        ends = self.over_seeds
        return ends is not None and max(ends[1], self.over_images[1]) < level


def paired(a: np.ndarray, b: np.ndarray) -> Difference:
    """By how much more often `a` is right than `b`: [S, N] bool, seeds and images.

    Row s of both is of one seed, and column n of one image. Over seeds it is Student's
    t interval of the S differences in accuracy. That is too narrow where accuracies of
    seeds differ several times over, and has no width where differences are all the
    same, as they are where both networks are always wrong. Over images it is that of N
    differences, each a mean over seeds, and of two more, 1 and -1: near 0 and 100 %,
    where few images differ, it would be too narrow without them (Bonett and Price,
    2012, Journal of Educational and Behavioral Statistics 37; there, of one seed).

    Raises:
      ValueError: other shapes or types, or nothing to compare.
    """
    a, b = np.asarray(a), np.asarray(b)
    for name, array in (("a", a), ("b", b)):
        if array.ndim != 2 or array.dtype != bool or not array.size:
            raise ValueError(
                f"{name} must say which images are right, as booleans "
                f"[seeds, images], got {array.dtype} {array.shape}."
            )
    if a.shape != b.shape:
        raise ValueError(
            f"pairs need the same seeds and images, got {a.shape} and {b.shape}."
        )
    each = np.subtract(a, b, dtype=float)
    by_image = each.mean(0)
    return Difference(
        float(each.mean()),
        over_seeds(each.mean(1)),
        _student(np.concatenate([by_image, [1.0, -1.0]])),
    )


def over_seeds(values: np.ndarray | Sequence[float]) -> Interval | None:
    """Student's 95 % interval of the mean of values [S]; None of a single one."""
    return _student(np.asarray(values)) if len(values) > 1 else None


def _student(values: np.ndarray) -> Interval:
    count = len(values)
    half = t.ppf((1 + _LEVEL) / 2, count - 1) * values.std(ddof=1) / np.sqrt(count)
    return float(values.mean() - half), float(values.mean() + half)


def pack(right: np.ndarray) -> str:
    """Which images are right, [N] bool, as text for a JSON file: a bit for each."""
    return base64.b64encode(np.packbits(np.asarray(right, bool)).tobytes()).decode()


def unpack(text: str, total: int) -> np.ndarray:
    """[total] bool, what `pack` made the text of.

    Raises:
      ValueError: the text is not of so many images.
    """
    packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    if len(packed) != -(-total // 8):
        raise ValueError(
            f"which of {total} images are right takes {-(-total // 8)} bytes, got "
            f"{len(packed)}; the results are damaged, or of other images."
        )
    return np.unpackbits(packed, count=total).astype(bool)
