"""CIFAR-10 as one file that travels to a machine without TFDS and without network.

    python benchmarks/packed.py ~/tensorflow_datasets cifar10.npz
    python benchmarks/packed.py ~/tensorflow_datasets half.npz --train 25000

The images are the PNG or JPEG files that TFDS has, one behind the other; `load` takes
them apart. Prints the size.
"""

import argparse
import io
import pathlib
from typing import Any

import numpy as np
import PIL.Image

from nrf.data import Pixels, cifar10


def pack(data_dir: pathlib.Path, path: pathlib.Path, train: int | None) -> None:
    """Writes the files of CIFAR-10's images, one behind the other, and their labels."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto import tf_example_pb2

    from nrf.data import records

    builder = tfds.builder_from_directory(str(data_dir / "cifar10" / cifar10.VERSION))
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", train), ("test", None)):
        info = builder.info.splits[split]
        kind = builder.info.file_format.value
        images, labels = [], []
        for record in records.read(info, kind, count or info.num_examples, split):
            parts = tf_example_pb2.Example.FromString(record).features.feature
            images.append(parts["image"].bytes_list.value[0])
            labels.append(parts["label"].int64_list.value[0])
        arrays |= {
            f"{split}_files": np.frombuffer(b"".join(images), np.uint8),
            f"{split}_ends": np.cumsum([len(image) for image in images]),
            f"{split}_labels": np.asarray(labels, np.int32),
        }
    np.savez(path, **arrays)


def load(path: pathlib.Path) -> Any:
    """(train, test) of a file of `pack`, as `nrf.data.load` takes them."""
    with np.load(path) as arrays:
        return tuple(
            (
                Pixels(decoded(arrays[f"{split}_files"], arrays[f"{split}_ends"])),
                arrays[f"{split}_labels"],
                cifar10.NAMES,
            )
            for split in ("train", "test")
        )


def decoded(joined: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """[N, H, W, C] the images of files that lie one behind the other."""
    images = []
    for one in np.split(joined, ends[:-1]):
        with PIL.Image.open(io.BytesIO(one.tobytes())) as opened:
            images.append(np.asarray(opened.convert("RGB")))
    return np.stack(images)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=pathlib.Path, help="TFDS's folder")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--train", type=int, help="training images; all by default")
    asked = parser.parse_args()
    pack(asked.data_dir, asked.out, asked.train)
    print(f"{asked.out}: {asked.out.stat().st_size / 2**20:.1f} MiB")
