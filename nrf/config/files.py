"""Configs from files: those that come with nrf by name, a user's own by path."""

import difflib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

# Installed, the configs lie in nrf/configs; in a checkout beside nrf/.
_ROOT = Path(__file__).parents[1]
_FOLDERS = (_ROOT / "configs", _ROOT.parent / "configs")


def shipped() -> dict[str, Path]:
    """The configs that come with nrf, by name."""
    for folder in _FOLDERS:
        if files := sorted(folder.glob("[!_]*.py")):
            return {file.stem: file for file in files}
    return {}


def load(where: str) -> Any:
    """The `config` of a file, which is given by its path or by a shipped config's name.

    The file is run as a script would be: it may import modules that lie beside it.

    Raises:
      ValueError: there is no such file, it cannot be run, or it has no `config`; in
        words that name the file, and the line where one is to blame.
    """
    path = _find(where)
    module = _run(path)
    if not hasattr(module, "config"):
        raise ValueError(f"{path} sets no `config`; write `config = Experiment(...)`.")
    return module.config


def _find(where: str) -> Path:
    known = shipped()
    path = Path(where)
    if path.is_file():
        return path
    if where in known:
        return known[where]
    if path.is_dir():
        raise ValueError(f"{where} is a folder; a config is a Python file.")
    close = difflib.get_close_matches(path.stem, known, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    raise ValueError(
        f"There is no config {where}, neither as a file nor among those of nrf.{meant} "
        f"These are {', '.join(known)}."
    )


def _run(path: Path) -> ModuleType:
    folder = str(path.resolve().parent)
    # Behind everything else, so that a config may be called random.py.
    if folder not in sys.path:
        sys.path.append(folder)
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path
    module = importlib.util.module_from_spec(spec)
    module.__loaded_as_config__ = True  # type: ignore[attr-defined]
    source = path.read_bytes()
    if b"\0" in source:
        raise ValueError(f"{path} holds binary content; a config is a Python file.")
    # Dataclasses look up the module that they were defined in.
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(_failed(path, error)) from error
    return module


def _module_name(path: Path) -> str:
    """The name by which the user's own programs would import the file."""
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None:
        free = hasattr(loaded, "__loaded_as_config__")
    else:
        try:
            spec = importlib.util.find_spec(name) if name.isidentifier() else None
        except (ImportError, ValueError):
            spec = None
        free = spec is None or spec.origin == str(path.resolve())
    return name if free and name.isidentifier() else f"config_{name}"


def _failed(path: Path, error: Exception) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        text = f": {error.text.strip()}" if error.text else ""
        where = f"{path}, line {error.lineno}" if error.lineno else str(path)
        return f"{where}: {error.msg}{text}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    where = f"{path}, line {lines[-1]}" if lines else str(path)
    # Words of a check stand for themselves; other errors need their name.
    name = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return f"{where}: {name}{error}"
