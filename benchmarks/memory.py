"""The memory that a run needs for 2,000, 8,000 and 32,000 images of CIFAR-10's size.

    python benchmarks/memory.py

The images are made, and lie as 8 bits in a file. Each measurement is the largest
resident size of a process of its own: of one that only makes D_R, and of one that does
all of a small run: two networks on D, D_R and D_rand, a network on each, and accuracies
with their evidence. Nothing may stay on a device. The networks are narrow and taught
for an epoch, because what they learn needs no memory. Writes memory.json beside this
file.
"""

import argparse
import json
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import jax
import numpy as np

from nrf.config import PGD, Evaluation, Experiment, Set, Training, Work
from nrf.data import Dataset, Pixels, Stored
from nrf.experiments import Match, Mislabel, main
from nrf.experiments.recipes import construct
from nrf.models import Small
from nrf.runs import Made, Steps, local, manifest
from nrf.runs.steps import given
from nrf.types import Network

COUNTS = (2_000, 8_000, 32_000)
TESTED = 200
NAMES = tuple("abcdefghij")
SHAPE = (32, 32, 3)
TRAINING = Training(epochs=1, batch_size=100, learning_rate=0.02)
MATCH = Match(steps=2, step_size=0.1)
config = Experiment(
    name="memory",
    data="digits",  # Not used: the images are given.
    network=Small((0.5,) * 3, (0.25,) * 3, widths=(4, 8)),
    networks={
        "standard": TRAINING,
        "robust": replace(TRAINING, attack=PGD("l2", 0.5, steps=1, step_size=0.5)),
    },
    sets=(
        Set("D_R", MATCH, "robust", TRAINING),
        Set(
            "D_rand",
            Mislabel(PGD("l2", 0.5, steps=2, step_size=0.2), "random"),
            "standard",
            TRAINING,
        ),
    ),
    evaluation=Evaluation("l2", (0.5,), steps=2, queries=2),
    storage="float16",
    work=Work(synthesis_batch=200, evaluation_batch=100, resident=0),
)


def write(path: pathlib.Path, count: int) -> np.ndarray:
    """A file of so many images, noise around the colour of their class; its labels."""
    draw = np.random.default_rng(0)
    labels = (np.arange(count) % len(NAMES)).astype(np.int32)
    colours = draw.integers(64, 192, (len(NAMES), 1, 1, 3))
    with path.open("wb") as file:
        for start in range(0, count, 1000):
            of = labels[start : start + 1000]
            noise = draw.integers(-64, 64, (len(of), *SHAPE))
            file.write((colours[of] + noise).astype(np.uint8).tobytes())
    return labels


def stored(path: pathlib.Path, count: int) -> Dataset:
    images = Pixels(Stored(path, (count, *SHAPE), np.uint8))
    return Dataset(images, write(path, count), NAMES)


def synthesis(folder: pathlib.Path, train: Dataset, test: Dataset) -> None:
    """D_R alone, of a network that has learned nothing."""
    net = config.network.build(len(NAMES))
    params = net.init(jax.random.key(0), test.images[:1])
    source = Made("network", Network(net, params), manifest.content(params))
    step = Steps(folder / "seed0", 0, local(config.work))
    settings = {"recipe": MATCH, "storage": config.storage}
    step("D_R", construct, given("D", train), source, **settings)


def whole(folder: pathlib.Path, train: Dataset, test: Dataset) -> None:
    """Every step of `config`."""
    main.run(config, folder / "run", data=(train, test))


def child(what: str, count: int) -> None:
    """Prints the seconds and the largest resident size, in MB, of this process."""
    with tempfile.TemporaryDirectory() as name:
        folder, start = pathlib.Path(name), time.time()
        train, test = stored(folder / "D", count), stored(folder / "test", TESTED)
        {"synthesis": synthesis, "whole": whole}[what](folder, train, test)
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"megabytes": largest, "seconds": time.time() - start}))


def measure(what: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", what, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def report() -> None:
    found = {}
    for what in ("synthesis", "whole"):
        found[what] = {str(count): measure(what, count) for count in COUNTS}
        sizes = [one["megabytes"] for one in found[what].values()]
        growth = max(sizes) / min(sizes) - 1
        print(what, [round(size) for size in sizes], f"MB, +{100 * growth:.1f} %")
        found[what]["growth"] = growth
    device = f"{jax.devices()[0].device_kind} ({platform.machine()})"
    said = {"jax": jax.__version__, "device": device, "images": COUNTS, **found}
    file = pathlib.Path(__file__).with_suffix(".json")
    file.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    asked = parse()
    if asked.child:
        child(asked.child[0], int(asked.child[1]))
    else:
        report()
