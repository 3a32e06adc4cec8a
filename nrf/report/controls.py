"""What else could explain D_rand and D_det: the controls of a run, judged."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nrf.report import claims, page, paper
from nrf.report.claims import Claim, above
from nrf.report.results import (
    CLEAN,
    Measure,
    Network,
    Results,
    bracket,
    grouped,
    measures,
    percent,
)
from nrf.report.table import cell

# In %, CIFAR-10: Wallace; Nakkiran, l2, of D_det and of his set.
WALLACE, NAKKIRAN = 49.7, (33.2, 2.8)
_BOTH = ("D_rand", "D_det")


def section(results: Results) -> str:
    """The section of the page; nothing where a run has no controls."""
    rows = results.get("controls") or []
    judged = judge(results)
    if not judged:
        return ""
    found = {**measures(results), **grouped(rows)}
    names = ("D_rand", "D_rand_shaken", "D_det", "D_det_shaken", "D_bugs", "D_errors")
    table = [
        [network.label, cell(found[network].get(CLEAN), "|"), images(results, name)]
        for name in names
        if (network := Network(name, "standard")) in found
    ]
    return page.section(
        "What else it could be",
        page.paragraph(
            "The paper's readers asked what else than non-robust features could make "
            "D_rand and D_det teach the true classes. Each answer is a set of its own, "
            "with the labels of D_rand or D_det and other images, or other labels and "
            "the images as they are."
        ),
        claims.html(judged),
        page.table(["trained on", "standard accuracy", "images"], table),
        page.paragraph(
            "By chance: what the same networks would have with the names of their "
            "classes permuted. A network without a lesson still gives most images of a "
            "class one label, so that its accuracy varies far more than the interval "
            "of so many independent images says.",
            note=True,
        ),
    )


def images(results: Results, name: str) -> str:
    """How a set was made, and how far that got; means over seeds."""
    made = [
        entry
        for entry in (*(results.get("attacks") or []), *(results.get("sets") or []))
        if entry["set"] == name
    ]

    def mean(key: str) -> float:
        return sum(entry[key] for entry in made) / len(made)

    if not made:
        return "–"
    if name == "D_errors":
        return f"unchanged; the {percent(mean('wrong'))} that a network got wrong"
    if "mean_norm" in made[0]:
        return (
            f"moved at random, by {mean('mean_norm_noise'):.3g} in ℓ₂ "
            f"(the attack: {mean('mean_norm'):.3g})"
        )
    largest = max(entry["max_norm"] for entry in made)
    return (
        f"attacked; target reached by {percent(mean('reached_target'))}, largest "
        f"change {largest:.3g}"
    )


def by_chance(results: Results, name: str) -> tuple[float, float]:
    """The accuracies that 95 % of networks without a lesson have; means over seeds.

    Labels without a meaning could as well be in any other order: the accuracies are
    those of the same networks with their classes' names permuted at random.
    """
    found = [
        np.asarray(row["confusion"])
        for row in results["controls"]
        if row["trained_on"] == name
    ]
    generator = np.random.default_rng(0)
    classes = np.arange(len(results["classes"]))

    def draw() -> float:
        of_seeds = [
            confusion[classes, generator.permutation(classes)].sum() / confusion.sum()
            for confusion in found
        ]
        return float(np.mean(of_seeds))

    low, high = np.quantile([draw() for _ in range(2000)], (0.025, 0.975))
    return float(low), float(high)


def judge(results: Results) -> list[Claim]:
    """The controls that a run has, as claims."""
    found = {**measures(results), **grouped(results.get("controls") or [])}

    def clean(name: str) -> Measure | None:
        return found.get(Network(name, "standard"), {}).get(CLEAN)

    known = paper.comparable(results)
    judged = []
    shaken = clean("D_rand_shaken"), clean("D_det_shaken")
    if shaken[0] and shaken[1]:
        judged.append(_noise(results, clean))
    wrong = clean("D_errors")
    if wrong:
        judged.append(_errors(results, wrong, known))
    ours, det = clean("D_bugs"), clean("D_det")
    if ours and det:
        judged.append(_bugs(results, ours, det, known))
    return judged


def _noise(results: Results, clean: Callable[[str], Any]) -> Claim:
    pairs = [(name, clean(name), clean(f"{name}_shaken")) for name in _BOTH]
    told = "; ".join(
        f"{name} {_say(plain)}, with random perturbations {percent(shaken.mean)} "
        f"(by chance {_range(by_chance(results, f'{name}_shaken'))})"
        for name, plain, shaken in pairs
    )
    good = all(
        above(plain, shaken) and shaken.mean <= by_chance(results, f"{name}_shaken")[1]
        for name, plain, shaken in pairs
    )
    return Claim(
        "Random perturbations as long as the attack's teach nothing",
        claims.judge(good),
        f"{told}. Without a push, D_det's labels teach the class after the true one, "
        "so that it falls below chance.",
        "with the same labels on randomly moved images, standard accuracy is below "
        "that with the attack's, and not above what 95 % of networks have by chance",
    )


def _errors(results: Results, wrong: Measure, known: bool) -> Claim:
    theirs = f" Wallace, ResNet-18: {WALLACE:g} %." if known else ""
    low, high = by_chance(results, "D_errors")
    return Claim(
        "Wrong labels on unchanged images teach the true classes too, if they are the "
        "errors of a network",
        claims.judge(wrong.mean > high),
        f"Standard accuracy {_say(wrong)} (by chance {_range((low, high))}).{theirs} "
        "The paper's authors answer that errors carry what the network knows: a "
        "distillation of its features, as D_rand is.",
        "standard accuracy on true labels above what 95 % of networks have by chance",
    )


def _bugs(results: Results, ours: Measure, det: Measure, known: bool) -> Claim:
    theirs = ""
    if known:
        theirs = f" Nakkiran, ResNet-18: {NAKKIRAN[0]:g} % and {NAKKIRAN[1]:g} %."
    return Claim(
        "There are perturbations that fool one network and teach little",
        claims.judge(above(det, ours)),
        f"D_det {_say(det)}; with attacks that other networks withstand "
        f"{_say(ours)}.{theirs} {_transferred(results.get('bugs') or [])}",
        "where other networks were not to be moved, standard accuracy is below D_det's",
    )


def _transferred(found: list[Mapping[str, Any]]) -> str:
    def share(name: str, network: str) -> str:
        reached = sum(entry[name][network] for entry in found)
        return percent(reached / sum(entry["total"] for entry in found))

    if not found:
        return ""
    return (
        f"The attacked network takes {share('D_det', 'standard')} of D_det's images "
        f"for their new label and {share('D_bugs', 'standard')} of these; one of "
        f"another seed {share('D_det', 'fresh')} and {share('D_bugs', 'fresh')}."
    )


def _range(ends: tuple[float, float]) -> str:
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"


def _say(measure: Measure) -> str:
    return f"{percent(measure.mean)} {bracket(measure)}"
