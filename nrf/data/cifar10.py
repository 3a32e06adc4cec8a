"""CIFAR-10 prepared for TensorFlow Datasets without TensorFlow.

TFDS's own `cifar10` needs TensorFlow to unpack its archive and to encode the images.
What is written here has the same name, version, features, records and order, and is
read by `nrf.data.load("cifar10")` or by `tfds.data_source("cifar10")` anywhere.
"""

import contextlib
import hashlib
import io
import os
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from nrf import folders
from nrf.data.tfds import folder_of

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
SIZE = 170_052_171
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
NAMES = tuple(
    "airplane automobile bird cat deer dog frog horse ship truck".split()
)  # In the order of the labels.
VERSION = "3.0.2"
PART = 1 << 20  # Bytes read at a time.
_TIMEOUT = 10  # Seconds without an answer until there is no network.


def prepare(
    data_dir: str | os.PathLike | None = None, archive: str | os.PathLike | None = None
) -> Path:
    """Writes CIFAR-10 below `data_dir` and returns its folder; what is there is kept.

    None is TFDS's own folder, $TFDS_DATA_DIR or ~/tensorflow_datasets. `archive` is a
    copy of cifar-10-binary.tar.gz; None downloads it (170 MB, deleted afterwards). The
    folder appears when it is complete, so a preparation may be interrupted; what an
    interrupted one left is removed by the next.

    Raises:
      ValueError: for an archive that is another file, or a `data_dir` that is a file or
        holds something else under CIFAR-10's name.
      ConnectionError: without network.
      OSError: for a folder that cannot be written.
    """
    if archive is not None:
        check_archive(archive)
    root = folder_of(data_dir)
    folder = root / "cifar10" / VERSION
    if (folder / "dataset_info.json").exists():
        return folder
    _make_folder(root)
    if folder.exists():
        raise ValueError(
            f"{folder} is there and is not CIFAR-10 as TFDS writes it: it has no "
            "dataset_info.json. Move it away."
        )
    # Everything lies in one temporary folder.
    with folders.temporary(root / "cifar10") as temporary:
        if archive is None:
            archive = temporary / "cifar-10-binary.tar.gz"
            download(archive)
        _write(temporary, Path(archive))
        folder.parent.mkdir(exist_ok=True)
        try:
            (temporary / "cifar10" / VERSION).rename(folder)
        except OSError:  # Another process was faster.
            if not (folder / "dataset_info.json").exists():
                raise
    return folder


def _make_folder(path: Path) -> None:
    for part in (path, *path.parents):
        if part.exists() and not part.is_dir():
            raise ValueError(
                f"data sets cannot be kept in {path}: {part} is a file, not a folder."
            )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"data sets cannot be kept in {path}: {error.strerror}."
        ) from error


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
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise ValueError(
            f"{path} is damaged or another file: its SHA-256 is {digest}, that of "
            f"cifar-10-binary.tar.gz {SHA256}. It is at {URL}"
        )


def download(path: Path) -> None:
    """Fetches the archive to `path`; raises ConnectionError at once without network."""
    try:
        with urllib.request.urlopen(URL, timeout=_TIMEOUT) as answer:
            _save(answer, path)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise ConnectionError(
            f"{URL} cannot be fetched ({getattr(error, 'reason', error)}). Fetch it "
            "where there is a network, and give the file with --archive."
        ) from error
    check_archive(path)


def _save(answer: IO[bytes], path: Path) -> None:
    """Writes what is read; raises ValueError once it is more than the archive."""
    size = 0
    with path.open("wb") as file:
        while part := answer.read(PART):
            size += len(part)
            if size > SIZE:
                raise ValueError(
                    f"{URL} answers with more than the {SIZE:,} bytes of "
                    "cifar-10-binary.tar.gz, so it is another file. Fetch the archive "
                    "elsewhere, and give the file with --archive."
                )
            file.write(part)


def _examples(
    archive: Path, prefix: str, files: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The examples of these files of the archive, numbered, as TFDS takes them."""
    import PIL.Image

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


def _write(root: Path, archive: Path) -> None:
    """Writes the data set into the folder root/cifar10/VERSION."""
    import tensorflow_datasets as tfds

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
                "train": self._generate_examples(archive, "train", batches),
                "test": self._generate_examples(archive, "test", ["test_batch.bin"]),
            }

        _generate_examples = staticmethod(_examples)

    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints a banner.
        Cifar10(data_dir=root, file_format="array_record").download_and_prepare(
            download_dir=root / "downloads",  # Stays empty; TFDS makes it anyway.
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )
