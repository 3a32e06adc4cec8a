"""Data sets as arrays in [0, 1], their shuffling and their augmentation.

    train, test = load("digits")
    for rows in batch_indices(seed=0, epoch=3, n=len(train.labels), batch_size=64):
        x, y = augment(key, train.images[rows], pad=1, flip=False), train.labels[rows]

"digits" comes with scikit-learn and "planted" is made by `nrf.planted`. Every other
name is that of an image classification data set prepared by TensorFlow Datasets, which
is read without TensorFlow; `nrf.cifar10` prepares CIFAR-10 without it too.
"""

import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf import prepared
from nrf.types import Images, Key

BUILT_IN = ("digits", "planted")


class Dataset(NamedTuple):
    """Images with their labels, in the memory of the host."""

    images: np.ndarray  # [N, H, W, C] float32 in [0, 1].
    labels: np.ndarray  # [N] int32 in 0 .. num_classes - 1.
    names: tuple[str, ...]  # Of the classes.

    @property
    def num_classes(self) -> int:
        return len(self.names)


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
    builder = prepared.find(name, data_dir, BUILT_IN)
    test_split = _test_split(name, builder.info, "train")
    return (
        Dataset(*prepared.read(builder, "train", train_examples)),
        Dataset(*prepared.read(builder, test_split, test_examples)),
    )


def load_test(
    name: str, like: Dataset, *, data_dir: str | os.PathLike | None = None
) -> Dataset:
    """The test set of another data set with the images and classes of `like`.

    CIFAR-10.1 ("cifar10_1/v6") is one for CIFAR-10; such sets need no "train" split.

    Raises ValueError where it is not there, or other images or classes are.
    """
    builder = prepared.find(name, data_dir, ())
    found = Dataset(*prepared.read(builder, _test_split(name, builder.info), None))
    shapes = found.images.shape[1:], like.images.shape[1:]
    if found.names != like.names or shapes[0] != shapes[1]:
        raise ValueError(
            f"{name} has images {shapes[0]} of {', '.join(found.names)}; a second test "
            f"set has to be like the first, {shapes[1]} of {', '.join(like.names)}."
        )
    return found


def batch_indices(seed: int, epoch: int, n: int, batch_size: int) -> np.ndarray:
    """[n // batch_size, batch_size] indices: the epoch's order, without the remainder.

    It depends on `seed` and `epoch` alone, so that training resumes at any epoch.
    Raises ValueError if there is not one full batch.
    """
    if not 1 <= batch_size <= n:
        raise ValueError(
            f"batch_size must be in 1 .. {n}, the number of examples, got {batch_size}."
        )
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return order[: n - n % batch_size].reshape(-1, batch_size)


def augment(key: Key, x: Images, *, pad: int, flip: bool) -> Images:
    """Shifts each image by up to `pad` pixels either way and mirrors half of them.

    Pixels from outside of the image are 0, as in a random crop of the padded image.
    """
    count, height, width, _ = x.shape
    key_shift, key_flip = jax.random.split(key)
    rows = jnp.broadcast_to(jnp.arange(height), (count, height))
    columns = jnp.broadcast_to(jnp.arange(width), (count, width))
    if flip:
        mirrored = jax.random.bernoulli(key_flip, 0.5, (count, 1))
        columns = jnp.where(mirrored, columns[:, ::-1], columns)
    if pad:
        shifts = jax.random.randint(key_shift, (2, count, 1), -pad, pad + 1)
        rows, columns = rows + shifts[0], columns + shifts[1]
    if not (pad or flip):
        return x
    # One gather from the images themselves: several times faster on CPUs than slices
    # of a padded copy.
    inside = (
        ((rows >= 0) & (rows < height))[:, :, None]
        & ((columns >= 0) & (columns < width))[:, None, :]
    )[..., None]
    image = jnp.arange(count)[:, None, None]
    rows = jnp.clip(rows, 0, height - 1)[:, :, None]
    columns = jnp.clip(columns, 0, width - 1)[:, None, :]
    return jnp.where(inside, x[image, rows, columns], 0)


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
    from nrf.planted import load as load_planted

    return load_planted()


def _first(dataset: Dataset, examples: int | None, what: str) -> Dataset:
    count = prepared.check_count(examples, len(dataset.labels), what)
    return Dataset(dataset.images[:count], dataset.labels[:count], dataset.names)
