"""Data sets as arrays in [0, 1], their shuffling and their augmentation.

    train, test = data.load("digits")
    for rows in data.batch_indices(seed=0, epoch=3, n=1000, batch_size=64):
        x = data.augment(key, train.images[rows], pad=1, flip=False)
        y = train.labels[rows]

Sets of images come by name, from folders, and from arrays: see `load`. Sets that are
larger than memory are `Pixels` of an array of 8 bits, or of a `Stored` file of them.
"""

from nrf.data.batches import augment, batch_indices
from nrf.data.load import BUILT_IN, load, load_test
from nrf.rows import Pixels, Stored
from nrf.types import Dataset

__all__ = [
    "BUILT_IN",
    "Dataset",
    "Pixels",
    "Stored",
    "augment",
    "batch_indices",
    "load",
    "load_test",
]
