"""How the sets of a run were made, and how far that got."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from nrf.report import page
from nrf.report.results import Results, networks


def construction(results: Results) -> list[list[str]]:
    """A row for each set: how it was made, its settings, and how far that got."""
    titles = {name: network.title for name, network in networks(results).items()}
    rows = []
    for one in results.get("sets") or []:
        made = constructed(results, one["name"])
        of = made[0].get("settings") or {} if made else {}
        of = {**of, **(of.get("attack") or {})}
        sources = [titles.get(name, name) for name in one.get("source") or []]
        settings = page.words("sets.txt", "how", of=of, sources=sources)
        how = "|".join([one.get("text") or "", *settings])
        rows.append([one.get("title") or one["name"], how, outcome(made)])
    return rows


def constructed(results: Results, name: str) -> list[dict[str, Any]]:
    """What was measured of a set when it was made, in each seed."""
    return [e for e in results.get("constructed") or [] if e["set"] == name]


def outcome(made: Sequence[Mapping[str, Any]]) -> str:
    """How far the making of a set got, in words; means over seeds."""
    if not made:
        return "not recorded"

    def mean(name: str) -> float:
        return statistics.fmean(entry[name] for entry in made)

    usual = ("set", "seed", "data", "source", "settings")
    numbers = {
        name: max(e[name] for e in made) if name == "max_norm" else mean(name)
        for name, value in made[0].items()
        if name not in usual and isinstance(value, int | float)
    }
    return page.words("sets.txt", "outcome", of=numbers)[0] if numbers else "–"
