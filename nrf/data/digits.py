"""1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn."""

import numpy as np

from nrf.types import Dataset


def load() -> tuple[Dataset, Dataset]:
    """1,297 training and 500 test images [8, 8, 1], 50 test images of each digit."""
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
