"""Runs that are told to end: by Ctrl-C, or by SIGTERM as clusters send it."""

import collections
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM: as Ctrl-C, with another exit code."""


_SIGNALS: dict[int, type[KeyboardInterrupt]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
}


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Ctrl-C and SIGTERM end what is inside in order, so that files are put right.

    A second Ctrl-C ends the process at once, as a kill does; a second SIGTERM waits.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    hook = sys.unraisablehook
    raised: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if not raised:
            raised.append(number)
            raise _SIGNALS[number]
        # What is inside is saving already, and whoever presses Ctrl-C again knows.
        if number == signal.SIGINT:
            os.write(2, b"\nStopped at once.\n")
            os._exit(130)

    def unraisable(lost: Any) -> None:
        # Out of a finaliser or a callback of the garbage collector, where JAX has one,
        # nothing is raised: Python prints it and goes on.
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            return hook(lost)
        raised.clear()
        terminated = isinstance(lost.exc_value, Terminated)
        number = signal.SIGTERM if terminated else signal.SIGINT
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()

    try:
        sys.unraisablehook = unraisable
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # As in the background of a shell.
                signal.signal(number, stop)
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def kept(out: Path) -> list[str]:
    """What the folder of a run has, in words: finished steps, and parts of others."""
    steps = len(list(out.glob("**/manifest.json")))
    results: collections.Counter[str] = collections.Counter()
    for shard in out.glob("**/.*.scratch/shards/*.shard"):
        scratch = shard.parent.parent
        first, last = map(int, shard.name.split("-")[1:3])
        step = scratch.name[1:].removesuffix(".scratch")
        results[f"{scratch.parent.name}/{step}"] += last - first
    return [
        "1 finished step" if steps == 1 else f"{steps} finished steps",
        *(f"of {step} {count:,} results" for step, count in results.items()),
    ]
