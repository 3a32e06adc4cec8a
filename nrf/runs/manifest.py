"""Manifests: what a folder is about, and digests of what lies in it."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nrf.rows import Lazy, blocks

FILE = "manifest.json"


def digest(path: Path) -> str:
    """SHA-256 of the value at `path`: the same for the same arrays, whenever made."""
    return read(path)["content"]


def content(value: Any) -> str:
    """SHA-256 of arrays, numbers and words in dicts, lists and tuples, bit for bit."""

    def describe(part: Any) -> Any:
        if isinstance(part, dict):
            return {str(name): describe(inner) for name, inner in part.items()}
        if isinstance(part, list | tuple):
            return [describe(inner) for inner in part]
        if isinstance(part, np.generic):
            return part.item()
        if isinstance(part, np.ndarray | jax.Array | Lazy):
            return _bits(part)
        return part

    text = json.dumps(describe(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _bits(array: np.ndarray | jax.Array | Lazy) -> str:
    """Type, shape and SHA-256 of an array, the same whether it is in memory or not."""
    # The width of integers means nothing.
    wide = np.int64 if np.issubdtype(array.dtype, np.integer) else array.dtype
    known = getattr(array, "sha256", None)
    if known is None:
        digest = hashlib.sha256()
        for block in blocks(array):
            block = np.ascontiguousarray(block, wide)
            digest.update(block.view(np.uint8).data)
        known = digest.hexdigest()
    return f"{np.dtype(wide)}{list(np.shape(array))} {known}"


def read(path: Path) -> dict[str, Any]:
    """The manifest of the folder `path`; raises ValueError if it has none."""
    file = Path(path) / FILE
    try:
        said = json.loads(file.read_text())
        if {"about", "content", "sha256", "format"} <= said.keys():
            return said
    except (OSError, AttributeError, ValueError):
        pass
    raise ValueError(
        f"{path} is there, and is no step of a run: it has no readable {FILE}. "
        "Move it away or choose another --out."
    )


def check(path: Path, about: dict[str, Any] | None = None) -> dict[str, Any]:
    """The manifest of `path`, where its files are as written, and it is about `about`.

    Raises:
      ValueError: in words, where any of that is not so.
    """
    said = read(path)
    if about is not None:
        check_about(path, said["about"], about)
    for name, expected in said["sha256"].items():
        file = path / name
        if not file.is_file() or _sha256(file) != expected:
            state = "damaged" if file.exists() else "missing"
            raise ValueError(
                f"{file} is {state}: it is not as it was written. Remove {path} to "
                "have it made again."
            )
    return said


def check_about(path: Path, made: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises ValueError, in words, where `path` was made of other things than asked."""
    if not same(made, asked):
        raise ValueError(
            _difference(path, made, asked) + f" Remove {path} or choose another --out."
        )


def same(made: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Whether both are about the same, with inputs in the same order."""
    return made == asked and list(made.get("inputs", ())) == list(
        asked.get("inputs", ())
    )


def find(paths: Iterable[Path], about: dict[str, Any]) -> Path | None:
    """The first of these folders that is there and is about that."""
    there = (path for path in paths if path.exists())
    return next((path for path in there if same(read(path)["about"], about)), None)


def _difference(path: Path, made: dict[str, Any], asked: dict[str, Any]) -> str:
    """What was made and what is asked for, by the dotted paths of a few fields."""
    a, b = _flatten(made), _flatten(asked)
    fields = [
        field
        for field in {**a, **b}
        if a.get(field, "nothing") != b.get(field, "nothing")
    ]
    if not fields:
        order = ", ".join(made["inputs"])
        return f"{path} was made from {order}, in this order; this run has another."
    inputs = [field for field in fields if field.startswith("inputs.")]
    if inputs and len(inputs) == len(fields):
        names = ", ".join(field.removeprefix("inputs.") for field in inputs)
        return f"{path} was made from another {names} than that of this run."
    shown = [field for field in fields if field not in inputs][:4]
    more = len(fields) - len(shown)

    def words(values: dict[str, Any]) -> str:
        named = (name.removeprefix("settings.") for name in shown)
        pairs = zip(named, shown, strict=True)
        return ", ".join(f"{name}={values.get(at, 'nothing')}" for name, at in pairs)

    others = f", and {more} more differ" if more else ""
    says = str(b.get(shown[0], "nothing")) if len(shown) == 1 else words(b)
    return f"{path} was made with {words(a)}; this run asks for {says}{others}."


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat = {}
    for name, part in value.items():
        flat.update(_flatten(part, f"{prefix}.{name}" if prefix else name))
    return flat


def file_digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): _sha256(file) for file in files}


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
