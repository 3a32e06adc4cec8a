"""Robust accuracies beside AutoAttack's, and what the evidence says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from nrf.evaluate import BELIEVABLE, Evidence
from nrf.report import page, paper, strongest
from nrf.report.results import (
    AUTOATTACK,
    NETWORK,
    Column,
    Measure,
    Network,
    Results,
    ball,
    by_network,
    main_attack,
)
from nrf.report.strongest import withstood
from nrf.report.table import cell

# What is shown of the evidence.
_SHOWN = {
    "pgd": ("lost_to_other", "lost_to_more_steps", "missed", "large_withstood"),
    "autoattack": ("only_blind", "largest"),
}

Groups = Mapping[Network, Sequence[Mapping[str, Any]]]


def section(results: Results) -> str:
    """The section of the page; nothing where AutoAttack was not run."""
    entries = results.get("autoattack") or []
    if not entries:
        return ""
    groups = by_network(results, "autoattack")
    return page.render(
        "autoattack.html",
        groups=groups,
        cell=lambda network, part: cell(_measure(results, network, part)),
        verdict=verdict,
        ball=ball(entries[0]["norm"], entries[0]["epsilon"]),
        images=entries[0]["total"],
        settings=results["config"]["autoattack"],
        known=paper.comparable(results),
    )


def verdict(entries: Sequence[Mapping[str, Any]], attack: str) -> list[str]:
    """What the evidence says of an attack's accuracy, and some of its numbers."""
    seen = [Evidence.from_dict(entry["evidence"][attack]) for entry in entries]
    names = dict.fromkeys(finding.name for e in seen for finding in e.findings)
    cells = [", ".join(names) or BELIEVABLE]
    for name in _SHOWN[attack]:
        counts = [getattr(e, name) for e in seen]
        if name == "largest":
            cells.append(f"{max(e.largest / e.epsilon for e in seen):.4f} ε")
        elif None in counts:
            cells.append("not checked")
        else:
            cells.append(page.percent(sum(counts) / sum(e.total for e in seen)))
    return cells


def _measure(results: Results, network: Network, part: str) -> Measure:
    """What withstands a part of the sequence, with the marks of the other tables."""
    entries = by_network(results, "autoattack")[network]
    measure = withstood(entries, part)
    part_of = "rows" if network.learner == NETWORK else "students"
    marked = strongest.measures(results, part_of).get(network, {})
    at = Column(AUTOATTACK, entries[0]["norm"], entries[0]["epsilon"])
    if part == "pgd":
        those = [c for c in main_attack({network: marked}) if c[1:3] == at[1:3]]
        at = those[0] if those else at
    address = marked[at].address if at in marked and measure.seen else ""
    return measure._replace(address=address)
