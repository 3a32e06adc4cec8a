"""What a GPU makes of CIFAR-10's configs: seconds, shares of its peak, accuracies.

    python benchmarks/packed.py ~/tensorflow_datasets cifar10.npz
    python benchmarks/gpu.py --data cifar10.npz --out results

The first line is for the machine where the data are. The second makes all pieces, or
those that it names, in this order:

    steps         every program of `cifar10_fast` and `cifar10_minute` on a few batches:
                  once cold, for the seconds of compilation, once warm, and once with a
                  trace of the profiler for adversarial training and for D_R
    minute, fast  these configs whole, with one seed
    autoattack    AutoAttack of the networks on D and on D_R of `fast`, 1,000 images

A piece writes a JSON file of its name into --out. What was trained and made lies in
--keep, as pickles, so that neither TFDS nor Orbax has to be there, and a piece that was
stopped goes on behind its last finished step. Each is meant to take less than eight
minutes on one H100. Operations are those that `nrf run --plan` counts, and shares are
of the peak in bfloat16. --smoke does all in small, on anything, with random images.
"""

import argparse
import contextlib
import json
import pathlib
import pickle
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jax
import numpy as np
import packed

from nrf import devices
from nrf.config import AutoAttack, Experiment, Work, files
from nrf.config.accelerators import ACCELERATORS
from nrf.data import Pixels, cifar10
from nrf.evaluate import Evidence
from nrf.experiments import autoattack, main
from nrf.experiments.plan import Passes
from nrf.experiments.prepare import at_precision, prepare
from nrf.models import MLP
from nrf.runs import Made, Steps, key_for, local
from nrf.runs.plan import Plan
from nrf.runs.provenance import origin
from nrf.runs.steps import as_input

PIECES = ("steps", "minute", "fast", "autoattack")
TRACED = ("robust", "D_R")


def parse(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pieces", nargs="*", help=", ".join(PIECES))
    parser.add_argument("--data", type=pathlib.Path, help="what packed.py wrote")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"))
    parser.add_argument("--keep", type=pathlib.Path, help="--out/kept by default")
    parser.add_argument("--smoke", action="store_true")
    asked = parser.parse_args(args)
    if unknown := set(asked.pieces) - set(PIECES):
        parser.error(f"there are {', '.join(PIECES)}; got {', '.join(unknown)}.")
    if not asked.data and not asked.smoke:
        parser.error("--data is needed: the file that packed.py writes.")
    asked.keep = asked.keep or asked.out / "kept"
    asked.pieces = asked.pieces or PIECES
    return asked


def random_images() -> Any:
    """(train, test) of 60 and 20 small images."""
    draw = np.random.default_rng(0)
    return tuple(
        (
            Pixels(draw.integers(0, 256, (count, 8, 8, 3), np.uint8)),
            np.arange(count, dtype=np.int32) % 10,
            cifar10.NAMES,
        )
        for count in (60, 20)
    )


class Kept(Steps):
    """Steps that time themselves, and whose values are pickles."""

    def __init__(self, folder: pathlib.Path, work: Work, trace: pathlib.Path | None):
        super().__init__(folder, 0, local(work))
        self.trace, self.times = trace, {}
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, name, f, *inputs, draws=None, **settings):
        path = self.folder / f"{name}.pickle"
        if not path.exists():
            key = key_for(self.seed, draws or name)
            names = tuple(one.name for one in inputs)
            env = self.env._replace(step=f"seed0/{name}", inputs=names)
            values = [as_input(one.value) for one in inputs]
            before, start = sum(COMPILED), time.perf_counter()
            with traced(self.trace if name in TRACED else None, name):
                value = f(key, *values, env=env, **settings)
            seconds, compiling = time.perf_counter() - start, sum(COMPILED) - before
            print(f"{name:32} {seconds:7.1f} s, compiling {compiling:.1f}", flush=True)
            part = path.with_suffix(".part")
            part.write_bytes(pickle.dumps((value, (seconds, compiling))))
            part.rename(path)
        value, self.times[name] = pickle.loads(path.read_bytes())
        self.made[name] = Made(name, value, name)
        return self.made[name]


COMPILED: list[float] = []  # Seconds of each compilation.


def heard(event: str, seconds: float, **_: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILED.append(seconds)


@contextlib.contextmanager
def traced(folder: pathlib.Path | None, name: str) -> Iterator[None]:
    """A trace of what is done within, as one file in the folder; None for none."""
    if folder is None:
        yield
        return
    with tempfile.TemporaryDirectory() as temporary:
        with jax.profiler.trace(temporary):
            yield
        folder.mkdir(exist_ok=True)
        for file in pathlib.Path(temporary).rglob("*.trace.json.gz"):
            shutil.move(file, folder / f"{name}.trace.json.gz")


def card() -> dict[str, Any]:
    """The accelerator, its driver, and its name among `ACCELERATORS`, if it has one."""
    kind = jax.devices()[0].device_kind
    known = [name for name in ACCELERATORS if name in kind.lower()]
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        told = ""
    return {"kind": kind, "driver": told.strip(), "name": known[0] if known else None}


def measured(config: Experiment, step: Kept, sets: Mapping[str, Made]) -> list[dict]:
    """What every step took; operations are at most so many where attacks stop early."""
    name = card()["name"]
    passes = Passes(sets["D"].value, name or "h100")
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(pathlib.Path(folder) / "seed0", 0, step.env, passes)
        at_precision(main.one_seed)(config, plan, sets, {})
    rows = []
    for one in plan.planned:
        seconds, compiling = step.times[one.step.removeprefix("seed0/")]
        rate = (one.operations or 0.0) / (seconds - compiling)
        rows.append(
            {
                "step": one.step,
                "seconds": seconds,
                "compiling": compiling,
                "operations": one.operations,
                "per_second": rate,
                "share": rate / ACCELERATORS[name].operations["bfloat16"]
                if name
                else None,
            }
        )
    return rows


def whole(
    config: Experiment, data: Any, keep: pathlib.Path, trace: pathlib.Path | None = None
) -> dict[str, Any]:
    """The config's run with one seed, and what its steps took."""
    keep.mkdir(parents=True, exist_ok=True)
    sets = prepare(config, keep, data)
    step = Kept(keep / "seed0", config.work, trace)
    start = time.perf_counter()
    parts = at_precision(main.one_seed)(config, step, sets, {})
    seconds = time.perf_counter() - start
    rows = [
        {
            "network": row["network"],
            "epsilon": row["epsilon"],
            "accuracy": row["correct"] / row["total"],
            "verdict": Evidence.from_dict(row["evidence"]).verdict
            if "evidence" in row
            else None,
        }
        for row in parts["rows"]
    ]
    for row in rows:
        print(f"{row['network']:12} {row['epsilon']:5} {100 * row['accuracy']:5.1f} %")
    steps = measured(config, step, sets)
    return {"config": config.name, "seconds": seconds, "rows": rows, "steps": steps}


def strongest(config: Experiment, data: Any, keep: pathlib.Path) -> dict[str, Any]:
    """AutoAttack's counts, on the networks of the first set's source and the set."""
    sets = prepare(config, keep, data)
    step, made = Kept(keep / "seed0", config.work, None), dict(sets)

    def attacked() -> list[dict]:
        main.train_on_D(config, step, made, config.networks, {})
        main.make_sets(config, step, made, config.sets)
        names = ["standard", f"on_{config.sets[0].name}"]
        return autoattack.run(config, step, made, names)

    rows = at_precision(lambda _: attacked())(config)
    for row in rows:
        print(row["network"], row["total"], row["withstood"])
    return {"config": config.name, "rows": rows, "seconds": step.times}


def few(config: Experiment) -> Experiment:
    """The config on a few batches of everything, with an epoch of each training."""
    return replace(
        config,
        train_examples=2 * config.work.synthesis_batch,
        test_examples=config.work.evaluation_batch,
        networks={k: replace(one, epochs=1) for k, one in config.networks.items()},
        sets=tuple(
            replace(one, train=one.train and replace(one.train, epochs=1))
            for one in config.sets
        ),
    )


def small(config: Experiment) -> Experiment:
    """The same steps for `random_images`, in which next to nothing is done."""
    config = few(replace(config, work=Work(synthesis_batch=30, evaluation_batch=20)))

    def less(training: Any) -> Any:
        return replace(training, batch_size=20, pad=0, flip=False)

    return replace(
        config,
        network=MLP((0.5,), (0.25,), widths=(4,)),
        networks={k: less(one) for k, one in config.networks.items()},
        sets=tuple(replace(s, train=s.train and less(s.train)) for s in config.sets),
        evaluation=replace(config.evaluation, steps=2, thorough=()),
    )


def make(piece: str, asked: argparse.Namespace, data: Any) -> dict[str, Any]:
    """What the piece's JSON has in it, beside the card."""

    def config(name: str) -> Experiment:
        loaded = files.load(name)
        return small(loaded) if asked.smoke else loaded

    if piece == "steps":
        told = {}
        for name in ("fast", "minute"):
            for turn in ("cold", "warm", "traced"):
                trace = asked.out / name if turn == "traced" else None
                cut = few(config(f"cifar10_{name}"))
                with tempfile.TemporaryDirectory() as keep:
                    made = whole(cut, data, pathlib.Path(keep), trace)
                told[f"{name}, {turn}"] = made
        return told
    if piece == "autoattack":
        fast = config("cifar10_fast")
        strong = AutoAttack(images=4, steps=2, targets=1, queries=2)
        strong = strong if asked.smoke else AutoAttack(images=1000)
        fast = replace(fast, autoattack=strong, sets=fast.sets[:1])
        return strongest(fast, data, asked.keep / "cifar10_fast")
    name = f"cifar10_{piece}"
    return whole(config(name), data, asked.keep / name)


def run(args: Sequence[str] | None = None) -> None:
    asked = parse(args)
    asked.out.mkdir(parents=True, exist_ok=True)
    devices.cache_programs()
    jax.monitoring.register_event_duration_secs_listener(heard)
    data = packed.load(asked.data) if asked.data else random_images()
    today = datetime.now(UTC).date().isoformat()
    for piece in asked.pieces:
        print(f"\n{piece}")
        about = {"card": card(), **origin(), "date": today}
        told = {**about, piece: make(piece, asked, data)}
        (asked.out / f"{piece}.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    run()
