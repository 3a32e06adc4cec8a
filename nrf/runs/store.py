"""Values on disk, each in a folder that appears whole, with a manifest.

    value = store.save(path, value, about)
    value = store.load(path, about)

`about` says what the value depends on, "inputs" by the digest of their content. A
folder that is about something else is refused, never reused or overwritten. How a value
lies on disk follows from its type: see `nrf.runs.formats`.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nrf import folders, hosts
from nrf.runs import formats, manifest
from nrf.runs.provenance import origin

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def save(
    path: Path | str,
    value: Any,
    about: dict[str, Any] | None = None,
    *,
    seconds: float = 0.0,
) -> Any:
    """Saves a value in a folder of its own; returns it, as it is read back from disk.

    A `nrf.runs.Constructed` becomes a TFDS data set, a `Trained` an Orbax checkpoint.
    The folder appears under its name when it is complete and on disk; whatever ends the
    process before leaves only a temporary folder beside it, which the next run removes.

    Args:
      path: Of the folder, which must not be there.
      value: To be saved.
      about: What it depends on, as JSON.
      seconds: What it took to make.

    Raises:
      ValueError: `path` is there, or the value is none that can be saved.
      OSError: it cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise ValueError(f"{path} is there already; remove it or choose another name.")
    check_writable(path.parent)
    said = about or {"by": "nrf.runs.save"}
    try:
        return _appear(path, lambda folder: _write(folder, value, said, seconds))
    except ValueError as error:
        raise ValueError(f"{path} can not be saved: {error}") from error
    except OSError:
        # Another process made the same in the meantime.
        if about and (path / manifest.FILE).exists():
            return load(path, about)
        raise


def copy_one(path: Path, about: dict[str, Any], others: Sequence[Path]) -> bool:
    """Copies the first of the folders `others` that is about the same to `path`.

    Raises:
      ValueError: that one was changed since it was saved.
      OSError: `path` cannot be written.
    """
    other = manifest.find(others, about)
    if other is None:
        return False
    load(other, about)  # Only what is whole is worth a copy.
    check_writable(path.parent)
    _appear(path, lambda folder: shutil.copytree(other, folder, dirs_exist_ok=True))
    return True


def _write(folder: Path, value: Any, about: dict[str, Any], seconds: float) -> Any:
    name = formats.format_of(value)
    formats.FORMATS[name].save(folder, value)
    digests = manifest.file_digests(folder)
    loaded = formats.FORMATS[name].load(folder, list(digests))
    same = manifest.content(loaded)
    if same != manifest.content(value):
        raise ValueError("it was not read back from disk as it was written.")
    said = {
        "about": about,
        **origin(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "format": name,
        "content": same,
        "sha256": digests,
    }
    (folder / manifest.FILE).write_text(json.dumps(said, indent=2) + "\n")
    return loaded


def _appear(path: Path, write_into: Callable[[Path], Any]) -> Any:
    """What `write_into(temporary)` returns; the temporary folder becomes `path`."""
    with in_words(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with folders.temporary(path) as temporary:
            written = write_into(temporary)
            for folder, _, files in os.walk(temporary):
                for name in files:
                    _sync(Path(folder, name))
                sync_folder(Path(folder))
            temporary.rename(path)
            sync_folder(path.parent)
        return written


@contextlib.contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Errors of a disk that takes nothing more are OSErrors that name `path`."""
    try:
        yield
    except Exception as error:
        # Orbax and TFDS raise errors of their own, with the system's words in them.
        words = [text for text in map(os.strerror, _NO_SPACE) if text in str(error)]
        if not (words or isinstance(error, OSError)):
            raise
        said = error.strerror if isinstance(error, OSError) else None
        # NumPy's error of a file that was cut short has no number.
        reason = said or ", ".join(words) or f"{error}; is the disk full?"
        raise OSError(f"{path} can not be written: {reason}") from error


def load(path: Path, about: dict[str, Any] | None = None) -> Any:
    """The value in the folder `path`; where given, only if it is about that.

    Raises:
      ValueError: the folder holds none, it is about something else, or it was changed
        since it was saved.
    """
    path = Path(path)
    said = manifest.check(path, about)
    value = formats.FORMATS[said["format"]].load(path, list(said["sha256"]))
    if manifest.content(value) != said["content"]:
        raise ValueError(
            f"{path / manifest.FILE} is damaged: its digest is not that of what lies "
            f"beside it. Remove {path} to have it made again."
        )
    return value


def write(path: Path, data: bytes) -> Path:
    """Writes a file whole or not at all; raises OSError where it cannot.

    Where a run is several processes, the first one alone does.
    """
    if not hosts.first():
        return path
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise OSError(f"{path} can not be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def check_writable(folder: Path) -> None:
    """Raises OSError where `folder` takes no files; makes none where there is none.

    Raises ValueError for ~, gs:// and their like, which would become folders here.
    """
    folder = Path(folder)
    if re.match(r"~$|[A-Za-z][\w+.-]+:$", "".join(folder.parts[:1])):
        raise ValueError(
            f"{folder} begins with {folder.parts[0]}, which is no folder; write the "
            "whole path of one on this machine."
        )
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise OSError(f"{folder} can not be written to: {error.strerror}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """As `_sync`, where the file system can: some network mounts cannot."""
    try:
        _sync(path)
    except OSError as error:
        if error.errno in (*_NO_SPACE, errno.EIO):
            raise
