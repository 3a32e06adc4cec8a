"""Temporary folders that tell whether somebody still writes into them."""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, named after it; removed in the end, if still there.

    What killed processes left there is removed first. Whoever writes holds a lock on
    the folder, which the system lets go of when a process ends, however it ends: the
    number of a process says nothing in another container. What other machines made is
    left alone, because their locks may not be seen here.

    Raises:
      OSError: the folder cannot be made.
    """
    # The random part is for two processes at once.
    prefix = f".{path.name}.tmp-{host()}-"
    _remove_stale(path.parent, prefix)
    while True:
        folder = path.parent / f"{prefix}{secrets.token_hex(8)}"
        folder.mkdir()
        # Another process may take it for a leftover until it is locked.
        with _lock(folder, fcntl.LOCK_EX):
            if not folder.exists():
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


def host() -> str:
    """The name of this machine, or of this container, as a part of a file's name."""
    return re.sub(r"\W", "_", socket.gethostname())


def _remove_stale(parent: Path, prefix: str) -> None:
    for leftover in parent.iterdir():
        if re.fullmatch(re.escape(prefix) + "[0-9a-f]{16}", leftover.name):
            with _lock(leftover, fcntl.LOCK_EX | fcntl.LOCK_NB) as locked:
                if locked:
                    shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path, how: int) -> Iterator[bool]:
    """Whether the folder could be locked; some file systems have no locks."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, how)
            locked = True
        except OSError:
            locked = False
        yield locked
    finally:
        os.close(descriptor)
