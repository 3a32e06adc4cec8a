"""By which code, from what, and where a result is made."""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import jax
import numpy as np

_PACKAGES = (
    "nrf jax jaxlib flax optax orbax-checkpoint tensorflow-datasets numpy "
    "onednn-cpu-gomp".split()
)
_SETTINGS = (
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
)
_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "NRF_ONEDNN")


def describe(setting: Any) -> Any:
    """A setting as JSON: numbers and words as they are, and by what it is made.

    Dataclasses have their fields and their "kind", functions their name and what they
    captured. What lies outside of this package has a digest of its source too: an
    edited recipe is another one. What it calls in turn is not looked at. A field with
    "later" in its metadata is told where it is not at its default: what was made before
    there was such a field is what is asked for today.

    Raises:
      ValueError: it is none of these.
    """
    if isinstance(setting, np.ndarray | np.generic | jax.Array):
        return np.asarray(setting).tolist()
    if isinstance(setting, Mapping):
        return {str(name): describe(value) for name, value in setting.items()}
    if isinstance(setting, list | tuple):
        return [describe(value) for value in setting]
    if dataclasses.is_dataclass(setting) and not isinstance(setting, type):
        fields = {
            field.name: describe(getattr(setting, field.name))
            for field in dataclasses.fields(setting)
            if not (
                field.metadata.get("later")
                and getattr(setting, field.name) == field.default
            )
        }
        return {**_named("kind", type(setting)), **fields}
    if isinstance(setting, functools.partial):
        given = {"arguments": describe(setting.args), **describe(setting.keywords)}
        return {"partial": describe(setting.func), **given}
    if callable(setting):
        captured = {name: _plain(part) for name, part in _captured(setting).items()}
        code = setting if hasattr(setting, "__qualname__") else type(setting)
        more = {"captured": captured} if captured else {}
        return {**_named("function", code), **more}
    if isinstance(setting, Path):
        return str(setting)
    if setting is None or isinstance(setting, bool | int | float | str):
        return setting
    raise ValueError(
        f"{setting!r} is no setting: these are numbers, words, functions, and frozen "
        "dataclasses, lists and dicts of them."
    )


def _captured(code: Any) -> dict[str, Any]:
    """What a function of a function has from there, or an object from its making."""
    function = inspect.unwrap(code)
    if isinstance(function, MethodType):
        owner = function.__self__
        fields = {} if isinstance(owner, type) else getattr(owner, "__dict__", {})
        return {**fields, **_captured(function.__func__)}
    if isinstance(function, FunctionType):
        names, cells = function.__code__.co_freevars, function.__closure__ or ()
        pairs = zip(names, cells, strict=True)
        contents = {name: _content(cell) for name, cell in pairs}
        # A function that calls itself has captured itself.
        return {
            k: v for k, v in contents.items() if v is not function and v is not code
        }
    return {} if hasattr(code, "__qualname__") else dict(vars(code))


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # Not yet set.
        return None


def _plain(part: Any) -> Any:
    """What was captured, as JSON; of functions and other objects what they are."""
    if callable(part) and not dataclasses.is_dataclass(part):
        return _named("function", part if hasattr(part, "__qualname__") else type(part))
    try:
        return describe(part)
    except ValueError:
        return _named("kind", type(part))


def _named(what: str, code: Any) -> dict[str, Any]:
    module = getattr(code, "__module__", None) or type(code).__module__
    named = {what: f"{module}.{code.__qualname__}"}
    if not module.startswith("nrf."):
        named["source"] = _source_digest(code)
    return named


def _source_digest(code: Any) -> str:
    try:
        source = inspect.getsource(code)
    except (OSError, TypeError):  # Typed at a prompt, or run from a file by `runpy`.
        parts = vars(code).values() if isinstance(code, type) else [code]
        source = repr([_compiled(p) for p in parts if isinstance(p, FunctionType)])
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _compiled(code: Any) -> Any:
    """A function as compiled, in words that are the same in every process."""
    if isinstance(code, FunctionType):
        defaults = code.__defaults__, code.__kwdefaults__
        return _compiled(code.__code__), _compiled(tuple(map(repr, defaults)))
    if isinstance(code, CodeType):
        return code.co_name, code.co_code, code.co_names, _compiled(code.co_consts)
    if isinstance(code, tuple):
        return [_compiled(part) for part in code]
    return sorted(map(repr, code)) if isinstance(code, frozenset) else code


def header(config: Any, command: str) -> dict[str, Any]:
    """The start of a results file: which run this is, and how it came about."""
    return {
        "name": config.name,
        "config": describe(config),
        **origin(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that results depend on."""
    known = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            known[package] = importlib.metadata.version(package)
    return known


def origin() -> dict[str, Any]:
    """By which code, where, and under which settings a result is made."""
    return {**_place(), "settings": settings()}


@functools.cache  # It asks git, and a run has a hundred steps.
def _place() -> dict[str, Any]:
    return {"git": git_commit(), "versions": versions(), "device": device()}


def settings() -> dict[str, Any]:
    """Those of JAX and XLA that numbers depend on, by rounding or otherwise."""
    return {
        **{name: getattr(jax.config, name) for name in _SETTINGS},
        **{name: os.environ.get(name) for name in _VARIABLES},
    }


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
