"""The paper's claims, judged on a run's numbers by rules stated beside them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from nrf.report import page
from nrf.report.differences import differences
from nrf.report.judge import (
    NOT_MEASURED,
    NOT_SHOWN,
    SHOWN,
    Verdict,
    beyond,
    compared,
    unless,
    where,
)
from nrf.report.results import CLEAN, Results, find, reported
from nrf.report.strongest import measures, strongest

# A verdict, and what the template is to say.
Judged = tuple[Verdict, dict[str, Any]]


class Claim(NamedTuple):
    """A statement and what a run says of it."""

    title: str
    verdict: str  # Of the words in judge.py.
    measured: str
    rule: str
    evidence: str = ""  # Where its page has the numbers; none, if not measured.
    reason: str = ""  # Why it is not judged.


def claim(
    template: str,
    evidence: str,
    macro: str,
    good: bool | Verdict | None,
    /,
    **values: Any,
) -> Claim:
    """The claim that a macro of a template words; `good` None: it was not measured.

    The macro is called with `values`, and gives the title, what was measured and the
    rule, with empty lines between them. `evidence` is where the page has the numbers.
    """
    title, measured, rule = page.words(template, macro, **values)
    if not isinstance(good, Verdict):
        good = Verdict(NOT_MEASURED if good is None else SHOWN if good else NOT_SHOWN)
    at = "" if good.word == NOT_MEASURED else evidence
    return Claim(title, good.word, measured, rule, at, good.reason)


def claims(results: Results) -> list[Claim]:
    """The paper's claims on those of its sets that a run has, judged on the run."""
    differ, right = "#table-differences", "#table-accuracy"
    judges: dict[str, tuple[Callable[[Results, float], Judged], str]] = {
        "D_R": (functools.partial(_against, "D"), differ),
        "D_R_and_D_NR": (functools.partial(_against, "D_NR"), differ),
        "D_NR": (_not_robust, right),
        "D_rand": (functools.partial(_taught, "D_rand"), right),
        "D_det": (functools.partial(_taught, "D_det"), right),
    }
    has = {entry["name"] for entry in results.get("sets") or []}
    chance = 1 / len(results["classes"])
    judged = []
    for name, (judge, evidence) in judges.items():
        if has.issuperset(name.split("_and_")):
            verdict, values = judge(results, chance)
            values = {**values, "chance": chance}
            judged.append(claim("main.txt", evidence, name, verdict, **values))
    return judged


def _against(other: str, results: Results, chance: float) -> Judged:
    """D_R is more robust than another network, at the reported radius."""
    groups = measures(results)
    at = reported(results, groups)
    rows = [row for row in differences(results) if other in row.against]
    here = next((row for row in rows if at and row.at[1:3] == at[1:3]), None)
    if here is None:
        return Verdict(NOT_MEASURED), {}
    of, d_r = here.against[other], find(groups, "D_R")
    elsewhere: dict[str, list[str]] = {}
    for row in rows:
        if row is not here:
            word = row.against[other].verdict.word
            elsewhere.setdefault(word, []).append(row.at.label)
    return where(of, beyond("D_R", d_r, chance, here.at)), {
        "at": here.at,
        "of": of.difference,
        "d_r": d_r[here.at],
        "other": find(groups, other)[here.at],
        "elsewhere": elsewhere,
        "recovered": here.recovered if other == "D" else None,
    }


def _not_robust(results: Results, chance: float) -> Judged:
    """D_NR gives accuracy, and no more robustness than D."""
    groups = measures(results)
    d_nr, plain = find(groups, "D_NR"), find(groups, "D")
    at = reported(results, groups)
    if at is None or at not in d_nr or at not in plain:
        return Verdict(NOT_MEASURED), {}
    at = strongest([d_nr, plain], at)
    more = compared({"D_NR": d_nr, "D": plain}, at)
    return where(beyond("D_NR", d_nr, chance), unless(more)), {
        "at": at,
        "of": more and more.difference,
        "clean": d_nr.get(CLEAN),
        "d_nr": d_nr[at],
        "plain": plain[at],
    }


def _taught(name: str, results: Results, chance: float) -> Judged:
    """Labels that an attack was given teach the true classes."""
    cells = find(measures(results), name)
    of = beyond(name, cells, chance)
    if of is None:
        return Verdict(NOT_MEASURED), {}
    return of.verdict, {"clean": cells[CLEAN], "of": of.difference}
