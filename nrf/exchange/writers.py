"""Constructed sets in the formats of others; `nrf.exchange.readers` has the way back.

    write_set("D_R", made, "parquet")

parquet    What Hugging Face's `datasets.load_dataset(folder)` reads.
npz        NumPy's arrays in one file.
png        PNG files in class folders, rounded to 8 bits.
madry      The tensors that the paper's authors released, for PyTorch.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nrf import folders, rows
from nrf.exchange import files
from nrf.runs import Constructed, store

_SHARD = 1 << 29  # Bytes of images in one Parquet file.
_BATCH = 500  # Images in one tensor of the released layout.
COLUMNS = {"labels": "label", "original_labels": "original_label", "indices": "index"}
TENSORS = ("CIFAR_ims", "CIFAR_lab")


def write_set(
    folder: Path | str,
    made: Constructed,
    format: str,
    card: Callable[[str], str] | None = None,
) -> Path:
    """Writes the set into a new folder, with a README.md.

    Args:
      folder: Which must not be there.
      made: The set.
      format: One of `FORMATS`.
      card: Makes the README.md of the sentences on the format.

    Raises:
      ValueError: there is no such format, a package for it is missing, the folder is
        there, or classes cannot be names of folders.
      OSError: it cannot be written.
    """
    folder = Path(folder)
    if format not in FORMATS:
        raise ValueError(f"format must be {', '.join(FORMATS)}; got {format!r}.")
    if folder.exists():
        raise ValueError(f"{folder} is there already; choose another folder.")
    store.check_writable(folder.parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with store.in_words(folder), folders.temporary(folder) as temporary:
        text = FORMATS[format](temporary, made)
        readme = card(text) if card else f"{text}\n"
        (temporary / "README.md").write_text(readme, encoding="utf-8")
        temporary.rename(folder)
    return folder


def _write_npz(folder: Path, made: Constructed) -> str:
    np.savez(
        folder / "data.npz",
        images=np.asarray(made.images),
        **{name: getattr(made, name) for name in COLUMNS},
        names=np.array(made.names),
        provenance=np.array(json.dumps(made.provenance)),
    )
    return (
        f"`data.npz` has `images` {_shape(made)}, `labels`, and of the images that "
        "they were made from `original_labels` and `indices`; `names` are the classes."
    )


def _shape(made: Constructed) -> str:
    sizes = ", ".join(map(str, made.images.shape))
    return f"[{sizes}] {made.images.dtype} in [0, 1]"


def _write_parquet(folder: Path, made: Constructed) -> str:
    import pyarrow.parquet

    (folder / "data").mkdir()
    schema = _schema(made)
    each = max(1, _SHARD // max(1, made.images[:1].nbytes))
    starts = range(0, len(made.labels), each)
    for number, start in enumerate(starts):
        name = f"train-{number:05}-of-{len(starts):05}.parquet"
        end = min(start + each, len(made.labels))
        file = folder / "data" / name
        # Few floats are there twice.
        with pyarrow.parquet.ParquetWriter(
            file, schema, use_dictionary=False
        ) as writer:
            at_once = rows.rows_at_once(made.images)
            for begin in range(start, end, at_once):
                chosen = slice(begin, min(begin + at_once, end))
                writer.write_table(_table(made, chosen, schema))
    height, width, channels = made.images.shape[1:]
    return (
        f"`datasets.load_dataset(folder)` gives `image`, an array [{height}, {width}, "
        f"{channels}] {made.images.dtype} in [0, 1], `label`, and of the image that it "
        "was made from `original_label` and `index`."
    )


def _schema(made: Constructed) -> Any:
    """Arrow's, with the types that `datasets` has for it, by the names it knows."""
    import pyarrow

    size, kind = list(made.images.shape[1:]), str(made.images.dtype)

    label = {"names": list(made.names), "_type": "ClassLabel"}
    features = {
        "image": {"shape": size, "dtype": kind, "_type": "Array3D"},
        "label": label,
        "original_label": label,
        "index": {"dtype": "int64", "_type": "Value"},
    }
    nested = pyarrow.from_numpy_dtype(made.images.dtype)
    for _ in range(3):
        nested = pyarrow.list_(nested)
    extension = {
        "ARROW:extension:name": "datasets.features.features.Array3DExtensionType",
        "ARROW:extension:metadata": json.dumps([size, kind]),
    }
    fields = [
        pyarrow.field("image", nested, metadata=extension),
        *(pyarrow.field(name, pyarrow.int64()) for name in COLUMNS.values()),
    ]
    said = {"info": {"features": features}}
    return pyarrow.schema(
        fields,
        metadata={
            "huggingface": json.dumps(said),
            "nrf": json.dumps(made.provenance),
        },
    )


def _table(made: Constructed, chosen: slice, schema: Any) -> Any:
    import pyarrow

    images = np.asarray(made.images[chosen])
    nested = pyarrow.array(images.reshape(-1))
    for size in images.shape[:0:-1]:
        ends = np.arange(0, len(nested) + 1, size, dtype=np.int32)
        nested = pyarrow.ListArray.from_arrays(ends, nested)
    columns = [
        pyarrow.array(np.asarray(getattr(made, name)[chosen], np.int64))
        for name in COLUMNS
    ]
    return pyarrow.Table.from_arrays([nested, *columns], schema=schema)


def _write_png(folder: Path, made: Constructed) -> str:
    import PIL.Image

    for name in made.names:
        if not name or name.startswith(".") or set(name) & set("/\\:\0"):
            raise ValueError(f"the class {name!r} cannot be the name of a folder.")
        (folder / "train" / name).mkdir(parents=True)
    largest, lengths = 0.0, np.zeros(len(made.labels))
    for row, (image, label) in enumerate(zip(made.images, made.labels, strict=True)):
        exact = np.asarray(image, np.float64)
        eight = np.round(255 * exact)
        lost = exact - eight / 255
        largest = max(largest, float(np.abs(lost).max()))
        lengths[row] = np.sqrt((lost**2).sum())
        pixels = eight.astype(np.uint8)
        grey = pixels.shape[-1] == 1
        picture = PIL.Image.fromarray(pixels[..., 0] if grey else pixels)
        picture.save(folder / "train" / made.names[label] / f"{row:06}.png")
    return (
        "The images were rounded to 8 bits, which loses what is finer than a grey "
        f"level: pixels are off by {largest:.5f} at most, and images by "
        f"{lengths.mean():.4f} in ℓ2 on average ({lengths.max():.4f} at most; pixels "
        f"are in [0, 1]). The other formats lose nothing. `train/CLASS/` has an image "
        "for every row of the set, by its number."
    )


def _write_tensors(folder: Path, made: Constructed) -> str:
    try:
        import torch
    except ImportError as error:
        raise files.needs("torch") from error
    starts = range(0, len(made.labels), _BATCH)
    images = [
        torch.from_numpy(
            np.asarray(made.images[start : start + _BATCH], np.float32)
            .transpose(0, 3, 1, 2)
            .copy()
        )
        for start in starts
    ]
    labels = torch.from_numpy(np.asarray(made.labels, np.int64))
    torch.save(images, folder / TENSORS[0])
    torch.save(
        [labels[start : start + _BATCH] for start in starts], folder / TENSORS[1]
    )
    return (
        "The layout of the sets that the paper's authors released: "
        "`torch.cat(torch.load('CIFAR_ims'))` are the images [N, C, H, W] float32 in "
        "[0, 1], and `torch.cat(torch.load('CIFAR_lab'))` their labels."
    )


FORMATS: dict[str, Callable[[Path, Constructed], str]] = {
    "parquet": _write_parquet,
    "npz": _write_npz,
    "png": _write_png,
    "madry": _write_tensors,
}
