"""How a statement about accuracies is judged: verdicts, and what they rest on.

A difference is shown where its 95 % intervals over seeds and over images are both above
0, and reversed where both are below. It is not judged with one seed, which says nothing
of other trainings, nor on an accuracy whose evidence says that it is wrong.
"""

from collections.abc import Mapping
from typing import NamedTuple

from nrf.evaluate.statistics import Difference, over_seeds, paired
from nrf.report.results import CLEAN, Cells, Column, Measure

SHOWN, REVERSED, NOT_SHOWN = "shown", "reversed", "not shown"
NOT_JUDGED, NOT_MEASURED = "not judged", "not measured"
_ONE_SEED = "one seed says nothing of other trainings; run five or more"
_NOT_SAVED = (
    "which images are right is not in these results, which an earlier version saved; "
    "make the run again, in a new folder"
)


class Verdict(NamedTuple):
    """What a run says of a statement; the reason where it is not judged."""

    word: str  # One of the five above.
    reason: str = ""


class Compared(NamedTuple):
    """How much more accurate one network is than another, on the same images."""

    at: Column  # What both were measured by.
    difference: Difference | None  # None: it cannot be known.
    doubt: str = ""  # Why it cannot be judged.

    @property
    def verdict(self) -> Verdict:
        """Whether the first is more accurate."""
        if self.doubt or self.difference is None:
            return Verdict(NOT_JUDGED, self.doubt)
        if self.difference.above():
            return Verdict(SHOWN)
        return Verdict(REVERSED if self.difference.below() else NOT_SHOWN)


def compared(networks: dict[str, Cells], at: Column) -> Compared | None:
    """The first of two networks less the second, by name; None: one has no such number.

    Seeds that both have are compared pair by pair.
    """
    (a, b) = (cells.get(at) for cells in networks.values())
    if a is None or b is None:
        return None
    seeds = [seed for seed in a.by_seed if seed in b.by_seed]
    doubts = _doubts(dict(zip(networks, (a, b), strict=True)), at, len(seeds))
    difference = None
    if a.images != b.images:
        doubts.append(f"they were tested on {a.images} and on {b.images} images")
    elif seeds:
        ours, theirs = a.right(seeds), b.right(seeds)
        if ours is None or theirs is None:
            doubts.append(_NOT_SAVED)
        else:
            difference = paired(ours, theirs)
    return Compared(at, difference, "; ".join(doubts))


def beyond(
    name: str, cells: Cells, level: float, at: Column = CLEAN
) -> Compared | None:
    """A network's accuracy less a fixed one, such as that of chance."""
    if at not in cells:
        return None
    measure = cells[at]
    values = list(measure.by_seed.values())
    low, high = measure.interval
    difference = Difference(
        measure.mean - level,
        over_seeds([value - level for value in values]),
        (low - level, high - level),
    )
    doubts = _doubts({name: measure}, at, len(values))
    return Compared(at, difference, "; ".join(doubts))


def _doubts(of: Mapping[str, Measure], at: Column, seeds: int) -> list[str]:
    """Why these measures cannot be judged."""
    doubts = [
        f"{name} carries ✗ at {at.label} ({', '.join(measure.wrong)})"
        for name, measure in of.items()
        if measure.wrong
    ]
    return [*doubts, *([_ONE_SEED] if seeds < 2 else [])]


def where(main: Compared | None, *conditions: Verdict | Compared | None) -> Verdict:
    """The verdict on a statement that needs all of the conditions to be shown too."""
    if main is None or None in conditions:
        return Verdict(NOT_MEASURED)
    needed = [c.verdict if isinstance(c, Compared) else c for c in conditions if c]
    if main.verdict.word != SHOWN:
        return main.verdict
    for verdict in needed:
        if verdict.word == NOT_JUDGED:
            return verdict
    shown = all(verdict.word == SHOWN for verdict in needed)
    return Verdict(SHOWN if shown else NOT_SHOWN)


def unless(other: Compared | None) -> Verdict | None:
    """The verdict on "it is not shown that the first is more accurate"."""
    if other is None or other.verdict.word == NOT_JUDGED:
        return other and other.verdict
    return Verdict(NOT_SHOWN if other.verdict.word == SHOWN else SHOWN)
