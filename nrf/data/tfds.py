"""Image classification data sets prepared by TensorFlow Datasets, as arrays.

Read without TensorFlow, in ARRAY_RECORD as in TFRECORD files (which TFDS itself reads
with TensorFlow only). TFDS is imported where it is used: other data sets need none.
"""

import difflib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nrf import rows
from nrf.data import arrays, examples
from nrf.types import Dataset

_DESCRIPTION = "dataset_info.json"


def folder_of(data_dir: str | os.PathLike | None) -> Path:
    """The folder of TFDS's data sets; raises ValueError for one in a cloud."""
    if data_dir is None:
        from tensorflow_datasets.core import constants

        data_dir = constants.get_default_data_dir()
    return local(data_dir)


def local(path: str | os.PathLike) -> Path:
    """`path` with ~ written out; raises ValueError for gs:// and where ~ is nowhere."""
    # A Path has made gs:/ of gs:// already.
    if re.match(r"[A-Za-z][\w+.-]+:/", os.fspath(path)):
        raise ValueError(
            f"{path} is not a folder of this machine, and only such are read; copy it "
            "first, for example with `gcloud storage cp -r`."
        )
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # There is no $HOME, and the system knows none.
        words = f"{path} is nowhere: there is no home; set HOME or TFDS_DATA_DIR."
        raise ValueError(words) from error


def is_prepared(folder: Path) -> bool:
    """Whether it is the folder of one data set, as TFDS writes it."""
    return (folder / _DESCRIPTION).is_file()


def is_constructed(builder: Any) -> bool:
    """Whether it is a set that this package constructed from another one."""
    return "original_label" in (builder.info.features or ())


def prepared(data_dir: str | os.PathLike | None) -> list[str]:
    """The names of the data sets in TFDS's folder, without versions and variants."""
    folder = folder_of(data_dir)
    return sorted(
        {
            file.relative_to(folder).parts[0]
            for depth in ("*/*/", "*/*/*/")
            for file in folder.glob(depth + _DESCRIPTION)
        }
    )


def find(
    name: str, data_dir: str | os.PathLike | None, built_in: Sequence[str] = ()
) -> Any:
    """The TFDS builder of a prepared data set; it runs no code of that data set.

    Raises:
      ValueError: where there is none, with what there is (in the folder, and `built_in`
        elsewhere), or where its description is damaged.
    """
    from tensorflow_datasets.core import read_only_builder, registered

    folder = folder_of(data_dir)
    try:
        return read_only_builder.builder_from_files(name, data_dir=str(folder))
    except registered.DatasetNotFoundError:
        pass
    except Exception as error:  # Of TFDS, of protocol buffers, of JSON.
        if "Parsing builder name" not in str(error):
            raise _damaged(folder / base(name), error) from error
    for description in (folder / base(name)).rglob(_DESCRIPTION):
        if not (description.parent / "features.json").is_file():
            raise ValueError(
                f"{description.parent} has no features.json; prepare the data set "
                "again."
            )
    raise ValueError(_no_such(name, folder, prepared(folder), built_in))


def base(name: str) -> str:
    """The name without its variant and its version: "cifar10_1" of "cifar10_1/v6"."""
    return name.split("/")[0].split(":")[0]


def open_folder(folder: Path) -> Any:
    """The TFDS builder of the data set in `folder`.

    Raises:
      ValueError: if a file of its description is missing or damaged.
    """
    from tensorflow_datasets.core import read_only_builder

    if not (folder / "features.json").is_file():
        raise ValueError(f"{folder} has no features.json; prepare the data set again.")
    try:
        return read_only_builder.builder_from_directory(str(folder))
    except Exception as error:  # Of TFDS, of protocol buffers, of JSON.
        raise _damaged(folder, error) from error


def _no_such(
    name: str, folder: Path, names: Sequence[str], built_in: Sequence[str]
) -> str:
    if not folder.is_dir():
        where = f"there is no folder {folder}"
    else:
        where = f"{folder} holds {', '.join(names) or 'no prepared data set'}"
    if built_in:
        where += f", and {', '.join(built_in)} are built in"
    elsewhere = "for a copy elsewhere give --data-dir (data_dir) or set TFDS_DATA_DIR."
    if name == "cifar10":
        advice = f"`nrf prepare-cifar10` prepares it there; {elsewhere}"
    else:
        near = difflib.get_close_matches(
            name.lower(), [*built_in, *names, "cifar10"], 1
        )
        guess = f"Did you mean {near[0]!r}? " if near else ""
        advice = (
            f"{guess}Where TensorFlow is installed, `tfds build {name}` prepares it if "
            f"TFDS knows it; {elsewhere} Images of your own are read from a folder: "
            "give its path."
        )
    return f"no data set {name!r}: {where}. {advice}"


def _damaged(folder: Path, error: Exception) -> ValueError:
    """The words for a description that TFDS cannot read, with the file if possible."""
    where = folder
    for name in (_DESCRIPTION, "features.json"):
        for file in folder.rglob(name):
            try:
                json.loads(file.read_bytes())
            except ValueError:
                where = file
    return ValueError(
        f"{where} cannot be read ({type(error).__name__}: {error}). It is damaged, or "
        "written by another version of TFDS; prepare the data set again."
    )


def read(builder: Any, split: str, count: int | None) -> Dataset:
    """Images [N, H, W, C] float32 in [0, 1], labels [N] int32, names of the classes.

    The first `count` of the split in its own order, None for all. Images of 8 bits
    are kept so, and become float32 where they are asked for; images of more than
    `examples.LARGE` bytes are read then.

    Raises:
      ValueError: for what is not an image classification data set, or not a readable
        one; damaged files are named.
    """
    what = f"data set {builder.name!r}, split {split!r},"
    info, features = builder.info.splits[split], builder.info.features
    _check_features(features, what)
    count = arrays.check_count(count, info.num_examples, what)
    images, labels = examples.read(builder, info, count, what)
    if images.dtype == np.uint8:
        images = rows.Pixels(images)
    else:
        images = rows.cast(images, np.float32)
        _check_range(images, what)
    names = tuple(features["label"].names)
    if labels.min() < 0 or labels.max() >= len(names):
        guess = (
            "is it a split without labels?"
            if labels.min() < 0
            else "is its file of class names cut?"
        )
        raise ValueError(
            f"{what} has labels {labels.min()} .. {labels.max()}, not in 0 .. "
            f"{len(names) - 1}; {guess}"
        )
    return Dataset(images, labels, names)


def _check_range(images: Any, what: str) -> None:
    low, high = rows.ends(images)
    if not (low >= 0 and high <= 1):  # Written so that NaN fails too.
        raise ValueError(
            f"{what} has pixels from {low:g} to {high:g}; floating-point images must "
            "lie in [0, 1]."
        )


def test_split(name: str, builder: Any, *others: str) -> str:
    """ "test", or "validation" where there is none.

    Raises:
      ValueError: if there is neither, or a split of `others` is missing.
    """
    splits = set(builder.info.splits)
    split = "test" if "test" in splits else "validation"
    if not {split, *others} <= splits:
        needed = "".join(f"{other!r} is needed, and " for other in others)
        raise ValueError(
            f"data set {name!r} has splits {sorted(splits)}; {needed}'test' or "
            "'validation'" + ("." if others else " is needed.")
        )
    return split


def _check_features(features: Any, what: str) -> None:
    import tensorflow_datasets as tfds

    image_types = (tfds.features.Image, tfds.features.Tensor)
    if not (
        isinstance(features, tfds.features.FeaturesDict)
        and {"image", "label"} <= set(features.keys())
        and isinstance(features["image"], image_types)
        and len(features["image"].shape) == 3
        and isinstance(features["label"], tfds.features.ClassLabel)
    ):
        raise ValueError(
            f"{what} is not for image classification: it needs features 'image' [H, W, "
            f"C] and 'label' (a ClassLabel), and has {features}."
        )
    dtype = features["image"].np_dtype
    if dtype != np.uint8 and not np.issubdtype(dtype, np.floating):
        raise ValueError(
            f"{what} has images of {dtype}; they must be uint8, or floating point in "
            "[0, 1]."
        )
