"""Values on disk, each in a folder that appears whole, with a manifest.

    value = store.save(path, value, about)
    value = store.load(path, about)

`about` says what the value depends on, "inputs" by the digest of their content. A
folder that is about something else is refused, never reused or overwritten. How a value
lies on disk follows from its type: see `nrf.runs.formats`.
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
    for other in others:
        if other.exists() and manifest.same(manifest.read(other)["about"], about):
            load(other, about)  # Only what is whole is worth a copy.
            check_writable(path.parent)
            _appear(path, lambda folder: shutil.copytree(other, folder))  # noqa: B023
            return True
    return False


def _write(folder: Path, value: Any, about: dict[str, Any], seconds: float) -> Any:
    folder.mkdir()
    name = formats.format_of(value)
    formats.FORMATS[name].save(folder, value)
    loaded = formats.FORMATS[name].load(folder)
    same = manifest.content(loaded)
    if same != manifest.content(value):
        raise ValueError(
            f"{folder.name} was not read back from disk as it was written."
        )
    said = {
        "about": about,
        **origin(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "format": name,
        "content": same,
        "sha256": manifest.file_digests(folder),
    }
    (folder / manifest.FILE).write_text(json.dumps(said, indent=2) + "\n")
    return loaded


def _appear(path: Path, write_into: Callable[[Path], Any]) -> Any:
    """What `write_into(temporary)` returns; the temporary folder becomes `path`."""
    temporary = path.parent / f".{path.name}.tmp-{os.getpid()}"
    _remove_stale(path)
    try:
        written = write_into(temporary)
        for folder, _, files in os.walk(temporary):
            for name in (*files, "."):
                _sync(Path(folder, name))
        temporary.rename(path)
        _sync(path.parent)
        return written
    except Exception as error:
        # Orbax and TFDS raise errors of their own, with the system's words in them.
        words = [text for text in map(os.strerror, _NO_SPACE) if text in str(error)]
        if not (words or isinstance(error, OSError)):
            raise
        reason = ", ".join(words) or f"{error}; is the disk full?"
        raise OSError(f"{path} can not be written: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(path: Path, about: dict[str, Any] | None = None) -> Any:
    """The value in the folder `path`; where given, only if it is about that.

    Raises:
      ValueError: the folder holds none, it is about something else, or it was changed
        since it was saved.
    """
    path = Path(path)
    said = manifest.check(path, about)
    value = formats.FORMATS[said["format"]].load(path)
    if manifest.content(value) != said["content"]:
        raise ValueError(
            f"{path / manifest.FILE} is damaged: its digest is not that of what lies "
            f"beside it. Remove {path} to have it made again."
        )
    return value


def write(path: Path, data: bytes) -> Path:
    """Writes a file whole or not at all; raises OSError where it cannot."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise OSError(f"{path} can not be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def check_writable(folder: Path) -> None:
    """Makes `folder` where it is not there; raises OSError if it takes no files."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise OSError(f"{folder} can not be written to: {error.strerror}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Removes what processes that are no more left beside `path`."""
    prefix = f".{path.name}.tmp-"
    for leftover in path.parent.iterdir():
        owner = leftover.name.removeprefix(prefix)
        if owner == leftover.name or not owner.isdecimal():
            continue
        try:
            if int(owner) != os.getpid():
                os.kill(int(owner), 0)  # Signal 0 only asks whether it is there.
                continue
        except PermissionError:
            continue
        except ProcessLookupError:
            pass
        shutil.rmtree(leftover, ignore_errors=True)
