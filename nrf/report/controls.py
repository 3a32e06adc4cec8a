"""What else could explain D_rand and D_det: the controls of a run, judged."""

import functools

from nrf import evaluate
from nrf.report import claims, page, paper
from nrf.report.claims import Claim
from nrf.report.judge import (
    NOT_SHOWN,
    REVERSED,
    SHOWN,
    Verdict,
    beyond,
    compared,
    where,
)
from nrf.report.provenance import constructed, outcome
from nrf.report.results import CLEAN, Results, grouped, measures
from nrf.report.table import cell

_BOTH = ("D_rand", "D_det")


def section(results: Results) -> str:
    """The section of the page; nothing where a run has no controls."""
    if not results.get("controls"):
        return ""
    groups = {**measures(results), **grouped(results, "controls")}
    # Each set stands above those that it was pushed at random for.
    pairs = [part for n in _BOTH for part in (n, pushes(results).get(n, ""))]
    others = [network.trained_on for network in grouped(results, "controls")]
    by_set = {network.trained_on: network for network in groups}
    rows = []
    for name in dict.fromkeys([*pairs, *others]):
        if network := by_set.get(name):
            made = constructed(results, name)
            attacked = any("reached_target" in entry for entry in made)
            told = ("attacked; " if attacked else "") + outcome(made)
            rows.append([network.title, cell(groups[network].get(CLEAN)), told])
    return page.render("controls.html", claims=judge(results), rows=rows)


def pushes(results: Results) -> dict[str, str]:
    """Sets and their random counterparts: images pushed as far, but anywhere."""
    return {
        one["source"][0]: one["name"]
        for one in results.get("sets") or []
        if any("mean_norm_noise" in e for e in constructed(results, one["name"]))
    }


def by_chance(results: Results, name: str) -> tuple[float, float]:
    """What 95 % of networks without a lesson get right, as the one after set `name`."""
    return evaluate.by_chance(
        [row["confusion"] for row in results["controls"] if row["trained_on"] == name]
    )


def judge(results: Results) -> list[Claim]:
    """The controls that a run has, as claims."""
    groups = {**grouped(results, "controls"), **measures(results)}
    of = {n.trained_on: cells for n, cells in groups.items() if CLEAN in cells}
    known, judged = paper.comparable(results), []
    claim = functools.partial(claims.claim, "controls.txt", "#table-controls")
    both = {name: pushes(results).get(name, "") for name in _BOTH}
    if all(name in of for pair in both.items() for name in pair):
        pairs = [(n, o, by_chance(results, o)) for n, o in both.items()]
        more = [compared({n: of[n], o: of[o]}, CLEAN) for n, o, _ in pairs]
        # Means may round otherwise than the quantile of the same counts.
        taught = [of[o][CLEAN].mean > chance[1] + 1e-9 for _, o, chance in pairs]
        good = where(*more, *(Verdict(NOT_SHOWN if t else SHOWN) for t in taught))
        told = [
            (n, of[n][CLEAN], of[o][CLEAN], gap and gap.difference, chance)
            for (n, o, chance), gap in zip(pairs, more, strict=True)
        ]
        judged.append(claim("noise", good, pairs=told))
    if "D_errors" in of:
        low, high = by_chance(results, "D_errors")
        wrong = of["D_errors"]
        values = {"wrong": wrong[CLEAN], "chance": (low, high), "known": known}
        good = where(beyond("D_errors", wrong, high))
        if good.word == REVERSED != where(beyond("D_errors", wrong, low)).word:
            good = Verdict(NOT_SHOWN)  # Within what chance gives.
        judged.append(claim("errors", good, **values))
    if "D_bugs" in of and "D_det" in of:
        less = compared({name: of[name] for name in ("D_det", "D_bugs")}, CLEAN)
        values = {"asked": results.get("asked") or [], "known": known}
        values |= {"ours": of["D_bugs"][CLEAN], "det": of["D_det"][CLEAN]}
        values |= {"gap": less and less.difference}
        judged.append(claim("bugs", where(less), **values))
    return judged
