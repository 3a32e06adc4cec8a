"""Images in class folders, PNG or JPEG, as they lie on disk.

    pets/train/cat/1.png        pets/cat/1.png
    pets/train/dog/1.png   or   pets/cat/2.png
    pets/test/cat/2.png         pets/dog/1.png
    pets/test/dog/2.png         pets/dog/2.png

On the right, and where there is "train" alone, a fifth of each class is the test set.
The classes are numbered in the order of their names, as by PyTorch and TFDS. Within a
set the images are ordered by hashes of their names: classes are mixed, the first so
many are a fair sample, and every machine reads the same.

Pixels are kept in 8 bits, and divided by 255 where they are used. Where some images
have colours the grey ones get three equal channels. Nothing is resized, cropped or
turned.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nrf import rows
from nrf.data import arrays
from nrf.types import Dataset

SUFFIXES = (".png", ".jpg", ".jpeg")
TEST = ("test", "val", "validation", "valid")
_HELD_OUT = 5  # Every fifth image of each class, where there is no test set.
_GREY, _COLOURS = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


class _File(NamedTuple):
    digest: bytes  # Of its class and name: what orders the files of a set.
    path: Path
    name: str  # Of its class.


Classes = dict[str, list[_File]]  # In the order of names, the files in that of digests.


def load(
    folder: Path, train_examples: int | None = None, test_examples: int | None = None
) -> tuple[Dataset, Dataset]:
    """The training and the test set below `folder`, the first so many of each.

    Raises:
      ValueError: if there are no class folders, fewer than two classes, an image that
        cannot be read, images of different sizes, with transparency or of other than 8
        bits, or fewer images than asked for.
    """
    train, test = _split(folder)
    train_files = _first(train, train_examples, f"the training set of {folder}")
    test_files = _first(test, test_examples, f"the test set of {folder}")
    shape, mode = _look([*train_files, *test_files])
    names = tuple(train)
    return (
        _read(train_files, shape, mode, names, str(folder)),
        _read(test_files, shape, mode, names, str(folder)),
    )


def load_test(folder: Path, names: Sequence[str] = ()) -> Dataset:
    """The test set below `folder`, or all images where it is class folders itself.

    The classes are numbered as in `names`, if that has them all; some may be missing.

    Raises:
      ValueError: as `load` does.
    """
    classes = _classes(_test_part(_parts(folder)) or folder)
    files = _first(classes, None, str(folder))
    numbered = tuple(names if set(classes) <= set(names) else classes)
    return _read(files, *_look(files), numbered, str(folder))


def _split(folder: Path) -> tuple[Classes, Classes]:
    """The files for training and those for the test."""
    parts = _parts(folder)
    test_part = _test_part(parts)
    if test_part is None:
        return _hold_out(parts.get("train", folder))
    if "train" not in parts:
        raise ValueError(
            f"{folder} has a folder {test_part.name} and none called train; name the "
            f"folder of training images so. It has {contents(folder)}."
        )
    train, test = _classes(parts["train"]), _classes(test_part)
    if unknown := sorted(set(test) - set(train)):
        raise ValueError(
            f"{test_part} has classes that {parts['train']} does not have: "
            f"{', '.join(unknown[:10])}; both need folders of the same names."
        )
    return train, test


def _parts(folder: Path) -> dict[str, Path]:
    """Its folders called "train", "test", ...; none where these are classes."""
    folders = {child.name.lower(): child for child in _folders(folder)}
    parts = {name: folders[name] for name in ("train", *TEST) if name in folders}
    holds_classes = "train" in parts and _folders(parts["train"])
    # Where there are no others, class folders were forgotten: `_classes` will say so.
    return parts if holds_classes or len(parts) == len(folders) else {}


def _test_part(parts: dict[str, Path]) -> Path | None:
    """The first that has class folders: a "test" without labels is of no use."""
    tests = [parts[name] for name in TEST if name in parts]
    labelled = [part for part in tests if len(_folders(part)) > 1]
    return next(iter([*labelled, *tests]), None)


def _hold_out(folder: Path) -> tuple[Classes, Classes]:
    train, test = {}, {}
    for name, files in _classes(folder).items():
        if len(files) < 2:
            raise ValueError(
                f"{folder / name} holds one image, and one is needed for training and "
                "one for the test."
            )
        count = max(1, len(files) // _HELD_OUT)
        train[name], test[name] = files[count:], files[:count]
    held_out, rest = (sum(map(len, part.values())) for part in (test, train))
    logging.getLogger(__name__).warning(
        "%s has no test folder: %d of its %d images are the test set, about a fifth of "
        "each class and always the same ones.",
        folder,
        held_out,
        held_out + rest,
    )
    return train, test


def _classes(folder: Path) -> Classes:
    """The images of each folder of a class, at any depth below it."""
    for child in _folders(folder):
        if _parts(child):
            raise ValueError(
                f"{child} has folders {', '.join(_parts(child))}, so that it is no "
                f"class but a data set of its own; give its path instead of {folder}."
            )
    classes = {
        child.name: sorted(
            _File(_digest(file.relative_to(folder)), file, child.name)
            for file in child.rglob("*")
            if _is_image(file)
        )
        for child in _folders(folder)
    }
    if len(classes) < 2:
        raise ValueError(
            f"{folder} holds no images in class folders: a folder for each of two "
            f"classes or more is needed, such as {folder / 'cat'} and "
            f"{folder / 'dog'}. It has {contents(folder)}."
        )
    if empty := [name for name, files in classes.items() if not files]:
        raise ValueError(
            f"{folder / empty[0]} holds no PNG or JPEG images. Each folder in {folder} "
            "is a class; move it away if it is none."
        )
    return classes


def _folders(folder: Path) -> list[Path]:
    return sorted(
        child
        for child in folder.iterdir()
        if child.is_dir() and not child.name.startswith(".")
    )


def contents(folder: Path) -> str:
    """What is in a folder, in words."""
    names = sorted(
        child.name + "/" * child.is_dir()
        for child in folder.iterdir()
        if not child.name.startswith(".")
    )
    return ", ".join(names[:8]) + ", …" * (len(names) > 8) if names else "nothing"


def _is_image(file: Path) -> bool:
    """Raises ValueError for formats whose images should not be lost silently."""
    import PIL.Image

    suffix = file.suffix.lower()
    if file.name.startswith(".") or file.is_dir():
        return False
    if suffix not in SUFFIXES and suffix in PIL.Image.registered_extensions():
        raise ValueError(
            f"{file} is neither PNG nor JPEG; convert it, or move it out of the folder."
        )
    return suffix in SUFFIXES


def _digest(name: Path) -> bytes:
    return hashlib.sha256(name.as_posix().encode()).digest()


def _first(classes: Classes, examples: int | None, what: str) -> list[_File]:
    """The first so many of all classes, mixed."""
    files = sorted(file for part in classes.values() for file in part)
    return files[: arrays.check_count(examples, len(files), what)]


def _look(files: Sequence[_File]) -> tuple[tuple[int, int, int], str]:
    """The shape [H, W, C] of all images and Pillow's mode, from their headers alone."""
    first_of: dict[tuple[int, int], Path] = {}
    modes = set()
    for _, path, _ in files:
        with _opened(path) as image:
            if image.mode not in (*_GREY, *_COLOURS):
                raise ValueError(
                    f"{path} is stored as {image.mode!r}; save it with 8 bits for each "
                    "of its colours."
                )
            modes.add(image.mode)
            first_of.setdefault(image.size, path)
    if len(first_of) > 1:
        (one, path), (other, other_path) = list(first_of.items())[:2]
        raise ValueError(
            f"there are images of {len(first_of)} sizes: {path} is {one[0]} x {one[1]} "
            f"and {other_path} {other[0]} x {other[1]} (width x height). All must have "
            "one size: crop or resize them, for example with PIL.ImageOps.fit."
        )
    ((width, height),) = first_of
    grey = modes <= set(_GREY)
    return (height, width, 1 if grey else 3), "L" if grey else "RGB"


def _read(
    files: Sequence[_File],
    shape: tuple[int, int, int],
    mode: str,
    names: tuple[str, ...],
    what: str,
) -> Dataset:
    images = rows.empty((len(files), *shape), np.uint8, what)
    for image, file in zip(images, files, strict=True):
        image[:] = _pixels(file.path, mode).reshape(shape)
    numbers = {name: number for number, name in enumerate(names)}
    return Dataset(
        rows.Pixels(images),
        np.array([numbers[file.name] for file in files], np.int32),
        names,
    )


def _pixels(path: Path, mode: str) -> np.ndarray:
    with _opened(path) as image:
        if "A" in image.mode or "transparency" in image.info:
            image = image.convert("RGBA")
            if image.getchannel("A").getextrema()[0] < 255:
                raise ValueError(
                    f"{path} is transparent in places; save it without transparency."
                )
        return np.asarray(image.convert(mode))


@contextlib.contextmanager
def _opened(file: Path) -> Iterator:
    """The image; raises ValueError with the file's name for whatever Pillow raises."""
    import PIL.Image

    try:
        with PIL.Image.open(file) as image:
            yield image
    except ValueError as error:
        if str(file) in str(error):  # Our own words.
            raise
        raise ValueError(f"{file} cannot be read as an image: {error}") from error
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as an image: {error}") from error
