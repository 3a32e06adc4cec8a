"""How small the pushes of D_rand and D_det are, and how far matching got."""

import statistics
from collections.abc import Iterable
from typing import Any, NamedTuple

from nrf.report import page
from nrf.report.judge import Compared, compared
from nrf.report.results import CLEAN, Measure, Results, ball, grouped, networks

_SAID = ("target", "true", "other")


class Twins(NamedTuple):
    """A learner of two sets with the same recipe, by a standard and a robust source."""

    sets: list[str]  # The titles of both.
    learner: str
    accuracies: list[Measure]  # Of both, without attack.
    compared: Compared  # The robust source's less the standard one's.

    @property
    def verdict(self) -> str:
        """What the robust source teaches, beside the standard one."""
        difference = self.compared.difference
        if self.compared.doubt or difference is None:
            return "not judged"
        below, above = difference.below(), difference.above()
        return "less" if below else "more" if above else "not shown to differ"


def section(results: Results) -> str:
    """The section of the page; nothing where closeness was not measured."""
    if not results.get("closeness"):
        return ""
    return page.render(
        "closeness.html",
        sentences=sentences(results),
        pushed=_pushed(results),
        linear=any("linear" in one for one in _entries(results, "pushed")),
        twins=[_row(one) for one in twins(results)],
        matched=_matched(results),
        settings=results["config"]["closeness"],
    )


def sentences(results: Results) -> list[str]:
    """What the page and results.md say of it; [] where it was not measured."""
    said = []
    pushes = _entries(results, "pushed")
    for norm, epsilon in dict.fromkeys((e["norm"], e["epsilon"]) for e in pushes):
        those = [e for e in pushes if (e["norm"], e["epsilon"]) == (norm, epsilon)]
        sets = dict.fromkeys(_title(results, e["set"]) for e in those)
        said += page.words(
            "closeness.txt",
            "share",
            sets=" and ".join(sets) if len(sets) < 3 else ", ".join(sets),
            ball=ball(norm, epsilon),
            share=those[0]["share"],
            between=those[0]["between_classes"],
        )
    for one in twins(results):
        said += page.words("closeness.txt", "twins", twins=one)
    return said


def twins(results: Results) -> list[Twins]:
    """D_rand and D_det beside what the robust network's attacks make, by learner."""
    known = networks(results)
    adversarial = {n.name for n in known.values() if n.training == "adversarial"}
    groups = {
        **grouped(results, "students"),
        **grouped(results, "tables"),
        **grouped(results, "rows"),
    }
    of = {(n.trained_on, n.learner): cells for n, cells in groups.items()}
    learners = dict.fromkeys(network.learner for network in groups)
    pushed = {e["set"] for e in _entries(results, "pushed")}
    sets = [one for one in _configured(results) if one["name"] in pushed]
    found = []
    for one in sets:
        for twin in sets:
            same = all(one[part] == twin[part] for part in ("recipe", "of"))
            sources = one["source"] in adversarial, twin["source"] in adversarial
            if not same or sources != (False, True):
                continue
            for learner in learners:
                names = one["name"], twin["name"]
                cells = {n: of.get((n, learner), {}) for n in reversed(names)}
                if difference := compared(cells, CLEAN):
                    accuracies = [cells[name][CLEAN] for name in names]
                    titles = [_title(results, name) for name in names]
                    found.append(Twins(titles, learner, accuracies, difference))
    return found


def _configured(results: Results) -> list[dict[str, Any]]:
    """The sets of the figure, of the tables and of the controls, with their recipes."""
    config = results["config"]
    groups = [config, config.get("tables") or {}, config.get("controls") or {}]
    return [one for group in groups for one in group.get("sets") or []]


def _title(results: Results, name: str) -> str:
    titles = {one["name"]: one["title"] for one in results["sets"]}
    return titles.get(name) or name


def _entries(results: Results, part: str) -> list[dict[str, Any]]:
    """Of all seeds, in the order of the sets."""
    each = [one[part] for one in results.get("closeness") or []]
    return [entry for of_set in zip(*each, strict=True) for entry in of_set]


def _by_set(entries: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    sets: dict[str, list] = {}
    for entry in entries:
        sets.setdefault(entry["set"], []).append(entry)
    return sets


def _pushed(results: Results) -> list[list[str]]:
    """A row for each push: its size, and what is said of its images, over all seeds."""
    rows = []
    for name, entries in _by_set(_entries(results, "pushed")).items():
        total, first = sum(e["total"] for e in entries), entries[0]
        row = [_title(results, name), ball(first["norm"], first["epsilon"])]
        row.append(page.percent(first["share"], 0))
        for part in ("nearest", "linear"):
            for said in _SAID if part in first else ():
                count = sum(entry[part][said] for entry in entries)
                row.append(page.percent(count / total if total else None))
        rows.append(row)
    return rows


def _row(twins: Twins) -> list[str]:
    """Learner and set, both accuracies, the difference with its intervals, verdict."""
    difference = twins.compared.difference
    gap = [page.number(100 * difference.mean, "+.1f")] if difference else ["–"]
    ends = page.intervals(difference) if difference else []
    return [
        f"{twins.sets[0]}, {twins.learner}",
        *(page.told(measure, "|") for measure in twins.accuracies),
        "|".join([*gap, *ends]),
        twins.verdict,
    ]


def _matched(results: Results) -> list[list[str]]:
    """A row for each matched set: distances of features, means over seeds."""
    rows = []
    for name, entries in _by_set(_entries(results, "matched")).items():
        row = [_title(results, name)]
        for when in ("start", "stored", "long"):
            mean, median, largest = (
                statistics.fmean(entry[when][part] for entry in entries)
                for part in ("mean", "median", "largest")
            )
            row.append(f"{mean:.3g}|{median:.3g}; {largest:.3g}")
        rows.append(row)
    return rows
