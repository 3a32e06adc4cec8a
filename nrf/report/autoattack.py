"""Robust accuracies beside AutoAttack's, and what the evidence says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from nrf.evaluate import BELIEVABLE, Evidence
from nrf.report import claims, page, paper
from nrf.report.claims import NOT_MEASURED, Claim, above
from nrf.report.results import (
    STANDARD,
    Measure,
    Network,
    Results,
    bracket,
    findings,
    norm_name,
    percent,
    radius,
)
from nrf.report.table import cell

COMPONENTS = {"apgd-ce": "APGD-CE", "apgd-t": "APGD-T", "fab-t": "FAB-T"}
_LAST = "square"  # What withstands it has withstood AutoAttack.
D_R = Network("D_R", "standard")
# What is shown of the evidence.
PGD = ("lost_to_other", "lost_to_more_steps", "missed", "large_withstood")
AUTOATTACK = ("only_blind", "largest")

Entries = Sequence[Mapping[str, Any]]


def section(results: Results) -> str:
    """The section of the page; nothing where AutoAttack was not run."""
    found: Entries = results.get("suite") or []
    if not found:
        return ""
    groups = by_network(found)
    first = found[0]
    ball = f"{norm_name(first['norm'])}, "
    ball += f"ε = {radius(first['norm'], first['epsilon'])}"
    settings = results["config"]["suite"]
    blocks = [
        claims.html([judge(groups, 1 / len(results["classes"]))]),
        page.table(*accuracies(groups)),
        page.paragraph(
            f"{ball}; the same {first['total']:,} test images in every column and "
            "seed. PGD: as in the tables above. To its right: what withstands each "
            "part of AutoAttack's standard sequence and all before it. These are "
            f"Auto-PGD on the cross-entropy ({settings['steps']} steps) and on the "
            "difference of logits ratio towards the likeliest wrong classes, FAB "
            "towards the same, and Square, which needs no gradients "
            f"({settings['queries']:,} queries). The last column is AutoAttack's "
            "robust accuracy.",
            note=True,
        ),
        page.table(*verdicts(groups)),
        *said(groups),
    ]
    if paper.comparable(results):
        blocks.append(
            page.paragraph(
                "The authors' adversarially trained ResNet-50 has 70.1 % under PGD and "
                "69.2 % under AutoAttack at ℓ₂, ε = 0.5 (RobustBench).",
                note=True,
            )
        )
    return page.section("Can these robust accuracies be believed?", *blocks)


def by_network(found: Entries) -> dict[Network, list[Mapping[str, Any]]]:
    groups: dict[Network, list[Mapping[str, Any]]] = {}
    for entry in found:
        network = Network(entry["trained_on"], entry["training"])
        groups.setdefault(network, []).append(entry)
    return groups


def withstood(entries: Entries, component: str) -> Measure:
    """Accuracies under AutoAttack up to `component`; "pgd" for PGD's."""

    def count(entry: Mapping[str, Any]) -> int:
        if component == "pgd":
            return entry["evidence"]["pgd"]["withstood"]
        return entry["withstood"][component]

    by_seed = {entry["seed"]: count(entry) / entry["total"] for entry in entries}
    judged = {"pgd": "pgd", _LAST: "autoattack"}.get(component)
    wrong = None
    if judged:
        names = [n for e in entries for n in findings(e["evidence"][judged])]
        wrong = tuple(dict.fromkeys(names))
    return Measure(by_seed, entries[0]["total"], wrong)


def accuracies(groups: Mapping[Network, Entries]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: a network each, from no attack to the whole sequence."""
    columns = ("clean", "pgd", *COMPONENTS, _LAST)
    head = ["trained on", "standard", "PGD", *COMPONENTS.values(), "Square: AutoAttack"]
    return head, [
        [network.label, *(cell(withstood(entries, name), "|") for name in columns)]
        for network, entries in groups.items()
    ]


def judge(groups: Mapping[Network, Entries], chance: float) -> Claim:
    """Whether D_R gives robustness that AutoAttack does not take."""
    title = "D_R's robustness withstands AutoAttack"
    rule = (
        "under AutoAttack the robust accuracy of D_R is above chance, and above that "
        "of standard training on D"
    )
    if not {STANDARD, D_R} <= set(groups):
        return Claim(title, NOT_MEASURED, "Needs D_R and D.", rule)
    robust, plain = (withstood(groups[network], _LAST) for network in (D_R, STANDARD))
    by_pgd = withstood(groups[D_R], "pgd")
    measured = (
        f"D_R {percent(robust.mean)} {bracket(robust)} (PGD: {percent(by_pgd.mean)}); "
        f"standard training on D {percent(plain.mean)} {bracket(plain)}."
    )
    good = above(robust, plain) and above(robust, chance)
    return Claim(title, claims.judge(good), measured, rule)


def verdicts(groups: Mapping[Network, Entries]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: what the evidence says of PGD's accuracy and AutoAttack's."""
    head = [
        *("trained on", "PGD", "lost to AutoAttack", "lost to twice the steps"),
        *("no gradient", "left at a huge ε"),
        *("AutoAttack", "lost to Square alone", "largest change"),
    ]
    return head, [
        [network.label, *_verdict(evidence(entries, "pgd"), PGD)]
        + _verdict(evidence(entries, "autoattack"), AUTOATTACK)
        for network, entries in groups.items()
    ]


def evidence(entries: Entries, attack: str) -> list[Evidence]:
    """That of "pgd" or "autoattack", of every seed."""
    return [Evidence.from_dict(entry["evidence"][attack]) for entry in entries]


def _verdict(seen: Sequence[Evidence], shown: Sequence[str]) -> list[str]:
    """The verdict, and some of the numbers."""
    total = sum(e.total for e in seen)

    def number(name: str) -> str:
        if name == "largest":
            return f"{max(e.largest / e.epsilon for e in seen):.4f} ε"
        counts = [getattr(e, name) for e in seen]
        return "not checked" if None in counts else percent(sum(counts) / total)

    wrong = dict.fromkeys(finding.name for e in seen for finding in e.findings)
    return [", ".join(wrong) or BELIEVABLE, *map(number, shown)]


def said(groups: Mapping[Network, Entries]) -> list[str]:
    """A paragraph for every finding, in its sentence."""
    blocks = []
    for network, entries in groups.items():
        for attack, name in (("pgd", "PGD"), ("autoattack", "AutoAttack")):
            for entry, seen in zip(entries, evidence(entries, attack), strict=True):
                where = f"{network.label}, seed {entry['seed']}, {name}"
                blocks += [
                    page.paragraph(f"{where}: {finding.name}. {finding.sentence}")
                    for finding in seen.findings
                ]
    note = page.paragraph(
        "Believable means that nothing of the checklist speaks against it: nothing is "
        "infinite or NaN, perturbations stay in the ball and pixels in [0, 1], the "
        "network is deterministic and looks at every image by itself, its outputs are "
        "no probabilities, gradients do not vanish where the attack fails, twice the "
        "steps and other attacks do not find much more, and a radius at which every "
        "image can become grey leaves nothing. It is no proof.",
        note=True,
    )
    return (
        [page.details("What is wrong, in words", *blocks), note] if blocks else [note]
    )
