"""Restricted ImageNet: nine groups of ImageNet's classes (appendix C.1, table 2).

    imagenet.prepare()  # Or, in a shell: nrf prepare-restricted-imagenet
    train, test = data.load("restricted_imagenet")
    train, test = data.load("restricted_imagenet/64")  # After prepare(side=64).

It is made of `imagenet2012` as TFDS has prepared it, without TensorFlow, and once:
every image is scaled so that its shorter side has 8/7 of 224 pixels, which is 256, and
its middle of 224 x 224 pixels is kept in 8 bits, as the authors' library tests on. A
training reads the rows that it needs of that file, which has about 39 GB.

The library trains on random crops of whole photographs. With crops of the middles
(`Training.crop`) what lies outside of these is never seen, about two fifths of a
photograph with sides of 4 to 3, and small crops are less sharp. In return, the images
that D_R, D_rand and D_det are made of and tested on are of one kind.
"""

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from nrf import folders
from nrf.data import arrays, records, tfds
from nrf.rows import Pixels, Stored
from nrf.types import Dataset

NAME = "restricted_imagenet"
SOURCE = "imagenet2012"
EXAMPLES = 1_281_167 + 50_000  # Of the source, with those that are left out.
SIDE = 224
# First and last class among ImageNet's 1000, in the order of D_det's next class.
GROUPS = {
    "dog": (151, 268),
    "cat": (281, 285),
    "frog": (30, 32),
    "turtle": (33, 37),
    "bird": (80, 100),
    "primate": (365, 382),
    "fish": (389, 397),
    "crab": (118, 121),
    "insect": (300, 319),
}
NAMES = tuple(GROUPS)
CLASSES = 1000
_SPLITS = {"train": "train", "test": "validation"}  # ImageNet's own test has no labels.
_DESCRIPTION = "description.json"
_LABEL = np.dtype("<i4")
_CHUNK = 256  # Images decoded before they are written.


def groups() -> np.ndarray:
    """[1000] the group of each class of ImageNet, -1 for those that are left out."""
    group = np.full(CLASSES, -1, np.int32)
    for number, (first, last) in enumerate(GROUPS.values()):
        group[first : last + 1] = number
    return group


def side_of(spec: Any) -> int | None:
    """The side of the images that a name of a data set asks for; None: of others.

    Raises:
      ValueError: it asks for this data set, with something else than a side.
    """
    name, _, side = str(spec).partition("/")
    if name != NAME:
        return None
    if side and not re.fullmatch("[1-9][0-9]*", side):
        raise ValueError(
            f"{spec!r}: behind the slash is the side of the images in pixels; write "
            f"{NAME!r} for {SIDE}, or for example '{NAME}/64'."
        )
    return int(side or SIDE)


def load(
    side: int,
    data_dir: str | os.PathLike | None = None,
    train_examples: int | None = None,
    test_examples: int | None = None,
) -> tuple[Dataset, Dataset]:
    """Training and test set, read row by row; the first so many examples of each.

    Raises:
      ValueError: they are not prepared, not whole, or have fewer examples.
    """
    folder = _folder(data_dir, side)
    file = folder / _DESCRIPTION
    if not file.is_file():
        size = "" if side == SIDE else f" --side {side}"
        raise ValueError(
            f"there is no {NAME} of {side} x {side} pixels in {folder.parent}; where "
            f"TFDS has prepared {SOURCE}, `nrf prepare-restricted-imagenet{size}` "
            "makes it. For a copy elsewhere give data_dir or set TFDS_DATA_DIR."
        )
    try:
        counts = json.loads(file.read_text())["examples"]
        counts = {split: int(counts[split]) for split in _SPLITS}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} cannot be read: {_again(folder)}") from error
    return (
        _opened(folder, "train", side, counts["train"], train_examples),
        _opened(folder, "test", side, counts["test"], test_examples),
    )


def _opened(
    folder: Path, split: str, side: int, count: int, examples: int | None
) -> Dataset:
    wanted = arrays.check_count(examples, count, f"{NAME}, split {split!r},")
    images, labels = _files(folder, split)
    for file, size in ((images, side * side * 3), (labels, _LABEL.itemsize)):
        if not file.is_file() or file.stat().st_size != count * size:
            state = "not as it was written" if file.exists() else "missing"
            raise ValueError(f"{file} is {state}: {_again(folder)}")
    return Dataset(
        Pixels(Stored(images, (wanted, side, side, 3), np.uint8)),
        np.fromfile(labels, _LABEL, wanted).astype(np.int32),
        NAMES,
    )


def prepare(
    data_dir: str | os.PathLike | None = None,
    *,
    side: int = SIDE,
    tick: Callable[[int], None] = lambda examples: None,
) -> Path:
    """Writes the images below `data_dir`, and returns their folder; once.

    The folder appears when it is complete. What an interrupted preparation left is
    removed by the next, which begins anew.

    Args:
      data_dir: Where `imagenet2012` is; None is TFDS's own folder.
      side: Of the images in pixels.
      tick: Called with the number of examples of ImageNet newly looked at.

    Raises:
      ValueError: `imagenet2012` is not there, is damaged or has other classes.
      OSError: the folder cannot be written.
    """
    if not isinstance(side, int) or side < 8:
        raise ValueError(f"side must be 8 pixels or more, got {side!r}.")
    folder = _folder(data_dir, side)
    if (folder / _DESCRIPTION).is_file():
        return folder
    builder = source(data_dir)
    folder.parent.mkdir(exist_ok=True)
    with folders.temporary(folder) as temporary:
        counts = {
            split: _write(temporary, split, builder, side, tick) for split in _SPLITS
        }
        with (temporary / _DESCRIPTION).open("w") as file:
            json.dump({"examples": counts, "side": side, "classes": GROUPS}, file)
            os.fsync(file.fileno())
        try:
            temporary.rename(folder)
        except OSError as error:
            if not (folder / _DESCRIPTION).is_file():  # Else another was faster.
                raise ValueError(
                    f"{folder} is there and is not {NAME}; move it away."
                ) from error
    return folder


def source(data_dir: str | os.PathLike | None) -> Any:
    """TFDS's builder of `imagenet2012`.

    Raises:
      ValueError: it is not there, is not whole, or has other classes than ImageNet's.
    """
    builder = tfds.find(SOURCE, data_dir)
    names = list(builder.info.features["label"].names)
    if len(names) != CLASSES or names != sorted(names):
        raise ValueError(
            f"{builder.data_path} has {len(names)} classes, from {names[0]} to "
            f"{names[-1]}; {SOURCE} has {CLASSES}, in the order of their WordNet "
            "numbers, by which its groups are told."
        )
    missing = set(_SPLITS.values()) - set(builder.info.splits)
    if missing:
        raise ValueError(
            f"{builder.data_path} has no split {missing.pop()!r}; prepare {SOURCE} "
            "with ImageNet's training and validation archives."
        )
    return builder


class _Labelled(NamedTuple):
    number: int  # Of the example in its split.
    group: int
    bits: bytes  # The JPEG.


def _write(
    folder: Path, split: str, builder: Any, side: int, tick: Callable[[int], None]
) -> int:
    """Writes a split's images and labels; how many they are."""
    what = f"{SOURCE}, split {_SPLITS[split]!r},"

    def decode(one: _Labelled) -> bytes:
        try:
            with PIL.Image.open(io.BytesIO(one.bits)) as opened:
                return middle(opened, side).tobytes()
        except Exception as error:  # Of Pillow.
            raise ValueError(
                f"example {one.number} of {what} cannot be decoded "
                f"({type(error).__name__}: {error}); prepare {SOURCE} again."
            ) from error

    kept = _kept(builder, _SPLITS[split], what, tick)
    labels: list[int] = []
    images, file_of_labels = _files(folder, split)
    with images.open("wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(kept, _CHUNK)):
            file.writelines(pool.map(decode, chunk))
            labels += [one.group for one in chunk]
        os.fsync(file.fileno())
    np.array(labels, _LABEL).tofile(file_of_labels)
    return len(labels)


def _kept(
    builder: Any, split: str, what: str, tick: Callable[[int], None]
) -> Iterator[_Labelled]:
    from tensorflow_datasets.proto import tf_example_pb2

    info, group = builder.info.splits[split], groups()
    file_format = builder.info.file_format.value
    every = records.read(info, file_format, info.num_examples, what)
    for number, record in enumerate(every):
        parts = tf_example_pb2.Example.FromString(record).features.feature
        of = int(group[parts["label"].int64_list.value[0]])
        if of >= 0:
            yield _Labelled(number, of, parts["image"].bytes_list.value[0])
        tick(1)


def middle(image: PIL.Image.Image, side: int) -> np.ndarray:
    """[side, side, 3] uint8: the middle of an image whose shorter side is 8/7 of that.

    For 224 pixels as the authors' library has it: torchvision's Resize(256), then its
    CenterCrop(224).
    """
    image = image if image.mode == "RGB" else image.convert("RGB")
    shorter, least = side * 8 // 7, min(image.size)
    width, height = (shorter * length // least for length in image.size)
    image = image.resize((width, height), PIL.Image.Resampling.BILINEAR)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def _folder(data_dir: str | os.PathLike | None, side: int) -> Path:
    return tfds.folder_of(data_dir) / NAME / str(side)


def _files(folder: Path, split: str) -> tuple[Path, Path]:
    """Of the images and of the labels, both raw numbers."""
    return folder / f"{split}.images", folder / f"{split}.labels"


def _again(folder: Path) -> str:
    return f"remove {folder} and prepare {NAME} again."
