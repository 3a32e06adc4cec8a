"""What else could explain D_rand and D_det: the controls of a run, judged."""

import numpy as np

from nrf.report import claims, page, paper
from nrf.report.claims import Claim, above
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
    """The accuracies that 95 % of networks without a lesson have; means over seeds.

    Labels without a meaning could as well be in any other order: the accuracies are
    those of the same networks with their classes' names permuted at random.
    """
    confusions = [
        np.asarray(row["confusion"])
        for row in results["controls"]
        if row["trained_on"] == name
    ]
    generator = np.random.default_rng(0)
    classes = np.arange(len(results["classes"]))

    def draw() -> float:
        of_seeds = [
            confusion[classes, generator.permutation(classes)].sum() / confusion.sum()
            for confusion in confusions
        ]
        return float(np.mean(of_seeds))

    low, high = np.quantile([draw() for _ in range(2000)], (0.025, 0.975))
    return float(low), float(high)


def judge(results: Results) -> list[Claim]:
    """The controls that a run has, as claims."""
    groups = {**grouped(results, "controls"), **measures(results)}
    clean = {n.trained_on: of[CLEAN] for n, of in groups.items() if CLEAN in of}
    known, judged = paper.comparable(results), []
    of = {name: pushes(results).get(name, "") for name in _BOTH}
    if all(name in clean for pair in of.items() for name in pair):
        pairs = [(n, clean[n], clean[o], by_chance(results, o)) for n, o in of.items()]
        good = all(
            above(plain, pushed) and pushed.mean <= chance[1]
            for _, plain, pushed, chance in pairs
        )
        judged.append(claims.claim("controls.txt", "noise", good, pairs=pairs))
    if wrong := clean.get("D_errors"):
        low, high = by_chance(results, "D_errors")
        values = {"wrong": wrong, "chance": (low, high), "known": known}
        good = wrong.mean > high
        judged.append(claims.claim("controls.txt", "errors", good, **values))
    if (ours := clean.get("D_bugs")) and (det := clean.get("D_det")):
        values = {"asked": results.get("asked") or [], "known": known}
        values |= {"ours": ours, "det": det}
        judged.append(claims.claim("controls.txt", "bugs", above(det, ours), **values))
    return judged
