"""Small squares of ten photographs that lie inside of Python packages.

The class of a square is the photograph that it was cut from. No pixel is shared: each
photograph is divided into cells, of which three in five are for training, one for
validation and one for the test.

Squares of so few photographs are told apart by colour and by fine texture: useful
features, of which the second kind is brittle. That is what makes them, at their size, a
data set on which networks behave as on CIFAR-10.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from nrf.types import Dataset

Part = Literal["train", "validation", "test"]
_CELLS: dict[Part, tuple[int, ...]] = {
    "train": (0, 1, 2),
    "validation": (3,),
    "test": (4,),
}


class _Photo(NamedTuple):
    package: str
    file: str  # In the package.
    sha256: str  # Its first digits.


# By NASA, S. van der Walt, R. Michetti, NASA, the Center for Microscopy and Molecular
# Imaging, the Middlebury 2014 stereo benchmark, SpaceX, danielbuechele and vultilion
# (both CC BY 2.0), and the U.S. Navy; free of restrictions where nothing is said.
PHOTOS = {
    "astronaut": _Photo("skimage", "data/astronaut.png", "88431cd9653ccd53"),
    "cat": _Photo("skimage", "data/chelsea.png", "596aa1e7cb875eb7"),
    "coffee": _Photo("skimage", "data/coffee.png", "cc02f8ca188b167c"),
    "galaxies": _Photo("skimage", "data/hubble_deep_field.jpg", "3a19c5dd8a927a93"),
    "tissue": _Photo("skimage", "data/ihc.png", "f8dd1aa387ddd1f4"),
    "motorcycle": _Photo("skimage", "data/motorcycle_left.png", "db18e9c415761740"),
    "rocket": _Photo("skimage", "data/rocket.jpg", "c2dd0de7c538df8d"),
    "temple": _Photo("sklearn", "datasets/images/china.jpg", "8378025ad2519d64"),
    "flower": _Photo("sklearn", "datasets/images/flower.jpg", "a77f6ec41e353afd"),
    "admiral": _Photo(
        "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "a8ca6d734765703b"
    ),
}


def load() -> tuple[Dataset, Dataset]:
    """4,000 training and 1,000 test images [12, 12, 3], as many of each photograph.

    Raises:
      ValueError: a package is not there, or has other photographs.
    """
    return squares("train", 4000), squares("test", 1000)


def squares(
    part: Part, count: int, *, side: int = 12, shrink: int = 1, grey: bool = False
) -> Dataset:
    """`count` random squares [side, side, C] of the photographs, in random order.

    Args:
      part: Which cells they are cut from. A cell has twice their side.
      count: As many of each photograph.
      side: Of a square, in pixels.
      shrink: Photographs are first made smaller so many times.
      grey: C = 1 instead of 3.

    Raises:
      ValueError: as `load`.
    """
    draw = np.random.default_rng(list(_CELLS).index(part))
    each, cell = count // len(PHOTOS), 2 * side
    images = []
    for photo in PHOTOS.values():
        pixels = _pixels(photo, shrink, grey)
        rows, columns = (size // cell for size in pixels.shape[:2])
        cells = [
            (row * cell, column * cell)
            for row in range(rows)
            for column in range(columns)
            # Neighbours in a row and in a column belong to different parts.
            if (row + 2 * column) % 5 in _CELLS[part]
        ]
        corners = np.array(cells)[draw.integers(len(cells), size=each)]
        corners = corners + draw.integers(cell - side + 1, size=(each, 2))
        images += [pixels[y : y + side, x : x + side] for y, x in corners]
    order = draw.permutation(len(images))
    labels = np.repeat(np.arange(len(PHOTOS), dtype=np.int32), each)
    return Dataset(np.stack(images)[order], labels[order], tuple(PHOTOS))


def _pixels(photo: _Photo, shrink: int, grey: bool) -> np.ndarray:
    """[H, W, C] float32 in [0, 1]."""
    # Found, not imported: the packages have other purposes, and take their time.
    found = importlib.util.find_spec(photo.package)
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            f"photos needs the picture {photo.file} of the package {photo.package}, "
            "which is not installed: pip install scikit-image scikit-learn matplotlib."
        )
    path = Path(found.submodule_search_locations[0], photo.file)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"photos needs {path}, which cannot be read: {error}.") from (
            error
        )
    if not digest.startswith(photo.sha256):
        raise ValueError(
            f"{path} is another picture than the one that photos was made of (SHA-256 "
            f"{digest[:16]} instead of {photo.sha256}): pip install --force-reinstall "
            f"{'scikit-image==0.26' if photo.package == 'skimage' else photo.package}."
        )
    with Image.open(path) as opened:
        picture = opened.convert("L" if grey else "RGB").reduce(shrink)
    pixels = np.asarray(picture, np.float32) / 255
    return pixels.reshape(*pixels.shape[:2], -1)
