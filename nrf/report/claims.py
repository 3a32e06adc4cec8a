"""The paper's four claims, judged on a run's numbers by rules stated beside them."""

from typing import Any, NamedTuple

from nrf.report import page
from nrf.report.results import (
    CLEAN,
    Measure,
    Results,
    find,
    measures,
    reported,
)

SHOWN, NOT_SHOWN, NOT_MEASURED = "shown", "not shown", "not measured"


class Claim(NamedTuple):
    """A statement and what a run says of it."""

    title: str
    verdict: str  # SHOWN, NOT_SHOWN or NOT_MEASURED.
    measured: str
    rule: str


def claim(template: str, macro: str, good: bool | None, /, **values: Any) -> Claim:
    """The claim that a macro of a template words; `good` None: it was not measured.

    The macro is called with `values`, and gives the title, what was measured and the
    rule, with empty lines between them.
    """
    title, measured, rule = page.words(template, macro, **values)
    return Claim(title, NOT_MEASURED if good is None else judge(good), measured, rule)


def judge(good: bool) -> str:
    """The verdict."""
    return SHOWN if good else NOT_SHOWN


def above(a: Measure, b: Measure | float) -> bool:
    """Whether `a` is better than `b`, or than the fixed accuracy `b`, beyond doubt."""
    if isinstance(b, Measure):
        pairs = [
            (a.by_seed[seed], b.by_seed[seed])
            for seed in a.by_seed
            if seed in b.by_seed
        ]
        return a.interval[0] > b.interval[1] and all(x > y for x, y in pairs)
    return a.interval[0] > b and min(a.by_seed.values()) > b


def claims(results: Results) -> list[Claim]:
    """The paper's claims on those of its sets that a run has, judged on the run."""
    groups = measures(results)
    chance, at = 1 / len(results["classes"]), reported(results, groups)
    attacked: list = [find(groups, n).get(at) for n in ("D_R", "D_NR", "D") if at]
    d_r, d_nr, plain = attacked or [None] * 3
    has = {entry["name"] for entry in results.get("sets") or []}
    judged = []
    for name in ("D_R", "D_NR", "D_rand", "D_det"):
        clean, good = find(groups, name).get(CLEAN), None
        if name == "D_R" and d_r and plain:
            good = above(d_r, plain) and above(d_r, chance)
        elif name == "D_NR" and clean and d_nr and d_r and plain:
            good = above(clean, chance) and above(d_r, d_nr) and not above(d_nr, plain)
        elif name in ("D_rand", "D_det") and clean:
            good = above(clean, chance)
        values = {"at": at, "d_r": d_r, "d_nr": d_nr, "plain": plain, "clean": clean}
        if name in has:
            judged.append(claim("main.txt", name, good, chance=chance, **values))
    return judged
