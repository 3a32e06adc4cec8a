"""CIFAR-10 prepared for TensorFlow Datasets without TensorFlow.

TFDS's own `cifar10` needs TensorFlow to unpack its archive and to encode the images.
What is written here has the same name, version, features, records and order, and is
read by `nrf.data.load("cifar10")` or by `tfds.data_source("cifar10")` anywhere.
"""

import contextlib
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nrf.data.tfds import folder_of

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
SIZE = 170_052_171
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
NAMES = tuple(
    "airplane automobile bird cat deer dog frog horse ship truck".split()
)  # In the order of the labels.
VERSION = "3.0.2"
_TIMEOUT = 10  # Seconds without an answer until there is no network.


def prepare(
    data_dir: str | os.PathLike | None = None, archive: str | os.PathLike | None = None
) -> Path:
    """Writes CIFAR-10 below `data_dir` and returns its folder; what is there is kept.

    None is TFDS's own folder, $TFDS_DATA_DIR or ~/tensorflow_datasets. `archive` is a
    copy of cifar-10-binary.tar.gz; None downloads it (170 MB, deleted afterwards). The
    folder appears when it is complete, so a preparation may be interrupted.

    Raises ValueError for an archive that is another file, ConnectionError without
    network, OSError for a folder that can not be written.
    """
    if archive is not None:
        check_archive(archive)
    root = folder_of(data_dir)
    folder = root / "cifar10" / VERSION
    if (folder / "dataset_info.json").exists():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".nrf-cifar10-", dir=root) as temporary:
        if archive is None:
            archive = Path(temporary, "cifar-10-binary.tar.gz")
            download(archive)
        _write(root, Path(archive), temporary)
    return folder


def check_archive(path: str | os.PathLike) -> None:
    """Raises ValueError unless the file is cifar-10-binary.tar.gz, byte for byte."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}; the archive is at {URL}")
    if path.stat().st_size != SIZE:
        raise ValueError(
            f"{path} has {path.stat().st_size:,} bytes and cifar-10-binary.tar.gz "
            f"{SIZE:,}; is it the Python version, or not the whole file? It is at {URL}"
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(
            f"{path} is damaged or another file: its SHA-256 is {found}, that of "
            f"cifar-10-binary.tar.gz {SHA256}. It is at {URL}"
        )


def download(path: Path) -> None:
    """Fetches the archive to `path`; raises ConnectionError at once without network."""
    try:
        with urllib.request.urlopen(URL, timeout=_TIMEOUT) as answer:
            with path.open("wb") as file:
                shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise ConnectionError(
            f"{URL} can not be fetched ({getattr(error, 'reason', error)}). Fetch it "
            "where there is a network, and give the file with --archive."
        ) from error
    check_archive(path)


def _write(root: Path, archive: Path, temporary: str) -> None:
    import PIL.Image
    import tensorflow_datasets as tfds

    def examples(prefix: str, files: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        key = 0
        with tarfile.open(archive) as opened:
            for file in files:
                member = opened.extractfile(f"cifar-10-batches-bin/{file}")
                assert member is not None  # For mypy: SHA-256 tells what is inside.
                records = np.frombuffer(member.read(), np.uint8).reshape(-1, 3073)
                for record in records:
                    pixels = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
                    png = io.BytesIO()
                    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(png, "png")
                    yield (
                        key,
                        {
                            "id": f"{prefix}_{key:05d}",
                            "image": png.getvalue(),
                            "label": int(record[0]),
                        },
                    )
                    key += 1

    class Cifar10(
        tfds.core.GeneratorBasedBuilder,
        skip_registration=True,  # type: ignore[call-arg]
    ):
        """CIFAR-10: 60,000 32 x 32 colour images of 10 classes."""

        name = "cifar10"
        VERSION = tfds.core.Version(VERSION)

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                description=self.__doc__,
                features=tfds.features.FeaturesDict(
                    {
                        "id": tfds.features.Text(),
                        "image": tfds.features.Image(shape=(32, 32, 3)),
                        "label": tfds.features.ClassLabel(names=NAMES),
                    }
                ),
                supervised_keys=("image", "label"),
                homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            )

        def _split_generators(self, dl_manager):
            batches = [f"data_batch_{number}.bin" for number in range(1, 6)]
            return {
                "train": examples("train", batches),
                "test": examples("test", ["test_batch.bin"]),
            }

        def _generate_examples(self):  # Abstract in the parent; examples() is ours.
            raise NotImplementedError

    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints a banner.
        Cifar10(data_dir=root, file_format="array_record").download_and_prepare(
            download_dir=temporary,  # It stays empty; TFDS makes one all the same.
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )
