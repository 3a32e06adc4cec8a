"""Robust accuracies beside AutoAttack's, and what the evidence says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from nrf.evaluate import BELIEVABLE, Evidence
from nrf.report import claims, page, paper
from nrf.report.claims import Claim, above
from nrf.report.results import Measure, Network, Results, ball, by_network, findings
from nrf.report.table import cell

_LAST = "square"  # What withstands it has withstood AutoAttack.
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
        claims=[judge(groups, 1 / len(results["classes"]))],
        groups=groups,
        cell=lambda entries, part: cell(withstood(entries, part)),
        verdict=verdict,
        ball=ball(entries[0]["norm"], entries[0]["epsilon"]),
        images=entries[0]["total"],
        settings=results["config"]["autoattack"],
        wrong=wrong(groups),
        known=paper.comparable(results),
    )


def withstood(entries: Sequence[Mapping[str, Any]], component: str) -> Measure:
    """Accuracies under AutoAttack up to `component`; "pgd" for PGD's."""
    by_seed = {}
    for entry in entries:
        pgd = component == "pgd"
        of = entry["evidence"]["pgd"] if pgd else entry
        count = of["withstood"] if pgd else of["withstood"][component]
        by_seed[entry["seed"]] = count / entry["total"]
    judged = {"pgd": "pgd", _LAST: "autoattack"}.get(component)
    names = None
    if judged:
        each = [name for e in entries for name in findings(e["evidence"][judged])]
        names = tuple(dict.fromkeys(each))
    return Measure(by_seed, entries[0]["total"], names)


def judge(groups: Groups, chance: float) -> Claim:
    """Whether D_R gives robustness that AutoAttack does not take."""
    of = {(n.trained_on, n.training): entries for n, entries in groups.items()}
    ours, plain = of.get(("D_R", "standard")), of.get(("D", "standard"))
    if not (ours and plain):
        return claims.claim("autoattack.txt", "robust", None)
    robust, theirs = withstood(ours, _LAST), withstood(plain, _LAST)
    good = above(robust, theirs) and above(robust, chance)
    values = {"robust": robust, "plain": theirs, "by_pgd": withstood(ours, "pgd")}
    return claims.claim("autoattack.txt", "robust", good, **values)


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
