"""What the processes of a run agree on, and how each comes and goes."""

import contextlib
import itertools
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nrf import folders
from nrf.hosts import joining, watch

_KINDS = {kind.__name__: kind for kind in (ValueError, OSError, FloatingPointError)}
_NOT_SHARED = (
    "cannot see what process 0 has put in {}: the folder of a run must be one that all "
    "hosts share."
)
_numbers = itertools.count()  # Of what is told: the same on every process.
_watcher: watch.Watcher | None = None


def start(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    patience: float = 60.0,
    wait: float = 300.0,
) -> None:
    """Makes this process one of a run's; to be called once, before JAX is used.

    On Slurm, TPU pods, GKE and Open MPI nothing need be said: JAX finds it out.

    Args:
      coordinator: "HOST:PORT", a free port of the host of process 0, for all the same;
        $JAX_COORDINATOR_ADDRESS by default.
      processes: How many there are.
      process: Which of them this is, from 0.
      patience: Seconds after which one that is not heard of counts as dead.
      wait: Seconds that all have to come.

    Raises:
      ValueError: no cluster is found, and not all three are given; they are no such
        numbers; JAX was used before; the port is taken; or the coordinator cannot be
        reached. JAX itself would end the process, without words.
    """
    global _watcher
    if patience < 1 or wait < 1:
        raise ValueError(
            f"patience and wait must be at least 1 second, got {patience:g} and "
            f"{wait:g}."
        )
    if processes is not None or process is not None:
        coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
        joining.check(coordinator, processes, process, wait)
    who = "A process" if process is None else f"Process {process}"
    with watch.deadline(
        wait,
        f"{who} has waited {wait:g} s for the others: are all of them running, with "
        "the same coordinator and number of processes?",
    ):
        joining.initialize(coordinator, processes, process, patience, wait)
    state = _state()
    numbers = state.process_id, state.num_processes
    _watcher = watch.Watcher(state.client, *numbers, name(), patience)
    _watcher.begin()


def first() -> bool:
    """Whether this is process 0, which alone writes and speaks."""
    return _state().process_id == 0


def agree(value: Any) -> Any:
    """Process 0's value (as JSON), on every process."""
    return together(lambda: value)


def together(f: Callable[[], Any]) -> Any:
    """Calls f on process 0 alone; its value (as JSON), or its error, is that of all.

    Raises:
      Exception: of f: everywhere a ValueError, OSError or FloatingPointError as it
        was; of other kinds a RuntimeError elsewhere.
    """
    state = _state()
    if state.client is None:
        return f()
    key = f"nrf/told/{next(_numbers)}"
    if state.process_id:
        told = json.loads(_wait(key))
        if "error" in told:
            raise _KINDS.get(told["kind"], RuntimeError)(told["error"])
        return told["value"]
    try:
        text = json.dumps({"value": f()})
    except Exception as error:
        told = {"error": str(error), "kind": type(error).__name__}
        state.client.key_value_set(key, json.dumps(told))
        raise
    state.client.key_value_set(key, text)
    return json.loads(text)["value"]


def gather(value: Any) -> list[Any]:
    """The values (as JSON) of all processes, in their order, on every process."""
    state = _state()
    if state.client is None:
        return [value]
    place = f"nrf/at/{next(_numbers)}/"
    state.client.key_value_set(f"{place}{state.process_id}", json.dumps(value))

    def collect() -> list[Any]:
        while True:
            # It waits as long as all are alive: see `patience` of `start`.
            there = dict(state.client.key_value_dir_get(place))
            if len(there) == state.num_processes:
                return [json.loads(there[f"{place}{n}"]) for n in range(len(there))]
            time.sleep(0.02)

    return together(collect)


def barrier(name: str) -> None:
    """Waits for all processes; raises ValueError if one is at a barrier elsewhere."""
    if len(names := sorted(set(gather(name)))) > 1:
        raise ValueError(
            f"processes are at different places, {' and '.join(names)}; were they all "
            "started with the same command?"
        )


def check_shared(folder: Path, wait: float = 10.0) -> None:
    """Raises ValueError where a process does not see what process 0 puts in `folder`.

    `wait` are the seconds that a network's file system has to show it.
    """
    if _state().client is None:
        return
    together(lambda: folder.mkdir(parents=True, exist_ok=True))
    token = folders.temporary(folder / "hosts") if first() else contextlib.nullcontext()
    with token as mine:
        path = folder / agree(mine and mine.name)
        blind = filter(None, gather(None if _seen(path, wait) else name()))
        if names := ", ".join(blind):
            raise ValueError(f"{names} {_NOT_SHARED.format(folder)}")


def see(path: Path, wait: float = 60.0) -> None:
    """Waits until this process sees what process 0 has put at `path`.

    Raises:
      ValueError: it does not, after so many seconds.
    """
    if not _seen(path, wait):
        raise ValueError(f"{name()} {_NOT_SHARED.format(path)}")


def _seen(path: Path, wait: float) -> bool:
    end = time.monotonic() + wait
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.1)
    return path.exists()


def name() -> str:
    """This process, in words: "process 1 on node7"."""
    return f"process {_state().process_id} on {socket.gethostname()}"


def tell(words: str, code: int) -> None:
    """Ends the run on the other processes, with these words and this exit code.

    To be followed by `leave`. Of several that tell, the first one counts.
    """
    if _watcher:
        _watcher.tell(words, code)


def wait_for_reason() -> bool:
    """Whether another process says why this one has an error of JAX's.

    A process that dies shows in the others before they know of it: this waits until
    they do. False where nobody says anything.
    """
    return _watcher is not None and _watcher.wait_for_reason()


def started() -> bool:
    """Whether this is a process of `start`, which others wait for."""
    return _watcher is not None


def leave(code: int) -> int:
    """The end of a process: returns 0 when all have come here, and ends it otherwise.

    `code` is its exit code; where the run was ended by `tell`, that one's counts.
    """
    global _watcher
    if _watcher is None:
        return code
    if code:
        _watcher.leave(code)
    try:
        barrier("end")
    except ValueError as error:
        print(error, file=sys.stderr)
        _watcher.leave(1)
    _watcher.end()
    _watcher = None
    import jax

    jax.distributed.shutdown()
    return 0


def _state() -> Any:
    # Its client has no public name; Orbax takes it from here too.
    from jax._src import distributed

    return distributed.global_state


def _wait(key: str) -> str:
    import jax

    while True:
        try:
            # In short pieces, between which signals arrive.
            return _state().client.blocking_key_value_get(key, 1000)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
