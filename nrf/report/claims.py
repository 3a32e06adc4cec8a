"""The paper's four claims, judged on a run's numbers by rules stated beside them."""

from collections.abc import Iterable
from typing import NamedTuple

from nrf.report import page
from nrf.report.results import (
    CLEAN,
    Column,
    Measure,
    Measures,
    Network,
    Results,
    bracket,
    headline,
    measures,
    percent,
)

SHOWN, NOT_SHOWN, NOT_MEASURED = "shown", "not shown", "not measured"
RULE = (
    "Above and below mean: the 95 % intervals do not overlap (or do not reach chance) "
    "and every seed agrees. A network that always gives the same answer is right by "
    "chance under any attack, so robustness has to be above chance to count."
)


class Claim(NamedTuple):
    title: str
    verdict: str  # SHOWN, NOT_SHOWN or NOT_MEASURED.
    measured: str
    rule: str


def html(judged: Iterable[Claim]) -> str:
    """The list of claims at the top of a page."""
    items = []
    for claim in judged:
        kind = claim.verdict.replace(" ", "-")
        items.append(
            f'<li class="{kind}"><b>{page.text(claim.title)}.</b> '
            f'<span class="verdict">{claim.verdict.capitalize()}.</span><br>'
            f"{page.text(claim.measured)}<br>"
            f'<span class="soft">Shown means: {page.text(claim.rule)}.</span></li>'
        )
    return f'<ol class="claims">\n{chr(10).join(items)}\n</ol>\n'


def judge(good: bool) -> str:
    return SHOWN if good else NOT_SHOWN


def above(a: Measure, b: Measure | float) -> bool:
    """Whether `a` is better than `b`, or than the fixed accuracy `b`, beyond doubt."""
    if isinstance(b, Measure):
        pairs = [
            (a.by_seed[seed], b.by_seed[seed])
            for seed in a.by_seed
            if seed in b.by_seed
        ]
        return a.interval[0] > b.interval[1] and all(x > y for x, y in pairs)
    return a.interval[0] > b and min(a.by_seed.values()) > b


def claims(results: Results) -> list[Claim]:
    """What the paper says of D_R, D_NR, D_rand and D_det, and what this run says."""
    groups = measures(results)
    chance = 1 / len(results["classes"])
    return [
        _robust(results, groups, chance),
        _not_robust(results, groups, chance),
        _mislabelled(
            groups,
            chance,
            "D_rand",
            "labels drawn at random teach the true classes",
            "labels are random targets of an attack",
        ),
        _mislabelled(
            groups,
            chance,
            "D_det",
            "labels that are always wrong teach the true classes",
            "every label is the class after the true one",
        ),
    ]


def _say(measure: Measure) -> str:
    return f"{percent(measure.mean)} {bracket(measure)}"


def _find(groups: Measures, name: str, at: Column | None) -> Measure | None:
    cells = groups.get(Network(name, "standard"), {})
    return cells.get(at) if at is not None else None


def _robust(results: Results, groups: Measures, chance: float) -> Claim:
    title = "D_R: standard training on robust features gives robustness"
    rule = "robust accuracy above chance, and above that of standard training on D"
    at = headline(results, groups)
    robust, plain = _find(groups, "D_R", at), _find(groups, "D", at)
    if not (at and robust and plain):
        return Claim(title, NOT_MEASURED, "Needs D_R and D under attack.", rule)
    measured = (
        f"At {at.label} its robust accuracy is {_say(robust)}; "
        f"that of standard training on D is {_say(plain)}."
    )
    good = above(robust, plain) and above(robust, chance)
    return Claim(title, judge(good), measured, rule)


def _not_robust(results: Results, groups: Measures, chance: float) -> Claim:
    title = "D_NR: non-robust features give accuracy without robustness"
    rule = (
        "standard accuracy above chance, robust accuracy below that of D_R and not "
        "above that of standard training on D"
    )
    at = headline(results, groups)
    clean, attacked = _find(groups, "D_NR", CLEAN), _find(groups, "D_NR", at)
    robust, plain = _find(groups, "D_R", at), _find(groups, "D", at)
    if not (at and clean and attacked and robust and plain):
        return Claim(title, NOT_MEASURED, "Needs D_NR, D_R and D under attack.", rule)
    measured = (
        f"Its standard accuracy is {_say(clean)} (chance {percent(chance)}); at "
        f"{at.label} its robust accuracy is {_say(attacked)}, that of D_R "
        f"{_say(robust)} and that of standard training on D {_say(plain)}."
    )
    good = (
        above(clean, chance) and above(robust, attacked) and not above(attacked, plain)
    )
    return Claim(title, judge(good), measured, rule)


def _mislabelled(
    groups: Measures, chance: float, name: str, what: str, labels: str
) -> Claim:
    title = f"{name}: {what}"
    rule = "standard accuracy on true labels above chance"
    clean = _find(groups, name, CLEAN)
    if clean is None:
        return Claim(title, NOT_MEASURED, f"Needs a network trained on {name}.", rule)
    measured = (
        f"Trained where {labels}, it is right on {_say(clean)} of the unchanged test "
        f"images (chance {percent(chance)})."
    )
    return Claim(title, judge(above(clean, chance)), measured, rule)
