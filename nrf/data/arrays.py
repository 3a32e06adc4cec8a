"""Data sets that are arrays already, and the counts and sizes that all sets share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nrf import rows
from nrf.types import Dataset, check_dataset

Names = tuple[str, ...]
_TRAIN, _TEST = "the training set", "the test set"

PAIR = (
    "a pair (train, test), each of them (images [N, H, W, C], labels [N]), "
    "(images, labels, names) or a Dataset"
)


def pair(given: Any) -> tuple[Dataset, Dataset]:
    """Training and test set from a pair of arrays, as `load` takes them.

    Labels become int32 and images float32. Classes without names are called by their
    numbers, 0 .. the largest label of both sets.

    Raises:
      ValueError: if it is no such pair, if images or labels are not as `check_dataset`
        has them, or if the two sets differ in image shape or in classes.
    """
    if isinstance(given, Dataset) or not isinstance(given, tuple | list):
        what = "one Dataset" if isinstance(given, Dataset) else type(given).__name__
        raise ValueError(f"data must be a name, a path, or {PAIR}; got {what}.")
    if len(given) != 2 or not all(isinstance(part, tuple | list) for part in given):
        kinds = ", ".join(type(part).__name__ for part in given)
        raise ValueError(f"data must be {PAIR}; got ({kinds}).")
    train, test = _taken(given[0], _TRAIN), _taken(given[1], _TEST)
    counted = train[2] or test[2] or _counted(train[1], test[1])
    pair = (
        _dataset(*train[:2], train[2] or counted, _TRAIN),
        _dataset(*test[:2], test[2] or counted, _TEST),
    )
    check_alike(*pair, _TRAIN, _TEST)
    return pair


def part(given: Any, what: str, names: Names) -> Dataset:
    """One data set from (images, labels), then of classes `names`, or with its own.

    Raises:
      ValueError: as `pair` does.
    """
    if not isinstance(given, tuple | list):
        raise ValueError(
            f"{what} must be a name, a path, (images, labels) or (images, labels, "
            f"names), got {type(given).__name__}."
        )
    images, labels, own = _taken(given, what)
    return _dataset(images, labels, own or names, what)


def check_alike(one: Dataset, other: Dataset, what: str, what_other: str) -> None:
    """Raises ValueError unless both have images of one shape and the same classes."""
    shapes = one.images.shape[1:], other.images.shape[1:]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{what} has images {shapes[0]} and {what_other} {shapes[1]}; they must "
            "have one shape [H, W, C]."
        )
    if one.names != other.names:
        raise ValueError(
            f"{what} has classes {_few(one.names)} and {what_other} "
            f"{_few(other.names)}; they must be the same, in the same order."
        )


def check_count(examples: int | None, available: int, what: str) -> int:
    """`examples`, or all for None; raises ValueError if there are not so many."""
    count = available if examples is None else examples
    if isinstance(count, bool) or not isinstance(count, int | np.integer):
        raise ValueError(
            f"the number of examples must be a whole number or None, got {count!r}."
        )
    if not 1 <= count <= available:
        raise ValueError(
            f"{what} has {available} examples; {count} were asked for. Write None for "
            "all."
        )
    return int(count)


def first(dataset: Dataset, examples: int | None, what: str) -> Dataset:
    """The first so many examples, None for all; raises ValueError as `check_count`."""
    count = check_count(examples, len(dataset.labels), what)
    images = rows.part(dataset.images, slice(count))
    return Dataset(images, dataset.labels[:count], dataset.names)


def _taken(given: Sequence[Any], what: str) -> tuple[Any, np.ndarray, Names]:
    """Images, labels and names; () where the classes have none."""
    if not 2 <= len(given) <= 3:
        raise ValueError(
            f"{what} must be (images, labels) or (images, labels, names), got "
            f"{len(given)} parts."
        )
    images, labels = rows.held(given[0]), np.asarray(given[1])
    names = given[2] if len(given) == 3 else ()
    if isinstance(names, str) or not isinstance(names, Sequence | np.ndarray):
        raise ValueError(
            f"{what}: names must be the names of the classes, got {names!r}."
        )
    shape = images.shape
    if len(shape) == 3:  # More than one image, unlike what `check_images` thinks of.
        raise ValueError(
            f"{what}: images must be [N, H, W, C], got shape {shape}; for grey images "
            "write images[..., None]."
        )
    return images, labels, tuple(map(str, names))


def _counted(*labels: np.ndarray) -> Names:
    """Numbers as names of the classes. What else is wrong is for `check_labels`."""
    integers = [part for part in labels if part.size and part.dtype.kind in "iu"]
    low = min((int(part.min()) for part in integers), default=0)
    high = max((int(part.max()) for part in integers), default=0)
    names = "or give the names of all classes: (images, labels, names)."
    if low > 0:
        raise ValueError(f"labels start at {low}, not at 0; write y - {low}, {names}")
    if high >= max(1000, *map(len, labels)):
        raise ValueError(
            f"labels go up to {high}, for {len(labels[0])} training images; number the "
            f"classes from 0, {names}"
        )
    return tuple(map(str, range(high + 1)))


def _dataset(images: Any, labels: np.ndarray, names: Names, what: str) -> Dataset:
    try:
        check_dataset(Dataset(images, labels, names))
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    return Dataset(
        rows.cast(images, np.float32), labels.astype(np.int32, copy=False), names
    )


def _few(names: Names) -> str:
    shown = ", ".join(names[:10])
    return f"{len(names)} ({shown}{', …' if len(names) > 10 else ''})"
