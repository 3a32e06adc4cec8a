"""Folders that tell whether somebody still writes into them."""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO


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


@contextlib.contextmanager
def kept(path: Path, about: str) -> Iterator[Path]:
    """The folder `path`, for work on `about` that may be killed and go on later.

    What is there of other work is removed. While another process is at the same work,
    it is a temporary folder instead, as far as locks tell: they are of the system, or
    of the file system that machines share, so that a dead machine holds none.

    Raises:
      OSError: the folder cannot be made.
    """
    while True:
        path.mkdir(parents=True, exist_ok=True)
        owner = path / "about"
        # On a network's file system only a file that may be written can be locked.
        with owner.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break
            except OSError:  # Some file systems have no locks.
                pass
            if not _is_still(owner, file):
                continue  # Whoever had it has just removed it.
            file.seek(0)
            if file.read() != about:
                _empty(path, owner)
                file.truncate(0)
                file.write(about)
                file.flush()
            yield path
            return
    with temporary(path) as folder:
        yield folder


def _is_still(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _empty(folder: Path, but: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != but:
            path.unlink(missing_ok=True)


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
