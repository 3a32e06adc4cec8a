"""Prepares CIFAR-10 for TensorFlow Datasets, without TensorFlow, and prints its folder.

python scripts/prepare_cifar10.py
python scripts/prepare_cifar10.py --archive ~/Downloads/cifar-10-binary.tar.gz
"""

import sys
from pathlib import Path

import tyro

from nrf.data import cifar10


def main(data_dir: Path | None = None, archive: Path | None = None) -> None:
    """Prepares CIFAR-10, about 170 MB, in a minute.

    Args:
        data_dir: Where data sets are kept; $TFDS_DATA_DIR or ~/tensorflow_datasets.
        archive: Your copy of cifar-10-binary.tar.gz, where there is no network.
    """
    try:
        print(cifar10.prepare(data_dir, archive))
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    tyro.cli(main)
