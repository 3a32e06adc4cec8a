"""Weights under the names of other libraries, drawn from the names alone."""

import json
import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "peers.json"
# Of the pixels, by the names of the layouts, as those libraries write them.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def drawn(shapes):
    """Arrays of these shapes: the same for the same name, wherever it stands."""
    arrays = {}
    for name, shape in shapes.items():
        # Copies of a network have the same weights.
        same = name.replace("attacker.normalize", "normalizer").replace("attacker.", "")
        random = np.random.RandomState(zlib.crc32(same.encode()))
        if name.endswith(("new_mean", "mu")) or name == "mean":
            value = np.reshape(MEAN, shape)
        elif name.endswith(("new_std", "sigma")) or name == "std":
            value = np.reshape(STD, shape)
        elif name.endswith("num_batches_tracked"):
            value = np.int64(100)
        elif len(shape) > 1:
            # Smaller than He's, for logits as large as those of trained networks.
            value = random.normal(size=shape) * np.sqrt(1 / np.prod(shape[1:]))
        elif name.endswith(("running_mean", "bias")):
            value = 0.3 * random.normal(size=shape)
        else:
            value = random.uniform(0.5, 1.5, size=shape)
        integer = np.ndim(value) == 0
        arrays[name] = np.asarray(value, np.int64 if integer else np.float32)
    return arrays


def images(count=3):
    """[count, 32, 32, 3] in [0, 1], each darker than the one before."""
    random = np.random.RandomState(0)
    x = random.uniform(size=(count, 32, 32, 3)).astype(np.float32)
    return x ** np.arange(1, 3 * count, 3, dtype=np.float32).reshape(-1, 1, 1, 1)


def recorded():
    """For each network its layout, the shapes of its entries, and PyTorch's logits."""
    return json.loads(FILE.read_text())
