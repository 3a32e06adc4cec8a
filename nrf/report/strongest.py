"""The strongest attack that a run has at a radius: AutoAttack, or else its PGD."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nrf.report import marks
from nrf.report.results import (
    AUTOATTACK,
    Cells,
    Column,
    Measure,
    Measures,
    Results,
    by_network,
)
from nrf.report.results import measures as by_pgd

LAST = "square"  # What withstands it has withstood AutoAttack.


def measures(results: Results, part: str = "rows") -> Measures:
    """Those of `results.measures`, and AutoAttack's where it was run."""
    groups = by_pgd(results, part)
    for network, entries in by_network(results, "autoattack").items():
        if network in groups:
            at = Column(AUTOATTACK, entries[0]["norm"], entries[0]["epsilon"])
            address = at.address(network.name)
            groups[network][at] = withstood(entries, LAST)._replace(address=address)
    return groups


def autoattack_at(at: Column) -> Column:
    """AutoAttack's column at the radius of another."""
    return Column(AUTOATTACK, at.norm, at.epsilon)


def strongest(networks: Iterable[Cells], at: Column) -> Column:
    """Of the columns at the radius of `at`, the strongest that all networks have."""
    strong = autoattack_at(at)
    return strong if all(strong in cells for cells in networks) else at


def withstood(entries: Sequence[Mapping[str, Any]], component: str) -> Measure:
    """Accuracies under AutoAttack up to `component`; "pgd" for PGD's."""
    pgd, total = component == "pgd", entries[0]["total"]
    by_seed = {}
    for entry in entries:
        of = entry["evidence"]["pgd"] if pgd else entry
        count = of["withstood"] if pgd else of["withstood"][component]
        by_seed[entry["seed"]] = count / total
    if component not in ("pgd", LAST):
        return Measure(by_seed, total)
    # Of these two the evidence is saved, and which images they are.
    kind, name = ("pgd", "pgd_right") if pgd else ("autoattack", "right")
    seen = marks.seen((entry["seed"], entry["evidence"][kind]) for entry in entries)
    packed = {entry["seed"]: entry[name] for entry in entries if name in entry}
    known = packed if len(packed) == len(entries) else None
    wrong, remarks = marks.wrong(seen), marks.left_open(seen)
    return Measure(by_seed, total, wrong, remarks, known, seen)
