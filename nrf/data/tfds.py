"""Image classification data sets prepared by TensorFlow Datasets, as arrays.

Read without TensorFlow, in ARRAY_RECORD as in TFRECORD files (which TFDS itself reads
with TensorFlow only). TFDS is imported where it is used: other data sets need none.
"""

import difflib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

_CHUNK = 1000  # Examples read at a time.


def folder_of(data_dir: str | os.PathLike | None) -> Path:
    if data_dir is None:
        from tensorflow_datasets.core import constants

        data_dir = constants.get_default_data_dir()
    return Path(data_dir).expanduser()


def find(
    name: str, data_dir: str | os.PathLike | None, built_in: Sequence[str] = ()
) -> Any:
    """The TFDS builder of a prepared data set; it runs no code of that data set.

    Raises ValueError where there is none, with what there is: in the folder, and
    `built_in` elsewhere.
    """
    from tensorflow_datasets.core import read_only_builder, registered

    folder = folder_of(data_dir)
    try:
        return read_only_builder.builder_from_files(name, data_dir=str(folder))
    except registered.DatasetNotFoundError:
        pass
    except ValueError as error:
        if "Parsing builder name" not in str(error):
            raise
    found = sorted(
        {
            file.relative_to(folder).parts[0]
            for depth in ("*/*/", "*/*/*/")
            for file in folder.glob(depth + "dataset_info.json")
        }
    )
    if not folder.is_dir():
        where = f"there is no folder {folder}"
    else:
        where = f"{folder} holds {', '.join(found) or 'no prepared data set'}"
    near = difflib.get_close_matches(name.lower(), [*built_in, *found, "cifar10"], 1)
    if name == "cifar10":
        advice = (
            "python scripts/prepare_cifar10.py prepares cifar10 there; for a copy "
            "elsewhere give data_dir or set TFDS_DATA_DIR."
        )
    else:
        guess = f"Did you mean {near[0]!r}? " if near else ""
        advice = (
            f"{guess}Where TensorFlow is installed, `tfds build {name}` prepares it if "
            "TFDS knows it; for a copy elsewhere give data_dir or set TFDS_DATA_DIR."
        )
    raise ValueError(
        f"no data set {name!r}: {where}"
        + (f", and {' and '.join(built_in)} are built in. " if built_in else ". ")
        + advice
    )


def read(
    builder: Any, split: str, examples: int | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images [N, H, W, C] float32 in [0, 1], labels [N] int32, names of the classes.

    The first `examples` of the split in its own order, None for all. Raises ValueError
    for what is not an image classification data set, or not a readable one.
    """
    import tensorflow_datasets as tfds

    what = f"data set {builder.name!r}, split {split!r},"
    features = builder.info.features
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
    feature = features["image"]
    if feature.np_dtype != np.uint8 and not np.issubdtype(
        feature.np_dtype, np.floating
    ):
        raise ValueError(
            f"{what} has images of {feature.np_dtype}; they must be uint8, or floating "
            "point in [0, 1]."
        )
    count = check_count(examples, builder.info.splits[split].num_examples, what)
    decode = _decoder(features)
    images = np.empty((count, 0, 0, 0), np.float32)  # Of the size of the first, below.
    labels = np.empty(count, np.int32)
    for index, record in enumerate(_records(builder, split, count, what)):
        image, labels[index] = decode(record)
        if index == 0:
            images = np.empty((count, *image.shape), np.float32)
        if image.shape != images.shape[1:]:
            raise ValueError(
                f"{what} has images of different sizes, {images.shape[1:]} and "
                f"{image.shape}; all must have one size."
            )
        images[index] = image
    if feature.np_dtype == np.uint8:
        images /= 255
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # Written so that NaN fails too.
        raise ValueError(
            f"{what} has pixels from {low:g} to {high:g}; floating-point images must "
            "lie in [0, 1]."
        )
    names = tuple(features["label"].names)
    if labels.min() < 0 or labels.max() >= len(names):
        raise ValueError(
            f"{what} has labels {labels.min()} .. {labels.max()}, not in 0 .. "
            f"{len(names) - 1}; is it a split without labels?"
        )
    return images, labels, names


def _decoder(features: Any) -> Callable[[bytes], tuple[np.ndarray, int]]:
    """From a serialised example to its image [H, W, C] and its label."""
    import PIL.Image
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto import tf_example_pb2

    # Only what is needed is decoded.
    image_feature = features["image"]
    wanted = tfds.features.FeaturesDict(
        {"image": image_feature, "label": features["label"]}
    )

    def general(record: bytes) -> tuple[np.ndarray, int]:
        example = wanted.deserialize_example_np(record)
        return example["image"], example["label"]

    def compressed(record: bytes) -> tuple[np.ndarray, int]:
        # A PNG or JPEG and an integer: TFDS's own parser takes 1.5 times as long.
        example = tf_example_pb2.Example.FromString(record).features.feature
        file = io.BytesIO(example["image"].bytes_list.value[0])
        with PIL.Image.open(file) as opened:
            image = np.asarray(opened.convert(mode) if opened.mode != mode else opened)
        return image.reshape(*image.shape[:2], -1), example["label"].int64_list.value[0]

    mode = {1: "L", 3: "RGB"}.get(image_feature.shape[-1])
    if isinstance(image_feature, tfds.features.Image) and mode:
        return compressed
    return general


def _records(builder: Any, split: str, count: int, what: str) -> Iterator[bytes]:
    """The first `count` serialised examples of a split, in the order of its files."""
    import tensorflow_datasets as tfds

    info = builder.info.splits[split]
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        # What TFDS writes where TensorFlow is installed, unless asked otherwise.
        records = chain.from_iterable(_tfrecords(Path(path)) for path in info.filepaths)
        got = 0
        for record in islice(records, count):
            got += 1
            yield record
    else:
        try:
            source = builder.as_data_source(
                split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
        except NotImplementedError as error:
            raise ValueError(
                f"{what} is stored as {builder.info.file_format.value}; prepare it "
                "with file_format='array_record' or 'tfrecord'."
            ) from error
        got = min(count, len(source))
        for start in range(0, got, _CHUNK):
            yield from source.__getitems__(range(start, min(start + _CHUNK, got)))
    if got < count:
        raise ValueError(
            f"{what} should have {info.num_examples} examples, and its files hold "
            f"{got}; prepare it again."
        )


def _tfrecords(path: Path) -> Iterator[bytes]:
    """The records of a TFRECORD file: 8 bytes length, 4 CRC, the record, 4 CRC."""
    with path.open("rb") as file:
        while header := file.read(12):
            length = int.from_bytes(header[:8], "little")
            record = file.read(length)
            if len(header) < 12 or len(record) < length or len(file.read(4)) < 4:
                raise ValueError(f"{path} ends in the middle of an example.")
            yield record


def check_count(examples: int | None, available: int, what: str) -> int:
    """`examples`, or all for None; raises ValueError if there are not so many."""
    count = available if examples is None else examples
    if not 1 <= count <= available:
        raise ValueError(
            f"{what} has {available} examples; {count} were asked for. Write None for "
            "all."
        )
    return count
