"""What the steps of a run make, and how it lies on disk.

network    Trained: parameters by Orbax in params/, history.json.
set        Constructed: see `nrf.runs.sets`.
arrays     A dict of arrays, each an .npy file.
json       Numbers and words in value.json.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np

from nrf.runs import sets
from nrf.runs.sets import Constructed
from nrf.types import Params

T = TypeVar("T")


class Format(NamedTuple, Generic[T]):
    """How a value lies in a folder; `load` gives back what `save` was given."""

    save: Callable[[Path, T], None]  # Into an existing empty folder.
    # From the files of these names. What else lies there is no part of the value: other
    # systems leave files of their own.
    load: Callable[[Path, Sequence[str]], T]


class Trained(NamedTuple):
    """A trained network."""

    params: Params  # Nested dicts of arrays.
    history: list[dict[str, Any]]  # One entry for each epoch.


def _save_trained(folder: Path, trained: Trained) -> None:
    _check_tree(trained.params, "params")
    for path, leaf in jax.tree_util.tree_leaves_with_path(trained.params):
        _check_numbers(f"params{jax.tree_util.keystr(path)}", np.asarray(leaf))
    # Arrays of the host carry no devices: they are read on any number of any kind.
    params = jax.tree.map(np.asarray, trained.params)
    with _quiet_orbax(), _checkpointer() as checkpointer:
        checkpointer.save(folder.absolute() / "params", params)
        checkpointer.wait_until_finished()
    _save_json(folder / "history.json", trained.history)


def _load_trained(folder: Path, files: Sequence[str]) -> Trained:
    with _quiet_orbax(), _checkpointer() as checkpointer:
        params = checkpointer.restore(folder.absolute() / "params")
    return Trained(params, json.loads((folder / "history.json").read_text()))


def _checkpointer() -> Any:
    """Orbax's, for a process by itself: one alone saves, and each loads when it may."""
    import orbax.checkpoint as ocp

    here = jax.process_index()
    return ocp.StandardCheckpointer(
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=here,
            active_processes={here},
            barrier_sync_key_prefix=f"process{here}",
        )
    )


def _check_tree(tree: Any, where: str) -> None:
    # Orbax would give tuples back as lists and custom nodes as dicts.
    if type(tree) is dict:
        for name, part in tree.items():
            _check_tree(part, f"{where}.{name}")
    elif not isinstance(tree, np.ndarray | jax.Array):
        raise ValueError(
            f"{where} is a {type(tree).__name__}; parameters are nested dicts of "
            "arrays."
        )


@contextlib.contextmanager
def _quiet_orbax() -> Iterator[None]:
    """Without its warnings of missing shardings, which arrays of the host lack."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_numbers(name: str, array: np.ndarray) -> None:
    """Raises ValueError for NaN, which a later step would be blamed for."""
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{name} has NaN in {np.isnan(array).sum()} places.")


def _save_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        _check_numbers(name, np.asarray(array))
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _load_arrays(folder: Path, files: Sequence[str]) -> dict[str, np.ndarray]:
    return {name.removesuffix(".npy"): np.load(folder / name) for name in sorted(files)}


def _save_json(file: Path, value: Any) -> None:
    def plain(scalar: Any) -> Any:
        if isinstance(scalar, np.generic):
            return scalar.item()
        raise ValueError(
            f"{type(scalar).__name__} is neither a number, a word, a list nor a dict; "
            "for an array of one number write float(x)."
        )

    file.write_text(json.dumps(value, indent=1, default=plain) + "\n")


FORMATS: dict[str, Format] = {
    "network": Format(_save_trained, _load_trained),
    "set": Format(sets.save, sets.load),
    "arrays": Format(_save_arrays, _load_arrays),
    "json": Format(
        lambda folder, value: _save_json(folder / "value.json", value),
        lambda folder, files: json.loads((folder / "value.json").read_text()),
    ),
}


def format_of(value: Any) -> str:
    """The name of the format that a value is saved in, by its type."""
    if isinstance(value, Trained):
        return "network"
    if isinstance(value, Constructed):
        return "set"
    if isinstance(value, dict) and value:
        if all(isinstance(a, np.ndarray | jax.Array) for a in value.values()):
            return "arrays"
    return "json"
