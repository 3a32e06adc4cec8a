"""Kills a small run at random moments, and compares what becomes of it in the end.

    python benchmarks/kills.py --kills 100

A run that is never killed comes first. Then another of the same is killed and begun
again until it is finished, and the next, until there were so many kills: SIGKILL, and
every fifth one SIGTERM, which must end the run with code 143. Contents of all steps and
all rows of results must be those of the first, bit for bit.

What a kill costs is the time since the last thing that was kept: a finished step, a
checkpoint, a shard, or the beginning of the step in this process. Compilation is a part
of it. Writes kills.json beside this file.
"""

import argparse
import collections
import contextlib
import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from typing import NamedTuple

from nrf.config import PGD, AutoAttack, Evaluation, Experiment, Set, Training, Work
from nrf.experiments import Match, Mislabel
from nrf.models import Small

standard = Training(epochs=12, batch_size=50, learning_rate=0.05, pad=1)
match = Match(steps=60, step_size=0.1)
push = PGD("l2", 1.0, steps=40, step_size=0.1)
config = Experiment(
    name="kills",
    data="digits",
    network=Small((0.3,), (0.38,), widths=(16, 32, 32)),
    networks={
        "standard": replace(standard, holdout=0.1),
        "robust": replace(standard, attack=PGD("l2", 1.0, 5, 0.3, random_start=True)),
    },
    sets=(
        Set("D_R", match, "robust", standard),
        Set("D_NR", match, "standard", standard),
        Set("D_rand", Mislabel(push, "random"), "standard", standard),
        Set("D_det", Mislabel(push, "next"), "standard", standard),
    ),
    evaluation=Evaluation("l2", (0.5,), steps=20),
    autoattack=AutoAttack(images=200, steps=20, queries=200),
    train_examples=1000,
    test_examples=200,
    work=Work(
        synthesis_batch=100,
        evaluation_batch=50,
        autoattack_batch=50,
        checkpoint_minutes=1 / 60,
    ),
)


class Kill(NamedTuple):
    """One kill: with what, in which step, and the seconds that it cost."""

    signal: str
    step: str
    lost: float


def child(out: str) -> int:
    """The command, in a process that says when a step begins."""
    from nrf import __main__ as command
    from nrf.runs import Progress, progress

    class Begun(Progress):
        def begin(self, step, examples):
            print("begun", time.time(), step, flush=True)

    progress.for_stream = Begun
    return command.main(["run", __file__, "--out", out])


def start(out: pathlib.Path, log: pathlib.Path) -> subprocess.Popen:
    line = [sys.executable, __file__, "--child", str(out)]
    with log.open("w") as file:
        return subprocess.Popen(line, stdout=file, stderr=subprocess.STDOUT)


def begun(log: pathlib.Path) -> tuple[float, str]:
    """When the last step began in this process, and which one; 0 for none."""
    lines = [line.split() for line in log.read_text().splitlines()]
    steps = [line for line in lines if len(line) == 3 and line[0] == "begun"]
    return (float(steps[-1][1]), steps[-1][2]) if steps else (0.0, "before any step")


def last_kept(out: pathlib.Path) -> float:
    """When the newest file was written of those that count."""
    times = [0.0]
    for file in out.rglob("*"):
        try:
            if "tmp" not in str(file.relative_to(out)):
                times.append(file.stat().st_mtime)
        except OSError:  # It was renamed or removed in this moment.
            pass
    return max(times)


def kill(
    process: subprocess.Popen,
    out: pathlib.Path,
    log: pathlib.Path,
    after: float | None,
    number: int,
) -> Kill | None:
    """Kills the process so many seconds after its first step; None: it was finished."""
    while process.poll() is None and not begun(log)[0]:
        time.sleep(0.02)
    try:
        code = process.wait(after)
        if code:
            raise SystemExit(f"the run failed with code {code}:\n{log.read_text()}")
        return None
    except subprocess.TimeoutExpired:
        pass
    since, step = begun(log)
    lost = time.time() - max(since, last_kept(out))
    sent = signal.SIGTERM if number % 5 == 4 else signal.SIGKILL
    process.send_signal(sent)
    code = process.wait()
    said = log.read_text()
    if code == 0:
        return None
    if sent == signal.SIGTERM:
        lost = 0.0 if "epochs and" in said else lost
        if code != 143 or "To go on: " not in said:
            raise SystemExit(f"SIGTERM ended the run with code {code}:\n{said}")
    elif code != -signal.SIGKILL:
        raise SystemExit(f"the run ended with code {code}:\n{said}")
    return Kill(sent.name, step.partition("/")[2] or step, round(lost, 3))


def outcome(out: pathlib.Path) -> dict:
    """Digests of all steps, and all rows: what must be the same."""
    manifests = sorted(out.glob("seed*/*/manifest.json"))
    digests = {m.parent.name: json.loads(m.read_text())["content"] for m in manifests}
    results = json.loads((out / "results.json").read_text())
    left = [path.name for path in out.glob("seed*/.*")]
    return {"digests": digests, "rows": results["rows"], "left over": left}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--span", type=float, default=8.0, help="seconds to a kill")
    parser.add_argument("--folder", type=pathlib.Path, help="of the runs, to go on")
    parser.add_argument("--seconds", type=float, default=math.inf, help="then it stops")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path(__file__).with_suffix(".json")
    )
    args = parser.parse_args()
    if args.child:
        sys.exit(child(args.child))
    with contextlib.ExitStack() as stack:
        root = args.folder or pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory())
        )
        if not measure(args, root, time.time() + args.seconds):
            print(f"To go on: --folder {root}")
            return
        report(args.out, *read(root))


def measure(args: argparse.Namespace, root: pathlib.Path, end: float) -> bool:
    """Whether all kills were made in time; what is known by then lies in `root`."""
    root.mkdir(parents=True, exist_ok=True)
    log = root / "log"
    if not (root / "known.json").exists():
        began = time.time()
        if start(root / "whole", log).wait():
            raise SystemExit(log.read_text())
        write(root, time.time() - began, [], [])
    seconds, kills, equal = read(root)
    whole = outcome(root / "whole")
    while len(kills) < args.kills or (root / f"killed{len(equal)}").exists():
        out = root / f"killed{len(equal)}"
        draw = random.Random(f"{args.seed} {len(kills)}").uniform(0, args.span)
        # The last run is finished.
        after = draw if len(kills) < args.kills else None
        one = kill(start(out, log), out, log, after, len(kills))
        if one:
            kills.append(one)
            print(f"{len(kills):3} {one.signal} in {one.step}: {one.lost:.2f} s")
        else:
            equal.append(outcome(out) == whole)
            print(f"run {len(equal)}: {'equal' if equal[-1] else 'DIFFERENT'}")
        write(root, seconds, kills, equal)
        if time.time() > end:
            return False
    return True


def write(
    root: pathlib.Path, seconds: float, kills: list[Kill], equal: list[bool]
) -> None:
    (root / "known.json").write_text(json.dumps([seconds, kills, equal]))


def read(root: pathlib.Path) -> tuple[float, list[Kill], list[bool]]:
    """Seconds of the run that was not killed, kills, and which others were equal."""
    seconds, kills, equal = json.loads((root / "known.json").read_text())
    return seconds, [Kill(*one) for one in kills], equal


def report(
    file: pathlib.Path, seconds: float, kills: list[Kill], equal: list[bool]
) -> None:
    lost = [one.lost for one in kills]
    result = {
        "kills": len(kills),
        "runs": len(equal),
        "equal": sum(equal),
        "seconds_uninterrupted": round(seconds, 1),
        "interval_seconds": 60 * config.work.checkpoint_minutes,
        "lost_seconds": {"median": statistics.median(lost), "most": max(lost)},
        "in": collections.Counter(one.step for one in kills),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "jax": importlib.metadata.version("jax"),
        "date": datetime.date.today().isoformat(),
        "each": kills,
    }
    file.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "each"}, indent=1))
    if not all(equal):
        sys.exit(1)


if __name__ == "__main__":
    main()
