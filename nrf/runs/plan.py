"""Steps that are noted instead of made: what a run would do."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nrf.runs import manifest
from nrf.runs.steps import Env, Made, Steps, as_input, cost_of


class Pass(NamedTuple):
    """What it takes to bring one image forward and back through a network."""

    seconds: float
    operations: float
    moved: float  # Bytes from and to memory.


# rate(inputs, settings) -> what a step of these takes for each of its passes.
Rate = Callable[[Sequence[Any], dict[str, Any]], Pass]


class Planned(NamedTuple):
    """A step that a run would make, or has made."""

    step: str  # "seed0/D_R"
    done: bool  # In this run's folder, or in one that it copies from.
    examples: int | None  # That it goes through; None: it does not say.
    seconds: float | None  # Without compilation; of a finished one, what it took.
    operations: float | None  # Of floating-point numbers; None: not known, or done.
    moved: float | None  # Bytes from and to memory; as these.


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
        takes: tuple = (None, None, None)
        if place:
            takes = (manifest.read(place)["seconds"], None, None)
        elif cost and self.rate:
            takes = tuple(cost.passes * one for one in self.rate(values, settings))
        examples = cost.examples if cost else None
        step = f"{self.folder.name}/{name}"
        self.planned.append(Planned(step, place is not None, examples, *takes))
        first = next((v for v in values if hasattr(v, "labels")), None)
        labels, names = (first.labels, first.names) if first else (np.zeros(0), ())
        # A set has as many images as it goes through.
        if cost and "recipe" in settings:
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


def table(steps: Sequence[Planned]) -> str:
    """The plan for people to read, with what is left at its end."""
    width = max([len(step.step) for step in steps] + [4])
    head = f"{'step':{width}}  {'images':>13}  {'PFLOP':>8}  {'TB':>8}  {'time':>8}"
    lines = [head]
    for step in steps:
        images = "–" if step.examples is None else f"{step.examples:,}"
        time = "done" if step.done else duration(step.seconds)
        work = f"{_in(1e15, step.operations):>8}  {_in(1e12, step.moved):>8}"
        lines.append(f"{step.step:{width}}  {images:>13}  {work}  {time:>8}")
    left = [step for step in steps if not step.done]
    known = [step for step in left if step.seconds is not None]
    sums = [sum(one) for one in zip(*(step[3:] for step in known), strict=True)]
    # At most: attacks of a sequence are on what withstood those before. Small networks
    # wait for compilation and files as long again.
    total = ""
    if known:
        total = (
            f"; at most {duration(sums[0])} of computation left, {_in(1e15, sums[1])} "
            f"PFLOP and {_in(1e12, sums[2])} TB from and to memory"
        )
    more = ", and those whose time is not known" if 0 < len(known) < len(left) else ""
    done = len(steps) - len(left)
    return "\n".join([*lines, f"{done} of {len(steps)} steps are done{total}{more}."])


def _in(unit: float, count: float | None) -> str:
    """So many in that unit, to three digits; "–" for None."""
    return "–" if count is None else f"{count / unit:.3g}"


def duration(seconds: float | None) -> str:
    """A time in the unit that suits it: "12 s", "35 min", "2.0 h"; "–" for None."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return "< 1 s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"
