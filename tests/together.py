"""Runs of several processes on this machine, and how far apart results are."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nrf.runs import manifest, store

ROOT = Path(__file__).parent.parent
# Of two runs of the same: when, where and how they were made.
_PASSING = ("seconds", "date", "device", "command", "settings")


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def command(*arguments: Any) -> list[str]:
    """`nrf` with these arguments."""
    return [sys.executable, "-m", "nrf", *map(str, arguments)]


def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def surroundings(devices: int) -> dict[str, str]:
    """The environment of a process with so many virtual CPU devices."""
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }


def joined(processes: int) -> list[str]:
    """Options of one of so many processes, without its number, which comes last."""
    options = f"--distributed --coordinator localhost:{free_port()}"
    return [*options.split(), "--processes", str(processes), "--process"]


def slurm(processes: int) -> dict[str, str]:
    """What Slurm's srun tells each of so many processes, beside its number."""
    told = {"JOB_ID": "1", "STEP_NODELIST": "localhost", "NTASKS": str(processes)}
    told = {f"SLURM_{name}": value for name, value in told.items()}
    return {**told, "JAX_COORDINATOR_PORT": str(free_port())}


def launch(
    line: list[str],
    *,
    processes: int = 2,
    devices: int = 2,
    timeout: float = 240,
    by_slurm: bool = False,
) -> list[Ended]:
    """Runs a command as so many processes with so many virtual CPU devices each.

    They are told of each other by options or, as if they were of a job, by Slurm. Those
    that are not over in so many seconds are killed.
    """
    environment = surroundings(devices) | (slurm(processes) if by_slurm else {})
    options = joined(processes) if processes > 1 and not by_slurm else []
    running = []
    for number in range(processes):
        numbers = dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID"), str(number))
        one = subprocess.Popen(
            [*line, *options, *([str(number)] if options else [])],
            cwd=ROOT,
            env=environment | (numbers if by_slurm else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(one)
    ended = []
    try:
        for one in running:
            out, err = map(_without_gloo, one.communicate(timeout=timeout))
            ended.append(Ended(one.returncode, out, err))
    finally:
        for one in running:
            one.kill()
    return ended


# What Gloo, which carries collectives of CPUs, says of its connections. Its threads
# write at the same time, so that lines may be mixed, but each of these parts is whole.
_GLOO = re.compile(
    r"(\[Gloo\] Rank | is connected to | peer ranks\. |"
    r"Expected number of connected peer ranks is : |\d+)+"
)


def _without_gloo(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not _GLOO.fullmatch(line))


def differences(one: Path, two: Path) -> dict[str, float]:
    """How far the values of two runs are from each other, by their places.

    Raises:
      AssertionError: numbers that are no floats, words or names differ anywhere.
    """
    found: dict[str, float] = {}
    for name, value in _values(one).items():
        for place, away in _away(name, value, _values(two, name)[name]):
            found[place] = max(found.get(place, 0.0), away)
    return found


def _values(run: Path, only: str | None = None) -> dict[str, Any]:
    """What a run has in its results, and what its steps have made."""
    results = next(run.glob("*.json"))
    steps = {
        f"{path.parent.parent.name}/{path.parent.name}": path.parent
        for path in sorted(run.glob(f"seed*/*/{manifest.FILE}"))
    }
    values = {}
    if only in (None, results.name):
        values[results.name] = json.loads(results.read_text())
    for name, path in steps.items():
        if only in (None, name):
            values[name] = store.load(path)
    return values


def _away(place: str, a: Any, b: Any) -> Iterator[tuple[str, float]]:
    if isinstance(a, tuple):  # With names, or without.
        a, b = (one._asdict() if hasattr(one, "_asdict") else [*one] for one in (a, b))
    if isinstance(a, dict):
        assert a.keys() == b.keys(), f"{place}: {a.keys()} and {b.keys()}"
        for name in a.keys() - {*_PASSING}:
            yield from _away(f"{place}.{name}", a[name], b[name])
    elif isinstance(a, list):
        assert len(a) == len(b), f"{place}: {len(a)} and {len(b)}"
        for one, two in zip(a, b, strict=True):
            yield from _away(place, one, two)
    elif isinstance(a, float) or getattr(a, "dtype", np.dtype(bool)).kind == "f":
        yield place, float(np.abs(np.subtract(a, b)).max(initial=0))
    elif hasattr(a, "dtype"):
        assert (np.asarray(a) == np.asarray(b)).all(), f"{place} differs"
    else:
        assert a == b, f"{place}: {a} and {b}"
