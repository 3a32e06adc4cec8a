"""A finished run, as its user wants it: networks, sets, rows and pictures."""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nrf.runs import manifest, store
from nrf.runs.formats import Constructed, Trained
from nrf.types import Network, Params

IMPORTED = "import.json"  # Of a network that was trained elsewhere.
RESULTS = ("results.json", "transfer.json", "theory.json", IMPORTED)


class Weights(NamedTuple):
    """A trained network with the settings that build it."""

    architecture: Any  # With build(num_classes), such as those of `nrf.models`.
    num_classes: int
    params: Params  # Nested dicts of arrays.

    @property
    def network(self) -> Network:
        return Network(self.architecture.build(self.num_classes), self.params)


class Run:
    """What a run's folder holds; nothing is made or changed.

    Attributes:
      folder: Of the run.
      results: The content of its results file.
      seeds: For which it was made.
    """

    def __init__(self, folder: Path, results: dict[str, Any]):
        self.folder, self.results = folder, results
        config = results["config"]  # The theory has one seed.
        self.seeds = tuple(config.get("seeds") or [config.get("seed", 0)])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A dict for every network, seed and radius, as for `pandas.DataFrame`."""
        return self._part("rows")

    @property
    def history(self) -> dict[str, list[dict[str, Any]]]:
        """Loss and accuracies by epoch, by "seed0/on_D_R"."""
        return self._part("history")

    @property
    def pictures(self) -> dict[str, np.ndarray]:
        """Images [10, H, W, C] of D and of every set, and their labels."""
        path = self.folder / "pictures.npz"
        if not path.is_file():
            raise ValueError(f"there is no {path}; the same command makes it again.")
        with np.load(path) as pictures:
            return dict(pictures)

    def network(
        self, name: str, *, seed: int | None = None, architecture: Any = None
    ) -> Network:
        """The trained network `name`, such as "standard" or "on_D_R".

        Args:
          name: Of the network.
          seed: The run's first where it is not given.
          architecture: With build(num_classes); the one that the run recorded where it
            is not given.

        Raises:
          ValueError: there is no such network, it is damaged, or its architecture is
            not to be found.
        """
        return self.weights(name, seed=seed, architecture=architecture).network

    def weights(
        self, name: str, *, seed: int | None = None, architecture: Any = None
    ) -> Weights:
        """As `network`, with the architecture; it raises what that raises."""
        classes, path = len(self._part("classes")), self.path(name, seed)
        trained = store.load(path)
        if not isinstance(trained, Trained):
            raise ValueError(f"{path} is no network; run.set reads data sets.")
        settings = manifest.read(path)["about"]["settings"]
        architecture = architecture or rebuild(settings["network"])
        return Weights(architecture, classes, trained.params)

    def set(self, name: str, *, seed: int | None = None) -> Constructed:
        """The constructed set `name`, such as "D_R"; the run's first seed by default.

        Raises:
          ValueError: there is no such set, or it is damaged.
        """
        path = self.path(name, seed)
        made = store.load(path)
        if not isinstance(made, Constructed):
            raise ValueError(f"{path} is no data set; run.network reads networks.")
        return made

    def _part(self, name: str) -> Any:
        if name not in self.results:
            kind = next(file for file in RESULTS if (self.folder / file).is_file())
            raise ValueError(
                f"{self.folder / kind} has no {name}; what it has is in `results`."
            )
        return self.results[name]

    def path(self, name: str, seed: int | None = None) -> Path:
        """The folder of a step; ValueError where there is none."""
        path = self.folder / f"seed{self.seeds[0] if seed is None else seed}" / name
        if not path.is_dir():
            there = sorted(p.name for p in path.parent.glob("[!.]*") if p.is_dir())
            raise ValueError(
                f"there is no {path}; beside it: {', '.join(there) or 'nothing'}."
            )
        return path


def load(folder: str | Path) -> Run:
    """The run in a folder.

    Raises:
      ValueError: it holds no results, or they cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}.")
    for name in RESULTS:
        path = folder / name
        if path.is_file():
            try:
                results = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path} is not JSON: {error}.") from error
            if not isinstance(results, dict) or "config" not in results:
                raise ValueError(f"{path} is no results file: it has no config.")
            return Run(folder, results)
    raise ValueError(
        f"{folder} holds no results of a run ({', '.join(RESULTS)}); was it stopped? "
        "The command that began it goes on after its last finished step."
    )


def rebuild(described: dict[str, Any]) -> Any:
    """The architecture that `describe` described, by the name of its class.

    Raises:
      ValueError: the class can not be imported.
    """
    module, _, name = described["kind"].rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"the architecture {described['kind']} can not be imported; give it to "
            "run.network(..., architecture=...)."
        ) from error
    names = [field.name for field in dataclasses.fields(kind)]
    # A field that came later is not told where it is at its default.
    told = [name for name in names if name in described]
    return kind(**{name: _setting(described[name]) for name in told})


def _setting(value: Any) -> Any:
    """A field as it was described from: JSON knows no tuples and no dataclasses."""
    if isinstance(value, dict) and "kind" in value:
        return rebuild(value)
    return tuple(map(_setting, value)) if isinstance(value, list) else value
