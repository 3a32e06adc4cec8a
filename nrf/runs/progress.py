"""What a run tells about itself while it works: steps, examples, metrics, results.

    run(config, out, progress=for_stream(sys.stderr))

An experiment calls one `Progress` object. The base class is silent; a subclass
overrides what it wants to know. `Bars` is for a terminal, `Lines` for a log file.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

OnMetrics = Callable[[str, dict[str, Any]], None]  # on_metrics(step, values)


class Progress:
    """Is told what happens in a run, and says nothing.

    `step` names a step with its folder, as in "seed0/D_R". A step is either skipped or
    begun and ended; one that fails is begun only. Steps may be nested.
    """

    def start(self, steps: int) -> None:
        """The run has so many steps, made or to be made."""

    def begin(self, step: str, examples: int | None) -> None:
        """A step starts that will work through `examples`; None if nobody knows."""

    def advance(self, step: str, examples: int) -> None:
        """`examples` more are finished."""

    def metrics(self, step: str, values: dict[str, Any]) -> None:
        """Measured along the way: loss and accuracies of an epoch, say."""

    def end(self, step: str, seconds: float, summary: str) -> None:
        """The step is made and saved; `summary` is its result in a few words or ""."""

    def skip(self, step: str) -> None:
        """The step was made before, and is loaded."""

    def close(self) -> None:
        """The run is over, or was stopped; nothing is called after this."""


class Lines(Progress):
    """One line for each step that was made, with its result and its seconds."""

    def __init__(self, file: TextIO | None = None):
        self.file = file or sys.stderr
        self.total: int | None = None
        self.done = self.skipped = 0
        self.seconds = 0.0

    def start(self, steps: int) -> None:
        self.total = steps

    def end(self, step: str, seconds: float, summary: str) -> None:
        self._tell_skipped()
        self.done += 1
        self.seconds += seconds
        number = f"[{self.done}/{self.total}] " if self.total else ""
        words = [f"{number}{step}", f"{seconds:.1f} s", *([summary] if summary else [])]
        self._print(": ".join((words[0], ", ".join(words[1:]))))

    def skip(self, step: str) -> None:
        self.done += 1
        self.skipped += 1

    def close(self) -> None:
        self._tell_skipped()
        if self.seconds:
            self._print(f"{self.seconds:.0f} s in all")

    def _tell_skipped(self) -> None:
        # Loaded steps take one line together: a run that goes on has dozens of them.
        if self.skipped:
            steps = "step was" if self.skipped == 1 else "steps were"
            self._print(f"{self.skipped} {steps} there already")
        self.skipped = 0

    def _print(self, line: str) -> None:
        print(line, file=self.file, flush=True)


class Bars(Progress):
    """A bar for each step, with the latest metrics; its line stays with the result."""

    def __init__(self, file: TextIO | None = None):
        self.file = file or sys.stderr
        self.total: int | None = None
        self.begun = 0
        self.bars: dict[str, Any] = {}

    def start(self, steps: int) -> None:
        self.total = steps

    def begin(self, step: str, examples: int | None) -> None:
        from tqdm import tqdm  # Of the command line; the library does without.

        self.begun += 1
        number = f"[{self.begun}/{self.total}] " if self.total else ""
        self.bars[step] = tqdm(
            desc=f"{number}{step}",
            total=examples,
            unit=" images",
            unit_scale=True,
            file=self.file,
            dynamic_ncols=True,
        )

    def advance(self, step: str, examples: int) -> None:
        self.bars[step].update(examples)

    def metrics(self, step: str, values: dict[str, Any]) -> None:
        self.bars[step].set_postfix_str(words(values))

    def end(self, step: str, seconds: float, summary: str) -> None:
        bar = self.bars.pop(step)
        if summary:
            bar.set_postfix_str(summary)
        bar.close()

    def skip(self, step: str) -> None:
        self.begun += 1

    def close(self) -> None:
        for bar in reversed(self.bars.values()):
            bar.close()
        self.bars.clear()


class Both(Progress):
    """Tells two objects everything, the first one first."""

    def __init__(self, first: Progress, second: Progress):
        self.parts = (first, second)

    def start(self, steps: int) -> None:
        for part in self.parts:
            part.start(steps)

    def begin(self, step: str, examples: int | None) -> None:
        for part in self.parts:
            part.begin(step, examples)

    def advance(self, step: str, examples: int) -> None:
        for part in self.parts:
            part.advance(step, examples)

    def metrics(self, step: str, values: dict[str, Any]) -> None:
        for part in self.parts:
            part.metrics(step, values)

    def end(self, step: str, seconds: float, summary: str) -> None:
        for part in self.parts:
            part.end(step, seconds, summary)

    def skip(self, step: str) -> None:
        for part in self.parts:
            part.skip(step)

    def close(self) -> None:
        for part in self.parts:
            part.close()


class Metrics(Progress):
    """Hands every measurement to `on_metrics(step, values)`, and nothing else."""

    def __init__(self, on_metrics: OnMetrics):
        self.on_metrics = on_metrics

    def metrics(self, step: str, values: dict[str, Any]) -> None:
        self.on_metrics(step, values)


def combine(
    progress: Progress | None = None, on_metrics: OnMetrics | None = None
) -> Progress:
    """One object out of what a caller of `run` gave; a silent one for nothing."""
    progress = progress or Progress()
    return Both(progress, Metrics(on_metrics)) if on_metrics else progress


def for_stream(file: TextIO | None = None) -> Progress:
    """`Bars` where `file` (stderr by default) is a terminal, and `Lines` elsewhere."""
    file = file or sys.stderr
    return (Bars if file.isatty() else Lines)(file)


def words(values: Mapping[str, Any]) -> str:
    """Metrics in one line: "epoch 3, loss 0.4123, test_accuracy 0.97"."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
