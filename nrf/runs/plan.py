"""Steps that are noted instead of made: what a run would do."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nrf.runs import manifest
from nrf.runs.steps import Cost, Env, Made, Steps, as_input, cost_of

# rate(inputs, settings) -> seconds that a step of these takes for each of its passes.
Rate = Callable[[Sequence[Any], dict[str, Any]], float]


class Planned(NamedTuple):
    """A step that a run would make, or has made."""

    step: str  # "seed0/D_R"
    done: bool
    examples: int | None  # That it goes through; None: it does not say.
    seconds: float | None  # Estimated here and now, without compilation.


class _Value(dict):
    """Stands for a value that is not made: as much as the next steps ask of it."""

    params = None
    history = ()
    images = None
    indices = np.zeros(0, int)

    def __init__(self, labels: np.ndarray, names: tuple[str, ...]):
        super().__init__()
        self.labels, self.names, self.num_classes = labels, names, len(names)

    def __missing__(self, name: str) -> int:
        return 0


class Plan(Steps):
    """Steps that are not made but noted; their values are only counted."""

    def __init__(self, folder: Path, seed: int, env: Env, rate: Rate | None = None):
        super().__init__(folder, seed, env)
        self.rate = rate
        self.planned: list[Planned] = []

    def __call__(
        self, name: str, f: Any, *inputs: Made, draws: str | None = None, **settings
    ) -> Made:
        values = [as_input(one.value) for one in inputs]
        cost = cost_of(f, values, settings)
        path = self.folder / name
        done = (path / manifest.FILE).is_file()
        self.planned.append(
            Planned(
                f"{self.folder.name}/{name}",
                done,
                cost.examples if cost else None,
                self._seconds(path, done, cost, values, settings),
            )
        )
        first = next((v for v in values if hasattr(v, "labels")), None)
        labels, names = (first.labels, first.names) if first else (np.zeros(0), ())
        if (
            cost and "recipe" in settings
        ):  # A set has as many images as it goes through.
            labels = np.zeros(cost.examples, np.int32)
        self.made[name] = Made(name, _Value(labels, names), "")
        return self.made[name]

    def _seconds(
        self,
        path: Path,
        done: bool,
        cost: Cost | None,
        values: Sequence[Any],
        settings: dict[str, Any],
    ) -> float | None:
        if done:
            return manifest.read(path)["seconds"]
        if cost is None or self.rate is None:
            return None
        return cost.passes * self.rate(values, settings)
