"""Prepares CIFAR-10 for TensorFlow Datasets, without TensorFlow, and prints its folder.

python scripts/prepare_cifar10.py
python scripts/prepare_cifar10.py --archive ~/Downloads/cifar-10-binary.tar.gz
"""

import sys

from nrf.__main__ import main

if __name__ == "__main__":
    sys.exit(
        main(["prepare-cifar10", *sys.argv[1:]], script="scripts/prepare_cifar10.py")
    )
