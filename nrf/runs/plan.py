"""Steps that are noted instead of made: what a run would do."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nrf.runs import manifest
from nrf.runs.steps import Env, Made, Steps, as_input, cost_of

# rate(inputs, settings) -> seconds that a step of these takes for each of its passes.
Rate = Callable[[Sequence[Any], dict[str, Any]], float]


class Planned(NamedTuple):
    """A step that a run would make, or has made."""

    step: str  # "seed0/D_R"
    done: bool  # In this run's folder, or in one that it copies from.
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
    """Steps that are not made but noted; their values are only counted.

    Like a run it refuses, in the same words, a folder that was made with other
    settings, but before any work.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        env: Env,
        rate: Rate | None = None,
        *,
        reuse: Sequence[Path] = (),
    ):
        super().__init__(folder, seed, env, reuse=reuse)
        self.rate = rate
        self.planned: list[Planned] = []
        self._to_make: set[str] = set()  # Whose content nobody knows yet.

    def __call__(
        self, name: str, f: Any, *inputs: Made, draws: str | None = None, **settings
    ) -> Made:
        about = self._about(name, f, inputs, draws, settings)
        place = self._place(name, about)
        values = [as_input(one.value) for one in inputs]
        cost = cost_of(f, values, settings)
        seconds = None
        if place:
            seconds = manifest.read(place)["seconds"]
        elif cost and self.rate:
            seconds = cost.passes * self.rate(values, settings)
        examples = cost.examples if cost else None
        step = f"{self.folder.name}/{name}"
        self.planned.append(Planned(step, place is not None, examples, seconds))
        first = next((v for v in values if hasattr(v, "labels")), None)
        labels, names = (first.labels, first.names) if first else (np.zeros(0), ())
        if (
            cost and "recipe" in settings
        ):  # A set has as many images as it goes through.
            labels = np.zeros(cost.examples, np.int32)
        if place is None:
            self._to_make.add(name)
        digest = manifest.digest(place) if place else ""
        self.made[name] = Made(name, _Value(labels, names), digest)
        return self.made[name]

    def _place(self, name: str, about: dict[str, Any]) -> Path | None:
        """The folder from which a run would load or copy the step; None: from none.

        Raises:
          ValueError: the run's own folder was made of something else.
        """
        path = self.folder / name
        unknown = self._to_make & about["inputs"].keys()
        if path.exists():
            made = manifest.read(path)["about"]
            # What is made again will be what it was.
            inputs = {k: made.get("inputs", {}).get(k, "") for k in unknown}
            asked = {**about, "inputs": {**about["inputs"], **inputs}}
            manifest.check_about(path, made, asked)
            return path
        return manifest.find((folder / name for folder in self.reuse), about)
