"""D_R against D and against D_NR, at every radius and for every learner of a run.

D_R against D is the paper's claim about standard training: that its robustness comes
from the data. D_R against D_NR says less: these sets are made in one way, and differ in
the network alone whose features were matched.
"""

from collections.abc import Sequence
from typing import NamedTuple

from nrf.report import page
from nrf.report.judge import NOT_JUDGED, Compared, compared
from nrf.report.paper import PAPER
from nrf.report.results import (
    NETWORK,
    Cells,
    Column,
    Measures,
    Results,
    find,
    main_attack,
    networks,
)
from nrf.report.strongest import measures, strongest

AGAINST = ("D", "D_NR")


class AtRadius(NamedTuple):
    """What D_R's network has more than others, under one attack."""

    learner: str
    at: Column  # The strongest attack at the radius.
    against: dict[str, Compared]  # D_R less each of AGAINST that was measured.
    # (D_R - D) / (teacher - D); None where no teacher is surely more robust than D.
    recovered: float | None


def differences(results: Results, learner: str = NETWORK) -> list[AtRadius]:
    """By radius, for networks of that learner; [] without D_R, or attacks on it."""
    groups = of_learner(results, learner)
    teacher = find(measures(results), "D", "adversarial")
    d_r = find(groups, "D_R", learner=learner)
    others = {name: find(groups, name, learner=learner) for name in AGAINST}
    rows = []
    for column in main_attack(groups):
        pairs = {n: cells for n, cells in others.items() if column in cells}
        if column not in d_r or not pairs:
            continue
        at = strongest([d_r, *pairs.values()], column)
        against = {n: compared({"D_R": d_r, n: pairs[n]}, at) for n in pairs}
        known = {name: of for name, of in against.items() if of}
        share = recovered(d_r, others["D"], teacher, at)
        rows.append(AtRadius(learner, at, known, share))
    return rows


def of_learner(results: Results, learner: str) -> Measures:
    """The accuracies of the networks of one learner."""
    groups = measures(results, "rows" if learner == NETWORK else "students")
    return {n: cells for n, cells in groups.items() if n.learner == learner}


def learners(results: Results) -> list[str]:
    """The experiment's own network first, then its students in order."""
    return list(dict.fromkeys(n.learner for n in networks(results).values()))


def recovered(d_r: Cells, plain: Cells, teacher: Cells, at: Column) -> float | None:
    """How much of the teacher's robustness beyond D's is D_R's, as a share."""
    more = compared({"teacher": teacher, "D": plain}, at)
    if at not in d_r or more is None or more.difference is None:
        return None
    if more.difference.over_images[0] <= 0:
        return None  # A share of nothing.
    return (d_r[at].mean - plain[at].mean) / more.difference.mean


def published() -> tuple[float, float]:
    """The paper's share and its radius: half of that of adversarial training."""
    at = 0.25
    d_r, plain = PAPER["D_R", "standard"][at], PAPER["D", "standard"][at]
    teacher = PAPER["D", "adversarial"][at]
    return (d_r - plain) / (teacher - plain), at


class Section(NamedTuple):
    """The table of all differences, for a page and for results.md."""

    head: list[str]
    rows: list[list[str]]
    doubts: list[str]  # Why some are not judged, and which.
    paper: tuple[float, float]  # As `published`.
    several: bool  # Learners.


def section(results: Results, separator: str = "|") -> Section | None:
    """Of all learners; None where nothing was compared."""
    named = learners(results)
    rows = [row for learner in named for row in differences(results, learner)]
    if not rows:
        return None
    several = len({row.learner for row in rows}) > 1
    head = [*(["learner"] if several else []), "attack", "D_R − D", "D_R − D_NR"]
    table = [
        [
            *([row.learner] if several else []),
            row.at.label,
            *(_cell(row.against.get(name), separator) for name in AGAINST),
            page.percent(row.recovered, 0).replace("-", "−"),
        ]
        for row in rows
    ]
    return Section([*head, "recovered"], table, _doubts(rows), published(), several)


def _cell(of: Compared | None, separator: str) -> str:
    """+12.6: not shown|seeds [−3.3, 28.5]|images [8.2, 17.0], in points."""
    if of is None:
        return "–"
    if of.difference is None:
        return of.verdict.word
    told = [f"{page.number(100 * of.difference.mean, '+.1f')}: {of.verdict.word}"]
    return separator.join([*told, *page.intervals(of.difference)])


def _doubts(rows: Sequence[AtRadius]) -> list[str]:
    """Why some are not judged, each reason once; of which learner, if not of all."""
    found = [
        (row.learner, of.doubt)
        for row in rows
        for of in row.against.values()
        if of.verdict.word == NOT_JUDGED
    ]
    every = {row.learner for row in rows}
    told = []
    for learner, doubt in found:
        shared = every == {other for other, same in found if same == doubt}
        told.append(doubt if shared else f"{learner}: {doubt}")
    return list(dict.fromkeys(told))
