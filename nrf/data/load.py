"""Data sets as arrays in [0, 1], from wherever they are.

    train, test = load("digits")
    train, test = load("cifar10")                        # prepared by TFDS
    train, test = load("pictures/")                      # PNG or JPEG in class folders
    train, test = load("runs/digits/seed0/D_R")          # a constructed set
    train, test = load(((x, y), (x_test, y_test)))       # arrays

"photos", "digits" and "mnist5k" lie inside of Python packages (`nrf.data.photos`,
`nrf.data.packaged`), and "planted" is made by `nrf.data.planted`. Data sets of
TensorFlow Datasets are read without TensorFlow; `nrf.data.cifar10` prepares CIFAR-10
without it too, and `nrf.data.imagenet` the nine groups of ImageNet's classes that are
called "restricted_imagenet". For folders of images see `nrf.data.folder`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nrf.data import arrays, folder, imagenet, packaged, photos, planted, tfds
from nrf.types import Dataset

_BUILT_IN = {
    "digits": packaged.digits,
    "mnist5k": packaged.mnist5k,
    "photos": photos.load,
    "planted": planted.load,
}
BUILT_IN = tuple(_BUILT_IN)
# A name, a path, or a pair (train, test); see `load`.
Spec = str | os.PathLike | Sequence[Any]


def load(
    spec: Spec,
    *,
    data_dir: str | os.PathLike | None = None,
    train_examples: int | None = None,
    test_examples: int | None = None,
) -> tuple[Dataset, Dataset]:
    """The training and the test set of `spec`, the first so many examples of each.

    `spec` is one of

    - "photos", "digits", "mnist5k" or "planted";
    - "restricted_imagenet", or "restricted_imagenet/64" for another side of its images
      than 224, prepared in `data_dir` by `nrf.data.imagenet`;
    - the name of a data set prepared by TFDS, in `data_dir`; None means TFDS's own
      folder, $TFDS_DATA_DIR or ~/tensorflow_datasets. It goes before a folder of the
      same name here, for which write "./name". Where there is no "test" split,
      "validation" is the test set;
    - a folder of images, as `nrf.data.folder` describes it;
    - a folder that TFDS wrote, or a constructed set of a run. The test set of the
      latter is that of the data set it was made from;
    - a pair (train, test), each a Dataset, (images, labels) or (images, labels, names)
      with images [N, H, W, C] in [0, 1], or a name or path as above.

    Raises:
      ValueError: without any download, for a data set that is not there, that is
        damaged, that is not one of labelled images of one size, or that has fewer
        examples than asked for.
    """
    if not isinstance(spec, str | os.PathLike):
        made = arrays.pair(_with_parts_read(spec, data_dir))
        return _first(made, train_examples, test_examples, "the data given")
    if spec in BUILT_IN:
        made = _BUILT_IN[str(spec)]()
        return _first(made, train_examples, test_examples, str(spec))
    if side := imagenet.side_of(spec):
        return imagenet.load(side, data_dir, train_examples, test_examples)
    place = _place(spec, data_dir)
    if isinstance(place, Path):
        return folder.load(place, train_examples, test_examples)
    if tfds.is_constructed(place):
        train = tfds.read(place, "train", train_examples)
        return train, _test_of_origin(place, train, data_dir, test_examples)
    split = tfds.test_split(str(spec), place, "train")
    return (
        tfds.read(place, "train", train_examples),
        tfds.read(place, split, test_examples),
    )


def load_test(
    spec: Spec, like: Dataset, *, data_dir: str | os.PathLike | None = None
) -> Dataset:
    """The test set of another data set with the images and classes of `like`.

    CIFAR-10.1 ("cifar10_1/v6") is one for CIFAR-10. Such sets need no training set: a
    folder of images may be class folders alone, and arrays are one (images, labels).
    Where classes have numbers for names, as in CIFAR-10.1, they are those of `like`.

    Raises:
      ValueError: where it is not there, or has other images or classes.
    """
    if isinstance(spec, str | os.PathLike):
        second, what = _test(spec, data_dir, like.names), str(spec)
    else:
        what = "the second test set"
        second = arrays.part(spec, what, like.names)
    numbers = tuple(map(str, range(like.num_classes)))
    if second.num_classes == like.num_classes and numbers in (second.names, like.names):
        second = second._replace(names=like.names)
    arrays.check_alike(second, like, what, "the first test set")
    return second


def _test(
    spec: str | os.PathLike,
    data_dir: str | os.PathLike | None,
    names: Sequence[str] = (),
) -> Dataset:
    if spec in BUILT_IN:
        return _BUILT_IN[str(spec)]()[1]
    if side := imagenet.side_of(spec):
        return imagenet.load(side, data_dir)[1]
    place = _place(spec, data_dir)
    if isinstance(place, Path):
        return folder.load_test(place, names)
    if tfds.is_constructed(place):
        return load(spec, data_dir=data_dir, train_examples=1)[1]
    return tfds.read(place, tfds.test_split(str(spec), place), None)


def _place(spec: str | os.PathLike, data_dir: str | os.PathLike | None) -> Path | Any:
    """The folder of images that is meant, or TFDS's builder of a data set."""
    name = os.fspath(spec)
    if not name.strip():
        raise ValueError("data must be a name, a path or a pair, got an empty name.")
    path = tfds.local(name)
    if tfds.is_prepared(path):
        return tfds.open_folder(path)
    is_path = isinstance(spec, os.PathLike) or name.startswith((".", "/", "~"))
    # TFDS's names have one slash at most: "cifar10_1/v6".
    if is_path or name.endswith("/") or name.count("/") > 1:
        _check_folder(path)
        return path
    if path.is_dir() and tfds.base(name) not in tfds.prepared(data_dir):
        _check_folder(path)
        return path
    return tfds.find(name, data_dir, BUILT_IN)


def _check_folder(path: Path) -> None:
    """Raises ValueError for what is no folder, or one of several data sets."""
    if path.is_file():
        raise ValueError(
            f"{path} is a file; give a folder (unpack an archive first), or a pair "
            "(train, test) of arrays from Python."
        )
    if not path.is_dir():
        parent = next(parent for parent in path.parents if parent.is_dir())
        raise ValueError(
            f"there is no folder {path}; {parent.absolute()} has "
            f"{folder.contents(parent)}."
        )
    within = [child.name for child in sorted(path.iterdir()) if tfds.is_prepared(child)]
    if within:
        raise ValueError(
            f"{path} is not a data set, and holds some: {', '.join(within)}. Give the "
            f"path of one, such as {path / within[0]}."
        )


def _test_of_origin(
    constructed: Any,
    train: Dataset,
    data_dir: str | os.PathLike | None,
    examples: int | None,
) -> Dataset:
    """The test set of the data set that a constructed set was made from."""
    path = constructed.data_path
    advice = f"To test on other images give a pair: ({str(path)!r}, (images, labels))."
    origin = (constructed.info.metadata or {}).get("data")
    if not isinstance(origin, str):
        raise ValueError(
            f"{path} does not say which data set it was made from, whose test set is "
            f"needed. {advice}"
        )
    try:
        # A part of the training set, because the whole of it would be in vain.
        _, test = load(
            origin, data_dir=data_dir, train_examples=1, test_examples=examples
        )
        arrays.check_alike(train, test, str(path), f"the test set of {origin}")
    except ValueError as error:
        raise ValueError(
            f"{path} was made from {origin!r}, whose test set is needed: {error} "
            f"{advice}"
        ) from error
    return test


def _training(spec: str | os.PathLike, data_dir: str | os.PathLike | None) -> Dataset:
    known = spec in BUILT_IN or imagenet.side_of(spec)
    place = None if known else _place(spec, data_dir)
    if place is None or isinstance(place, Path):
        return load(spec, data_dir=data_dir)[0]
    return tfds.read(place, "train", None)


def _with_parts_read(given: Any, data_dir: str | os.PathLike | None) -> Any:
    """The pair with data sets for names and paths; anything else as it is."""
    if isinstance(given, Dataset) or not isinstance(given, tuple | list):
        return given
    if len(given) != 2 or not any(isinstance(p, str | os.PathLike) for p in given):
        return given
    train, test = given
    if isinstance(train, str | os.PathLike):
        train = _training(train, data_dir)
    if isinstance(test, str | os.PathLike):
        test = _test(test, data_dir)
    return train, test


def _first(
    made: tuple[Dataset, Dataset], train: int | None, test: int | None, what: str
) -> tuple[Dataset, Dataset]:
    return (
        arrays.first(made[0], train, f"the training set of {what}"),
        arrays.first(made[1], test, f"the test set of {what}"),
    )
