"""Data sets by name, as arrays in [0, 1].

    train, test = load("digits")

"digits" comes with scikit-learn and "planted" is made by `nrf.data.planted`. Every
other name is that of an image classification data set prepared by TensorFlow Datasets,
which is read without TensorFlow; `nrf.data.cifar10` prepares CIFAR-10 without it too.
"""

import os
from typing import Any

import numpy as np

from nrf.data import tfds
from nrf.types import Dataset

BUILT_IN = ("digits", "planted")


def load(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    train_examples: int | None = None,
    test_examples: int | None = None,
) -> tuple[Dataset, Dataset]:
    """The training and the test set called `name`, the first so many examples of each.

    `data_dir` is the folder of TFDS's data sets; None means TFDS's own, which is
    $TFDS_DATA_DIR or ~/tensorflow_datasets. Where a data set has no "test" split, its
    "validation" split is the test set.

    Raises ValueError, without any download, for a data set that is not there, that is
    not one of labelled images of one size, or that has fewer examples than asked for.
    """
    if name in BUILT_IN:
        train, test = _digits() if name == "digits" else _planted()
        return (
            _first(train, train_examples, f"the training set of {name}"),
            _first(test, test_examples, f"the test set of {name}"),
        )
    builder = tfds.find(name, data_dir, BUILT_IN)
    test_split = _test_split(name, builder.info, "train")
    return (
        Dataset(*tfds.read(builder, "train", train_examples)),
        Dataset(*tfds.read(builder, test_split, test_examples)),
    )


def load_test(
    name: str, like: Dataset, *, data_dir: str | os.PathLike | None = None
) -> Dataset:
    """The test set of another data set with the images and classes of `like`.

    CIFAR-10.1 ("cifar10_1/v6") is one for CIFAR-10; such sets need no "train" split.

    Raises ValueError where it is not there, or other images or classes are.
    """
    builder = tfds.find(name, data_dir, ())
    found = Dataset(*tfds.read(builder, _test_split(name, builder.info), None))
    shapes = found.images.shape[1:], like.images.shape[1:]
    if found.names != like.names or shapes[0] != shapes[1]:
        raise ValueError(
            f"{name} has images {shapes[0]} of {', '.join(found.names)}; a second test "
            f"set has to be like the first, {shapes[1]} of {', '.join(like.names)}."
        )
    return found


def _test_split(name: str, info: Any, *others: str) -> str:
    splits = info.splits
    found = "test" if "test" in splits else "validation"
    if not {found, *others} <= set(splits):
        needed = "".join(f"{other!r} is needed, and " for other in others)
        raise ValueError(
            f"data set {name!r} has splits {sorted(splits)}; {needed}'test' or "
            "'validation'" + ("." if others else " is needed.")
        )
    return found


def _digits() -> tuple[Dataset, Dataset]:
    """1,297 and 500 handwritten digits of 8 x 8 pixels, 50 test images of each."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.asarray(digits.images / 16, np.float32)[..., None]
    labels = np.asarray(digits.target, np.int32)
    names = tuple(str(digit) for digit in range(10))
    # A constant of the data set: the same for every seed of an experiment.
    order = np.random.default_rng(0).permutation(len(labels))
    held_out = np.zeros(len(labels), bool)
    for digit in range(10):
        held_out[order[labels[order] == digit][-50:]] = True
    train, test = order[~held_out[order]], order[held_out[order]]
    return (
        Dataset(images[train], labels[train], names),
        Dataset(images[test], labels[test], names),
    )


def _planted() -> tuple[Dataset, Dataset]:
    from nrf.data.planted import load as load_planted

    return load_planted()


def _first(dataset: Dataset, examples: int | None, what: str) -> Dataset:
    count = tfds.check_count(examples, len(dataset.labels), what)
    return Dataset(dataset.images[:count], dataset.labels[:count], dataset.names)
