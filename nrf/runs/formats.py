"""What the steps of a run make, and how it lies on disk.

network    Trained: parameters by Orbax in params/, history.json.
set        Constructed: a data set for `tfds.builder_from_directory` of its folder.
arrays     A dict of arrays, each an .npy file.
json       Numbers and words in value.json.
"""

import contextlib
import io
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np

from nrf.types import Params, check_labels

T = TypeVar("T")

_FEATURES = ("image", "label", "original_label", "index")


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

    images: np.ndarray  # [N, H, W, C] float32 or float16 in [0, 1].
    labels: np.ndarray  # [N] int32, to be learned.
    original_labels: np.ndarray  # [N] int32, of the images it was made from.
    indices: np.ndarray  # [N] int64, of those images in their data set.
    names: tuple[str, ...]  # Of the classes.
    provenance: dict[str, Any]  # How it was made: names and numbers for its readers.


def _save_trained(folder: Path, trained: Trained) -> None:
    import orbax.checkpoint as ocp

    _check_tree(trained.params, "params")
    for path, leaf in jax.tree_util.tree_leaves_with_path(trained.params):
        _check_numbers(f"params{jax.tree_util.keystr(path)}", np.asarray(leaf))
    # Arrays of the host carry no devices: they are read on any number of any kind.
    params = jax.tree.map(np.asarray, trained.params)
    with _quiet_orbax(), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute() / "params", params)
        checkpointer.wait_until_finished()
    _save_json(folder / "history.json", trained.history)


def _load_trained(folder: Path, files: Sequence[str]) -> Trained:
    import orbax.checkpoint as ocp

    with _quiet_orbax(), ocp.StandardCheckpointer() as checkpointer:
        params = checkpointer.restore(folder.absolute() / "params")
    return Trained(params, json.loads((folder / "history.json").read_text()))


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
    tfds.disable_progress_bar()
    # TFDS's file formats other than this one need TensorFlow, or lose examples
    # (parquet, in 4.9.10).
    builder = _builder(made)(data_dir=folder / "tfds", file_format="array_record")
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints a banner.
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    for file in Path(builder.data_path).iterdir():
        file.rename(folder / file.name)
    shutil.rmtree(folder / "tfds")


def _builder(made: Constructed) -> Any:
    """What makes a TFDS data set of it."""
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

    class Builder(
        tfds.core.GeneratorBasedBuilder,
        skip_registration=True,  # type: ignore[call-arg]
    ):
        """Images constructed to study robust and non-robust features."""

        name = "nrf_constructed"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                description=self.__doc__,
                features=features,
                supervised_keys=("image", "label"),
                disable_shuffling=True,
                metadata=tfds.core.MetadataDict(made.provenance),
            )

        def _split_generators(self, dl_manager):
            return {"train": _examples(made)}

        def _generate_examples(self):  # Abstract in the parent; _examples is ours.
            raise NotImplementedError

    return Builder


def _examples(made: Constructed) -> Iterator[tuple[int, dict[str, Any]]]:
    columns = made.labels, made.original_labels, made.indices
    rows = zip(np.asarray(made.images), *columns, strict=True)
    for number, (image, *integers) in enumerate(rows):
        values = (image, *map(int, integers))
        yield number, dict(zip(_FEATURES, values, strict=True))


def _load_constructed(folder: Path, files: Sequence[str]) -> Constructed:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto import tf_example_pb2

    builder = tfds.builder_from_directory(folder)
    source = builder.as_data_source(
        "train", deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    feature = builder.info.features["image"]
    count = len(source)
    images = np.empty((count, *feature.shape), feature.np_dtype)
    integers = np.empty((3, count), np.int64)
    for start in range(0, count, 1000):
        rows = range(start, min(start + 1000, count))
        for row, record in zip(rows, source.__getitems__(rows), strict=True):
            # As TFDS's own parser does, which takes several times as long.
            example = tf_example_pb2.Example.FromString(record).features.feature
            bits = example["image"].bytes_list.value[0]
            images[row] = np.frombuffer(bits, images.dtype).reshape(feature.shape)
            for column, name in zip(integers, _FEATURES[1:], strict=True):
                column[row] = example[name].int64_list.value[0]
    labels, original_labels = integers[:2].astype(np.int32)
    names = tuple(builder.info.features["label"].names)
    provenance = dict(builder.info.metadata or {})
    return Constructed(images, labels, original_labels, integers[2], names, provenance)


def _check_constructed(made: Constructed) -> None:
    images = made.images
    if images.ndim != 4 or images.dtype not in (np.float32, np.float16):
        raise ValueError(
            "constructed images must be [N, H, W, C] float32 or float16, got "
            f"{images.dtype} {tuple(images.shape)}; 8-bit images would lose what was "
            "constructed."
        )
    low, high = images.min(initial=0), images.max(initial=0)
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
