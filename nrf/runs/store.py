"""The stages of a run, each a folder that is made once, whole, and with a manifest.

    standard = stage(out / "standard", about, lambda: fit(...), TRAINED)

makes and saves a network the first time and loads it ever after. `about` says what the
stage depends on: settings, and under "inputs" the `digest` of every stage it was made
from. A folder that is about anything else is refused, never reused or overwritten. What
a stage is saved as is its `Kind`; those of this project are in `nrf.runs.formats`.
"""

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np

from nrf.types import Key

T = TypeVar("T")
_MANIFEST = "manifest.json"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_PACKAGES = (
    "nrf jax jaxlib flax optax orbax-checkpoint tensorflow-datasets numpy".split()
)


class Kind(NamedTuple, Generic[T]):
    """How a value lies in a folder; `load` gives back what `save` was given."""

    save: Callable[[Path, T], None]  # Into an existing empty folder.
    load: Callable[[Path], T]


def stage(path: Path, about: dict[str, Any], make: Callable[[], T], kind: Kind[T]) -> T:
    """The value of the stage at `path`: loaded, or made, saved and read back.

    The folder appears under its name when it is complete and on disk; whatever ends the
    process before leaves only a temporary folder beside it, which the next run removes.

    Raises ValueError if `path` was made with another `about`, by something else, or was
    changed since; OSError, before the work where possible, if it can not be written.
    """
    path = Path(path)
    about = json.loads(json.dumps(about))
    if path.exists():
        return _load(path, about, kind)
    check_writable(path.parent)
    start = time.time()
    value = make()
    seconds = time.time() - start
    temporary = path.parent / f".{path.name}.tmp-{os.getpid()}"
    _remove_stale(path)
    try:
        temporary.mkdir()
        kind.save(temporary, value)
        loaded = kind.load(temporary)
        same = content(loaded)
        if same != content(value):
            raise ValueError(f"{path} was not read back from disk as it was written.")
        manifest = {
            "about": about,
            **origin(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "content": same,
            "sha256": _file_digests(temporary),
        }
        (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        for folder, _, files in os.walk(temporary):
            for name in (*files, "."):
                _sync(Path(folder, name))
        temporary.rename(path)
        _sync(path.parent)
    except Exception as error:
        # Orbax and TFDS raise errors of their own, with the system's words in them.
        words = [text for text in map(os.strerror, _NO_SPACE) if text in str(error)]
        if not (words or isinstance(error, OSError)):
            raise
        if (path / _MANIFEST).exists():  # Another process made it in the meantime.
            return _load(path, about, kind)
        reason = ", ".join(words) or f"{error}; is the disk full?"
        raise OSError(f"{path} can not be written: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return loaded


def digest(path: Path) -> str:
    """SHA-256 of the value of a stage: the same for the same arrays, whenever made."""
    return manifest(path)["content"]


def content(value: Any) -> str:
    """SHA-256 of arrays, numbers and words in dicts, lists and tuples, bit for bit."""

    def describe(part: Any) -> Any:
        if isinstance(part, dict):
            return {str(name): describe(inner) for name, inner in part.items()}
        if isinstance(part, list | tuple):
            return [describe(inner) for inner in part]
        if isinstance(part, np.generic):
            return part.item()
        if isinstance(part, np.ndarray | jax.Array):
            array = np.ascontiguousarray(part)
            if np.issubdtype(array.dtype, np.integer):  # Their width means nothing.
                array = array.astype(np.int64)
            bits = hashlib.sha256(array.view(np.uint8).data).hexdigest()
            return f"{array.dtype}{list(np.shape(part))} {bits}"
        return part

    text = json.dumps(describe(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def manifest(path: Path) -> dict[str, Any]:
    """The manifest of a stage; raises ValueError if the folder has none."""
    file = Path(path) / _MANIFEST
    try:
        found = json.loads(file.read_text())
        if {"about", "content", "sha256"} <= found.keys():
            return found
    except (OSError, AttributeError, ValueError):
        pass
    raise ValueError(
        f"{path} is there, and is no stage of a run: it has no readable {_MANIFEST}. "
        "Move it away or choose another --out."
    )


def write(path: Path, data: bytes) -> Path:
    """Writes a file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
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


def key_for(seed: int, name: str) -> Key:
    """The key of the stage `name`: adding a stage moves the key of no other."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def versions() -> dict[str, str]:
    """Of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def origin() -> dict[str, Any]:
    """By which code and where a result is made."""
    return {"git": git_commit(), "versions": versions(), "device": device()}


def git_commit() -> str | None:
    """The commit of this code, "+changes" if it was edited; None outside of git."""

    def git(*arguments: str) -> str:
        command = ("git", "-C", str(Path(__file__).parent), *arguments)
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        return answer.stdout.strip()

    try:
        # An installed copy may lie in the folder of some other repository.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        changes = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def device() -> str:
    """What JAX computes on: "gpu x 1 (NVIDIA H100 80GB HBM3)"."""
    devices = jax.devices()
    kind = devices[0].device_kind
    if devices[0].platform == "cpu":
        kind = platform.processor() or platform.machine()
        with contextlib.suppress(OSError):
            for line in Path("/proc/cpuinfo").read_text().splitlines():
                if line.startswith("model name"):
                    kind = line.partition(":")[2].strip()
                    break
        kind += f", {os.cpu_count()} cores"
    return f"{devices[0].platform} x {len(devices)} ({kind})"


def _load(path: Path, about: dict[str, Any], kind: Kind[T]) -> T:
    found = manifest(path)
    if found["about"] != about:
        raise ValueError(
            _difference(path, found["about"], about)
            + f" Remove {path} or choose another --out."
        )
    for name, expected in found["sha256"].items():
        file = path / name
        if not file.is_file() or _sha256(file) != expected:
            state = "damaged" if file.exists() else "missing"
            raise ValueError(
                f"{file} is {state}: it is not as it was written. Remove {path} to "
                "have it made again."
            )
    return kind.load(path)


def _difference(path: Path, made: dict[str, Any], asked: dict[str, Any]) -> str:
    """What was made and what is asked for, by the dotted paths of a few fields."""
    a, b = _flatten(made), _flatten(asked)
    fields = [
        field
        for field in {**a, **b}
        if a.get(field, "nothing") != b.get(field, "nothing")
    ]
    inputs = [field for field in fields if field.startswith("inputs.")]
    if inputs and len(inputs) == len(fields):
        names = ", ".join(field.removeprefix("inputs.") for field in inputs)
        return f"{path} was made from another {names} than that of this run."
    shown = [field for field in fields if field not in inputs][:4]
    more = len(fields) - len(shown)

    def words(values: dict[str, Any]) -> str:
        return ", ".join(f"{name}={values.get(name, 'nothing')}" for name in shown)

    others = f", and {more} more differ" if more else ""
    says = str(b.get(shown[0], "nothing")) if len(shown) == 1 else words(b)
    return f"{path} was made with {words(a)}; this config says {says}{others}."


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat = {}
    for name, part in value.items():
        flat.update(_flatten(part, f"{prefix}.{name}" if prefix else name))
    return flat


def _file_digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): _sha256(file) for file in files}


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


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
