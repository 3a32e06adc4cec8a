"""Sets of images that others made, or that this package wrote for others.

made = read_set("release_datasets/d_robust_CIFAR")
"""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nrf.exchange import files
from nrf.exchange.writers import COLUMNS, TENSORS
from nrf.runs import Constructed, Env
from nrf.types import Dataset, Key

_BAD_FILES = (zipfile.BadZipFile, zlib.error)


def read_set(path: Path | str, names: Sequence[str] | None = None) -> Constructed:
    """A set in one of the `FORMATS`, whoever wrote it.

    What a file does not say is told as unknown: indices are −1, and original labels are
    the labels. Folders of PNG files are data sets of their own: see `nrf.data.folder`.

    Args:
      path: A folder that `write_set` wrote; a folder of Parquet files, or of the
        tensors `CIFAR_ims` and `CIFAR_lab` as released; or an .npz file.
      names: Of the classes, in their order; the file's, or numbers, by default.

    Raises:
      ValueError: there is none, it is damaged, or it has other classes.
    """
    path = Path(path)
    npz = path / "data.npz" if path.is_dir() else path
    parquet = sorted(path.glob("**/*.parquet"))
    if parquet:
        arrays = _read_parquet(parquet)
    elif npz.suffix == ".npz" and npz.is_file():
        arrays = _read_npz(npz)
    elif all((path / name).is_file() for name in TENSORS):
        arrays = _read_tensors(path)
    else:
        raise ValueError(
            f"{path} holds no set: neither Parquet files, nor data.npz, nor "
            f"{' and '.join(TENSORS)}."
        )
    return _constructed(path, arrays, names)


def _read_npz(file: Path) -> dict[str, Any]:
    try:
        with np.load(file, allow_pickle=False) as opened:
            arrays = dict(opened)
    except (*_BAD_FILES, OSError, ValueError, EOFError) as error:
        raise ValueError(f"{file} is no whole .npz file: {error}.") from error
    if "provenance" in arrays:
        arrays["provenance"] = json.loads(str(arrays["provenance"]))
    return arrays


def _read_parquet(paths: Sequence[Path]) -> dict[str, Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.concat_tables(map(pyarrow.parquet.read_table, paths))
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ValueError(f"{paths[0].parent} cannot be read: {error}") from error
    said = {
        k.decode(): json.loads(v)
        for k, v in (table.schema.metadata or {}).items()
        if k in (b"huggingface", b"nrf")
    }
    features = said.get("huggingface", {}).get("info", {}).get("features", {})
    if not {"image", "label"} <= set(table.column_names) or "shape" not in features.get(
        "image", {}
    ):
        raise ValueError(
            f"{paths[0].parent} has columns {', '.join(table.column_names)}; needed "
            "are 'image', an Array3D of Hugging Face's datasets, and 'label'."
        )
    flat = table["image"].combine_chunks()
    # Where `datasets` is imported, its type is known.
    flat = getattr(flat, "storage", flat)
    while hasattr(flat, "flatten") and pyarrow.types.is_list(flat.type):
        flat = flat.flatten()
    arrays = {
        name: table[column].to_numpy()
        for name, column in COLUMNS.items()
        if column in table.column_names
    }
    return {
        **arrays,
        "images": flat.to_numpy().reshape(-1, *features["image"]["shape"]),
        "names": features["label"].get("names"),
        "provenance": said.get("nrf", {}),
    }


def _read_tensors(folder: Path) -> dict[str, Any]:
    images, labels = (_joined(folder / name) for name in TENSORS)
    if images.ndim != 4:
        raise ValueError(f"{folder / TENSORS[0]} has images {images.shape}, not NCHW.")
    return {"images": images.transpose(0, 2, 3, 1), "labels": labels}


def _joined(file: Path) -> np.ndarray:
    """One array: released sets are lists of the batches that they were made in."""
    found = files.load_tensors(file)
    parts = found if isinstance(found, list | tuple) else [found]
    return np.concatenate([files.array(part) for part in parts])


def _constructed(
    path: Path, arrays: Mapping[str, Any], names: Sequence[str] | None
) -> Constructed:
    if not {"images", "labels"} <= arrays.keys():
        raise ValueError(
            f"{path} needs images and labels, and has {', '.join(arrays)}."
        )
    images = np.asarray(arrays["images"])
    if images.dtype not in (np.float16, np.float32):
        raise ValueError(
            f"{path} has images of {images.dtype}; sets are float16 or float32 in "
            "[0, 1]: divide 8 bits by 255."
        )
    labels = np.asarray(arrays["labels"], np.int32)
    own = arrays.get("names")
    said = None if own is None else tuple(map(str, own))
    if names is not None and said is not None and tuple(names) != said:
        raise ValueError(f"{path} has classes {said}, and not {tuple(names)}.")
    counted = tuple(map(str, range(int(labels.max()) + 1)))
    return Constructed(
        np.ascontiguousarray(images),
        labels,
        np.asarray(arrays.get("original_labels", labels), np.int32),
        np.asarray(arrays.get("indices", np.full(len(labels), -1)), np.int64),
        tuple(names or said or counted),
        dict(arrays.get("provenance") or {}),
    )


@dataclass(frozen=True)
class Released:
    """Images that others made, read as `read_set` does, with their labels."""

    path: str  # Of the file or the folder.

    def __call__(self, key: Key, dataset: Dataset, *, env: Env) -> Constructed:
        """A recipe for `nrf.config.Set`: the set has the classes of `dataset`."""
        made = read_set(self.path, dataset.names)
        if made.images.shape[1:] != dataset.images.shape[1:]:
            raise ValueError(
                f"{self.path} has images {made.images.shape[1:]}, and the experiment's "
                f"are {dataset.images.shape[1:]}."
            )
        return made._replace(provenance={"read_from": self.path})
