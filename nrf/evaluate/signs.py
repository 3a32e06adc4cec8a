"""When numbers of `Evidence` are a sign that something is wrong, and of what.

Where one cause brings another's numbers with it, the consequence is not a sign.
"""

from typing import TYPE_CHECKING

from nrf.evaluate.accuracy import Score

if TYPE_CHECKING:
    from nrf.evaluate.findings import Evidence

_ERROR = 0.01  # An accuracy that is surely this much too high is wrong.
_PART = 0.1  # Of the examples: sound networks bend too much for a step at fewer.
BOX = 1e-6  # How far rounding takes a pixel out of [0, 1].
CHANGED = 0.01  # The share of outputs that may change: what rounding flips.
PROBABILITIES = 0.5  # Logits that sum to 1 are rare; one in two is no accident.
CONTRADICTION = 0.05  # Balls that hold what cannot have their image's class.
_FOUND = 0.9  # Of what is planted, an attack that works finds more.


def surely(count: int | None, total: int, least: float = _ERROR) -> bool:
    """Whether the share of such examples is above `least`, at 95 %."""
    return count is not None and Score(count, total).interval[0] > least


def part(count: int | None, e: "Evidence") -> bool:
    """Whether it is seen at so many examples that a rough place is no excuse."""
    return not varies(e) and surely(count, e.total, _PART)


def varies(e: "Evidence") -> bool:
    """Whether outputs vary by themselves; then so do answers, whatever the attack."""
    return e.varied > CHANGED * e.total


def misses(e: "Evidence") -> bool:
    return surely(e.missed, e.total)


def survives(e: "Evidence") -> bool:
    if e.large_withstood is None:
        return False
    return Score(e.large_withstood, e.total).interval[0] > e.commonest


def unfound(e: "Evidence") -> bool:
    return bool(e.planted) and Score(e.found or 0, e.planted or 1).interval[1] < _FOUND


def weak(e: "Evidence") -> bool:
    """Whether something else got further."""
    counts = e.behind, e.lost_to_more_steps, e.lost_to_other
    return unfound(e) or any(surely(count, e.total) for count in counts)


def short(e: "Evidence") -> bool:
    if e.crossings is not None:
        return e.crossings < 1 - 1e-6
    # An attack that returns images as they are when it fails may have moved no others.
    moved = 0 < e.largest < 0.9 * e.epsilon and e.only_blind is None
    return moved and weak(e) and not lowers(e)


def idle(e: "Evidence") -> bool:
    found = bool(e.planted) and not unfound(e)
    silent = e.only_blind is None and not found  # Of a sequence: nothing was broken.
    return e.largest == 0 and silent and not (misses(e) or e.bad_images)


def erratic(e: "Evidence") -> bool:
    # What rounds has no gradient either, and is better said so.
    return part(e.erratic, e) and not misses(e)


def misled(e: "Evidence") -> bool:
    """Whether the network's gradients are not those of its answers."""
    counts = e.erratic, e.detected, e.shattered, e.reversed, e.replaced
    return misses(e) or any(part(count, e) for count in counts)


def astray(e: "Evidence") -> bool:
    return part(e.astray, e) and not misled(e)


def lowers(e: "Evidence") -> bool:
    lowered = (e.lowered or 0) > 0.5 * max(1, e.correct)
    return lowered and not (varies(e) or misled(e) or astray(e))


def aimless(e: "Evidence") -> bool:
    known = short(e) or misled(e) or astray(e) or lowers(e)
    return part(e.aimless, e) and not known


def behind(e: "Evidence") -> bool:
    known = short(e) or misled(e) or astray(e) or lowers(e) or aimless(e)
    return not varies(e) and surely(e.behind, e.total) and not known and not idle(e)


def is_tiny(e: "Evidence") -> bool:
    fooled = e.correct - e.withstood
    return e.epsilon < (e.grain or 0) / 2 and fooled <= _ERROR * e.total
