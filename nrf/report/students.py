"""What learners of other kinds learn of the same sets: for whom the effects hold."""

from typing import Any

from nrf.report import page
from nrf.report.differences import differences, learners, of_learner
from nrf.report.judge import NOT_MEASURED
from nrf.report.results import (
    CLEAN,
    NETWORK,
    Column,
    Measures,
    Network,
    Results,
    columns,
    reported,
)
from nrf.report.table import cell, heading, ordered


def section(results: Results) -> str:
    """The section of the page; nothing where a run has no students."""
    if not results.get("students"):
        return ""
    return page.render(
        "students.html",
        sentences=sentences(results),
        head=_head(results),
        rows=rows(results),
        exact=bool(_exact(results)),
    )


def sentences(results: Results) -> list[str]:
    """Who the students are, and for whom D_R's effect holds; [] without students."""
    config = results["config"].get("students") or {}
    students = {name: one for name, one in config.items() if one}
    if not students:
        return []
    about = [
        " ".join(page.words("students.txt", "student", name=name, student=student))
        for name, student in students.items()
    ]
    found: dict[str, list[str]] = {}
    at: Column | None = reported(results, of_learner(results, NETWORK))
    for learner in learners(results):
        for row in differences(results, learner):
            if at and row.at.epsilon == at.epsilon:
                of = row.against.get("D")
                word = of.verdict.word if of else NOT_MEASURED
                told = f": {page.gap(of.difference)}" if of and of.difference else ""
                found.setdefault(word, []).append(learner + told)
    effect = page.words("students.txt", "effect", at=at, found=found) if found else []
    return [*effect, *about]


def rows(results: Results) -> list[list[str]]:
    """A row for every learner and set: accuracies without attack and at all radii."""
    groups = _groups(results)
    shown, exact = _columns(results, groups), _exact(results)
    return [
        [
            network.learner,
            network.title.removesuffix(f", {network.learner}"),
            *(
                cell(cells.get(column), more=_at_least(exact.get((network, column))))
                for column in shown
            ),
        ]
        for network, cells in groups.items()
    ]


def _head(results: Results) -> list[str]:
    own, shown = of_learner(results, NETWORK), _columns(results, _groups(results))
    return ["learner", "trained on", *(heading(column, own) for column in shown)]


def _columns(results: Results, groups: Measures) -> list[Column]:
    # Of the attacks that all learners have, what verdicts are given at.
    return ordered(columns(groups), reported(results, groups), CLEAN)


def _groups(results: Results) -> Measures:
    """Of the figure's networks, and then of each student's."""
    return {
        network: cells
        for learner in learners(results)
        for network, cells in of_learner(results, learner).items()
    }


def _exact(results: Results) -> dict[tuple[Network, Column], float]:
    """The share of images that no perturbation can change, of linear students."""
    groups, counts = _groups(results), {}
    for network, cells in groups.items():
        for column in cells:
            those = [
                row
                for row in results["students"]
                if row["network"] == network.name
                and "exact" in row
                and Column(*(row[part] for part in Column._fields)) == column
            ]
            if those:
                total: Any = sum(row["total"] for row in those)
                counts[network, column] = sum(row["exact"] for row in those) / total
    return counts


def _at_least(share: float | None) -> str:
    return "" if share is None else f"|at least {page.percent(share)}"
