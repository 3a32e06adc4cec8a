"""What it costs to keep the results inside a step: checkpoints, and parts of maps.

    python benchmarks/keeping.py

A training as the photographs' robust one, with a checkpoint every second and with none;
and matching of 8,000 images of CIFAR-10's size in five steps, by a network so small
that they come about as fast as a disk takes them, with finished ones written every
second and with none. Medians of interleaved rounds, after one to compile. Writes
keeping.json beside this file.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nrf import attacks, data, devices, models, synthesize
from nrf.config import Work, options
from nrf.experiments.networks import fit
from nrf.runs import Steps, local, provenance
from nrf.runs.shards import Shards
from nrf.runs.steps import given
from nrf.types import Dataset

NEVER = 1000.0  # Minutes.
SECOND = 1 / 60


def training(epochs: int) -> Callable[[float], None]:
    config = options.load("photos")
    train, test = data.load("photos", test_examples=500)
    D, tested = given("D", train), given("test", test)
    settings = replace(config.networks["robust"], epochs=epochs)

    def once(minutes: float) -> None:
        with tempfile.TemporaryDirectory() as folder:
            work = Work(evaluation_batch=200, checkpoint_minutes=minutes)
            step = Steps(Path(folder), 0, local(work))
            step("robust", fit, D, tested, network=config.network, training=settings)

    return once


def matching(count: int) -> Callable[[float], None]:
    shape = count, 32, 32, 3
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    D = Dataset(images, np.arange(count) % 10, tuple("abcdefghij"))
    net = models.Small((0.5,) * 3, (0.25,) * 3, widths=(8, 16, 10)).build(10)
    params = net.init(jax.random.key(0), images[:1])
    match = synthesize.make_robustify(
        net.apply, lambda loss: attacks.pgd(loss, attacks.free(), steps=5, step_size=1)
    )

    def once(minutes: float) -> None:
        with tempfile.TemporaryDirectory() as folder:
            kept = Shards(Path(folder), minutes) if minutes < NEVER else None
            synthesize.robustify(jax.random.key(1), match, params, D, shards=kept)

    return once


def compared(once: Callable[[float], None], kept: float, rounds: int) -> dict[str, Any]:
    """Seconds with results kept every so many minutes and never, and their ratio."""
    seconds: dict[float, list[float]] = {NEVER: [], kept: []}
    once(NEVER)
    for number in range(rounds):
        for minutes in (NEVER, kept) if number % 2 else (kept, NEVER):
            start = time.perf_counter()
            once(minutes)
            seconds[minutes].append(time.perf_counter() - start)
    medians = {minutes: statistics.median(taken) for minutes, taken in seconds.items()}
    return {
        "kept": round(medians[kept], 2),
        "not_kept": round(medians[NEVER], 2),
        "ratio": round(medians[kept] / medians[NEVER], 3),
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    devices.cache_programs()
    results = {
        **provenance.origin(),
        "training": compared(training(asked.epochs), SECOND, asked.rounds),
        "matching": compared(matching(asked.images), SECOND, asked.rounds),
    }
    file = Path(__file__).with_suffix(".json")
    file.write_text(json.dumps(results, indent=1) + "\n")
    print(file.read_text())


if __name__ == "__main__":
    main()
