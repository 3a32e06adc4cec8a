"""Constructed sets on disk: data sets for TFDS, which has them in `ArrayRecord` files.

    save(folder, made)
    made = load(folder)
    builder = tfds.builder_from_directory(folder)  # By other readers.

A large set has several files. Its images are read when they are asked for.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nrf.rows import Decoded, Joined, Lazy, blocks, ends, rows_at_once
from nrf.types import check_labels

_COLUMNS = ("label", "original_label", "index")
_FILE = 1 << 29  # Bytes of images in one file.


class Constructed(NamedTuple):
    """A data set made of another one."""

    images: Any  # [N, H, W, C] float32 or float16 in [0, 1]; an array, or `nrf.rows`.
    labels: np.ndarray  # [N] int32, to be learned.
    original_labels: np.ndarray  # [N] int32, of the images it was made from.
    indices: np.ndarray  # [N] int64, of those images in their data set.
    names: tuple[str, ...]  # Of the classes.
    provenance: dict[str, Any]  # How it was made: names and numbers for its readers.


def save(folder: Path, made: Constructed) -> None:
    """Writes a set into an existing empty folder.

    Raises:
      ValueError: it is none, or has pixels outside of [0, 1].
      OSError: it cannot be written.
    """
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    _check(made)
    info, count = _description(folder, made), len(made.images)
    each = max(1, _FILE // max(1, made.images.nbytes // max(1, count)))
    lengths = [min(each, count - start) for start in range(0, count, each)]
    # TFDS's file formats other than this one need TensorFlow, or lose examples
    # (parquet, in 4.9.10).
    info.set_file_format("array_record")
    template = tfds.core.ShardedFileTemplate(
        folder, dataset_name=info.name, split="train", filetype_suffix="array_record"
    )
    records, size = _records(made), 0
    for path, length in zip(
        template.sharded_filepaths(len(lengths)), lengths, strict=True
    ):
        # Pixels that were moved hardly shrink, which takes longer than all the rest.
        writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        for record in itertools.islice(records, length):
            writer.write(record)
            size += len(record)
        writer.close()
    split = tfds.core.SplitInfo(
        name="train", shard_lengths=lengths, num_bytes=size, filename_template=template
    )
    info.set_splits(tfds.core.SplitDict([split]))
    info.write_to_directory(folder)


def _records(made: Constructed) -> Iterator[bytes]:
    """Examples as TFDS has them, whose own writer takes several times as long."""
    from tensorflow_datasets.proto import tf_example_pb2

    columns = np.stack([made.labels, made.original_labels, made.indices], 1)
    digest, start = hashlib.sha256(), 0
    for block in blocks(made.images):
        block = np.ascontiguousarray(block)
        digest.update(block.view(np.uint8).data)
        start, of_block = start + len(block), columns[start : start + len(block)]
        if start == len(columns) and isinstance(made.images, Lazy):
            made.images.sha256 = digest.hexdigest()
        for image, numbers in zip(block, of_block.tolist(), strict=True):
            example = tf_example_pb2.Example()
            feature = example.features.feature
            feature["image"].bytes_list.value.append(image.tobytes())
            for name, number in zip(_COLUMNS, numbers, strict=True):
                feature[name].int64_list.value.append(number)
            yield example.SerializeToString()


def _description(folder: Path, made: Constructed) -> Any:
    """TFDS's description of the set."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Tensor(
                shape=made.images.shape[1:],
                dtype=made.images.dtype.type,
                # Much faster than the default, and no larger.
                encoding=tfds.features.Encoding.BYTES,
            ),
            "label": tfds.features.ClassLabel(names=made.names),
            "original_label": tfds.features.ClassLabel(names=made.names),
            "index": tfds.features.Scalar(np.int64),
        }
    )
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="nrf_constructed",
        version=tfds.core.Version("1.0.0"),
        data_dir=str(folder),
        module_name=__name__,
    )
    return tfds.core.DatasetInfo(
        builder=identity,
        description="Images constructed to study robust and non-robust features.",
        features=features,
        supervised_keys=("image", "label"),
        disable_shuffling=True,
        metadata=tfds.core.MetadataDict(made.provenance),
    )


def load(folder: Path, files: Sequence[str] = ()) -> Constructed:
    """The set in a folder; of `files` it needs to know nothing."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    images, digest = _images(builder), hashlib.sha256()
    integers = np.empty((3, len(images)), np.int64)
    for number, record in enumerate(_all_records(images)):
        example = _parsed(record)
        digest.update(example["image"].bytes_list.value[0])
        for column, name in zip(integers, _COLUMNS, strict=True):
            column[number] = example[name].int64_list.value[0]
    images.sha256 = digest.hexdigest()  # So that they need not be read again.
    labels, original_labels = integers[:2].astype(np.int32)
    names = tuple(builder.info.features["label"].names)
    provenance = dict(builder.info.metadata or {})
    return Constructed(images, labels, original_labels, integers[2], names, provenance)


def _images(builder: Any) -> Joined:
    """The images of a set that TFDS describes.

    Of its files themselves: TFDS's data source takes several times as long.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    feature, split = builder.info.features["image"], builder.info.splits["train"]

    def decode(record: bytes) -> np.ndarray:
        bits = _parsed(record)["image"].bytes_list.value[0]
        return np.frombuffer(bits, feature.np_dtype).reshape(feature.shape)

    def rows(path: Any, length: int) -> Decoded:
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
        shape = length, *feature.shape
        # They were looked at when they were saved.
        return Decoded(reader.read, decode, shape, feature.np_dtype, within=True)

    return Joined([*map(rows, split.filepaths, split.shard_lengths)])


def _all_records(images: Joined) -> Iterator[bytes]:
    at_once = rows_at_once(images)
    for part in images.parts:
        for start in range(0, len(part), at_once):
            yield from part.fetch([*range(start, min(start + at_once, len(part)))])


def _parsed(record: bytes) -> Any:
    """What TFDS's own parser takes several times as long for."""
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(record).features.feature


def _check(made: Constructed) -> None:
    images = made.images
    if images.ndim != 4 or images.dtype not in (np.float32, np.float16):
        raise ValueError(
            "constructed images must be [N, H, W, C] float32 or float16, got "
            f"{images.dtype} {tuple(images.shape)}; 8-bit images would lose what was "
            "constructed."
        )
    low, high = (0, 1) if getattr(images, "within", False) else ends(images)
    if not (low >= 0 and high <= 1):  # Written so that NaN fails too.
        raise ValueError(
            f"constructed images must lie in [0, 1], got pixels from {low:g} to "
            f"{high:g}."
        )
    for name in ("labels", "original_labels", "indices"):
        column = getattr(made, name)
        if column.shape != images.shape[:1] or column.dtype.kind not in "iu":
            raise ValueError(
                f"{name} must be {len(images)} integers, one for each image, got "
                f"{column.dtype} {tuple(column.shape)}."
            )
    for name in ("labels", "original_labels"):
        check_labels(getattr(made, name), len(made.names))
