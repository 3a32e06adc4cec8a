"""Robust accuracies beside AutoAttack's, and what the evidence says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from nrf.evaluate import BELIEVABLE, Evidence
from nrf.report import page, paper
from nrf.report.results import (
    AUTOATTACK,
    Column,
    Network,
    Results,
    ball,
    by_network,
)
from nrf.report.strongest import LAST, withstood
from nrf.report.table import cell, remarks

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
        cell=lambda entries, part: cell(withstood(entries, part)),
        verdict=verdict,
        ball=ball(entries[0]["norm"], entries[0]["epsilon"]),
        images=entries[0]["total"],
        settings=results["config"]["autoattack"],
        wrong=wrong(groups),
        remarks=left_open(groups),
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


def left_open(groups: Groups) -> list[str]:
    """What is left open of PGD's and AutoAttack's accuracies that are marked ✓."""
    marked = {
        network: {
            Column(name, of[0]["norm"], of[0]["epsilon"]): withstood(of, component)
            for name, component in (("pgd", "pgd"), (AUTOATTACK, LAST))
        }
        for network, of in groups.items()
    }
    return remarks(marked)


def wrong(groups: Groups) -> list[str]:
    """A sentence for every finding, and where it was made."""
    told = []
    for network, entries in groups.items():
        for attack, name in (("pgd", "PGD"), ("autoattack", "AutoAttack")):
            for entry in entries:
                where = f"{network.title}, seed {entry['seed']}, {name}"
                seen = Evidence.from_dict(entry["evidence"][attack])
                told += [f"{where}: {f.name}. {f.sentence}" for f in seen.findings]
    return told
