"""What the steps of a run make, and how it lies on disk.

network    Trained: parameters by Orbax in params/, history.json.
set        Constructed: a data set for `tfds.builder_from_directory` of its folder, in
           several files where it is large. Its images are read when they are asked for.
arrays     A dict of arrays, each an .npy file.
json       Numbers and words in value.json.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np

from nrf.rows import Decoded, blocks, ends, rows_at_once
from nrf.types import Params, check_labels

T = TypeVar("T")

_COLUMNS = ("label", "original_label", "index")
_FILE = 1 << 29  # Bytes of images in one file of a constructed set.


class Format(NamedTuple, Generic[T]):
    """How a value lies in a folder; `load` gives back what `save` was given."""

    save: Callable[[Path, T], None]  # Into an existing empty folder.
    # From the files of these names. What else lies there is no part of the value: other
    # systems leave files of their own.
    load: Callable[[Path, Sequence[str]], T]


class Trained(NamedTuple):
    """A trained network."""

    params: Params  # Nested dicts of arrays.
    history: list[dict[str, Any]]  # One entry for each epoch.


class Constructed(NamedTuple):
    """A data set made of another one."""

    images: Any  # [N, H, W, C] float32 or float16 in [0, 1]; an array, or `nrf.rows`.
    labels: np.ndarray  # [N] int32, to be learned.
    original_labels: np.ndarray  # [N] int32, of the images it was made from.
    indices: np.ndarray  # [N] int64, of those images in their data set.
    names: tuple[str, ...]  # Of the classes.
    provenance: dict[str, Any]  # How it was made: names and numbers for its readers.


def _save_trained(folder: Path, trained: Trained) -> None:
    _check_tree(trained.params, "params")
    for path, leaf in jax.tree_util.tree_leaves_with_path(trained.params):
        _check_numbers(f"params{jax.tree_util.keystr(path)}", np.asarray(leaf))
    # Arrays of the host carry no devices: they are read on any number of any kind.
    params = jax.tree.map(np.asarray, trained.params)
    with _quiet_orbax(), _checkpointer() as checkpointer:
        checkpointer.save(folder.absolute() / "params", params)
        checkpointer.wait_until_finished()
    _save_json(folder / "history.json", trained.history)


def _load_trained(folder: Path, files: Sequence[str]) -> Trained:
    with _quiet_orbax(), _checkpointer() as checkpointer:
        params = checkpointer.restore(folder.absolute() / "params")
    return Trained(params, json.loads((folder / "history.json").read_text()))


def _checkpointer() -> Any:
    """Orbax's, for a process by itself: one alone saves, and each loads when it may."""
    import orbax.checkpoint as ocp

    here = jax.process_index()
    return ocp.StandardCheckpointer(
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=here,
            active_processes={here},
            barrier_sync_key_prefix=f"process{here}",
        )
    )


def _check_tree(tree: Any, where: str) -> None:
    # Orbax would give tuples back as lists and custom nodes as dicts.
    if type(tree) is dict:
        for name, part in tree.items():
            _check_tree(part, f"{where}.{name}")
    elif not isinstance(tree, np.ndarray | jax.Array):
        raise ValueError(
            f"{where} is a {type(tree).__name__}; parameters are nested dicts of "
            "arrays."
        )


@contextlib.contextmanager
def _quiet_orbax() -> Iterator[None]:
    """Without its warnings of missing shardings, which arrays of the host lack."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _save_constructed(folder: Path, made: Constructed) -> None:
    import tensorflow_datasets as tfds

    _check_constructed(made)
    each = made.images[0].nbytes if len(made.images) else 1
    # TFDS's file formats other than this one need TensorFlow, or lose examples
    # (parquet, in 4.9.10). Its other writer holds up to 1 GB of them in memory.
    writer = tfds.core.SequentialWriter(
        _description(folder, made),
        max_examples_per_shard=max(1, _FILE // each),
        file_format="array_record",
    )
    writer.initialize_splits(["train"])
    columns = np.stack([made.labels, made.original_labels, made.indices], 1)
    start = 0
    for block in blocks(made.images):
        rows = zip(block, columns[start : start + len(block)].tolist(), strict=True)
        examples = [
            {"image": image, **dict(zip(_COLUMNS, numbers, strict=True))}
            for image, numbers in rows
        ]
        writer.add_examples({"train": examples})
        start += len(block)
    writer.close_all()


def _description(folder: Path, made: Constructed) -> Any:
    """TFDS's description of the set."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Tensor(
                shape=made.images.shape[1:],
                dtype=made.images.dtype.type,
                # Eight times as fast as the default, and no larger.
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


def _load_constructed(folder: Path, files: Sequence[str]) -> Constructed:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    images = _images(builder)
    integers = np.empty((3, len(images)), np.int64)
    at_once = rows_at_once(images)
    for start in range(0, len(images), at_once):
        rows = list(range(start, min(start + at_once, len(images))))
        for row, record in zip(rows, images.fetch(rows), strict=True):
            example = _parsed(record)
            for column, name in zip(integers, _COLUMNS, strict=True):
                column[row] = example[name].int64_list.value[0]
    labels, original_labels = integers[:2].astype(np.int32)
    names = tuple(builder.info.features["label"].names)
    provenance = dict(builder.info.metadata or {})
    return Constructed(images, labels, original_labels, integers[2], names, provenance)


def _images(builder: Any) -> Decoded:
    """The images of a set that TFDS describes."""
    import tensorflow_datasets as tfds

    source = builder.as_data_source(
        "train", deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    feature = builder.info.features["image"]

    def decode(record: bytes) -> np.ndarray:
        bits = _parsed(record)["image"].bytes_list.value[0]
        return np.frombuffer(bits, feature.np_dtype).reshape(feature.shape)

    shape = len(source), *feature.shape
    # They were looked at when they were saved.
    return Decoded(source.__getitems__, decode, shape, feature.np_dtype, within=True)


def _parsed(record: bytes) -> Any:
    """What TFDS's own parser takes several times as long for."""
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(record).features.feature


def moved(value: Any, folder: Path) -> Any:
    """A value that was loaded from a folder which has become `folder` since."""
    if isinstance(value, Constructed):
        import tensorflow_datasets as tfds

        return value._replace(images=_images(tfds.builder_from_directory(folder)))
    return value


def _check_constructed(made: Constructed) -> None:
    images = made.images
    if images.ndim != 4 or images.dtype not in (np.float32, np.float16):
        raise ValueError(
            "constructed images must be [N, H, W, C] float32 or float16, got "
            f"{images.dtype} {tuple(images.shape)}; 8-bit images would lose what was "
            "constructed."
        )
    low, high = ends(images)
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


def _check_numbers(name: str, array: np.ndarray) -> None:
    """Raises ValueError for NaN, which a later step would be blamed for."""
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{name} has NaN in {np.isnan(array).sum()} places.")


def _save_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        _check_numbers(name, np.asarray(array))
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _load_arrays(folder: Path, files: Sequence[str]) -> dict[str, np.ndarray]:
    return {name.removesuffix(".npy"): np.load(folder / name) for name in sorted(files)}


def _save_json(file: Path, value: Any) -> None:
    def plain(scalar: Any) -> Any:
        if isinstance(scalar, np.generic):
            return scalar.item()
        raise ValueError(
            f"{type(scalar).__name__} is neither a number, a word, a list nor a dict; "
            "for an array of one number write float(x)."
        )

    file.write_text(json.dumps(value, indent=1, default=plain) + "\n")


FORMATS: dict[str, Format] = {
    "network": Format(_save_trained, _load_trained),
    "set": Format(_save_constructed, _load_constructed),
    "arrays": Format(_save_arrays, _load_arrays),
    "json": Format(
        lambda folder, value: _save_json(folder / "value.json", value),
        lambda folder, files: json.loads((folder / "value.json").read_text()),
    ),
}


def format_of(value: Any) -> str:
    """The name of the format that a value is saved in, by its type."""
    if isinstance(value, Trained):
        return "network"
    if isinstance(value, Constructed):
        return "set"
    if isinstance(value, dict) and value:
        if all(isinstance(a, np.ndarray | jax.Array) for a in value.values()):
            return "arrays"
    return "json"
