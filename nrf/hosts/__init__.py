"""Many processes are one run: one speaks for all, and all end together.

    hosts.start("10.0.0.1:8476", processes=2, process=0)  # On each, before JAX is used.
    if hosts.agree(path.exists()): ...     # What process 0 sees.
    hosts.together(lambda: save(path))     # Process 0 saves; its errors reach all.
    hosts.barrier("saved")
    sys.exit(hosts.leave(0))

Where there is one process, `start` is not needed and all of this is trivial. Words go
through JAX's coordination service, never through devices: a process that waits here
takes part in no collective, and can be told to end.
"""

from nrf.hosts.run import (
    agree,
    barrier,
    check_shared,
    first,
    gather,
    leave,
    name,
    see,
    start,
    started,
    tell,
    together,
    wait_for_reason,
)

__all__ = [
    "agree",
    "barrier",
    "check_shared",
    "first",
    "gather",
    "leave",
    "name",
    "see",
    "start",
    "started",
    "tell",
    "together",
    "wait_for_reason",
]
