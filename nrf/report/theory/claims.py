"""The theory's statements, judged on the numbers of theory.json by stated rules."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nrf.evaluate import Score
from nrf.report.claims import NOT_MEASURED, Claim, judge
from nrf.report.results import Results, percent

ERRORS = 3  # Standard errors that chance may explain.


def claims(theory: Results) -> list[Claim]:
    return [
        _robust_covariance(theory),
        _relaxation(theory),
        _maximiser(theory),
        _vulnerability(theory),
        _alignment(theory),
        _ellipses(theory),
    ]


def distance(a: Any, b: Any) -> float:
    """Relative Frobenius distance of a to b."""
    b = np.asarray(b)
    return float(np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b))


def numbers(values: Any, digits: int = 3) -> str:
    """A vector in print, kept on one line."""
    said = [f"{value:.{digits}g}".replace("-", "−") for value in np.ravel(values)]
    return ",\N{NO-BREAK SPACE}".join(said)


def _relaxation_gap(theory: Results, panel: Mapping[str, Any]) -> float | None:
    """Distance of the panel's closed form to the solution per sample; None: unknown."""
    exact = theory["exact"]
    for epsilon, eigenvalues in zip(
        exact["epsilon"], exact["eigenvalues"], strict=True
    ):
        if np.isclose(epsilon, panel["epsilon"]):
            return distance(np.diag(eigenvalues), panel["cov"])
    return None


def _robust_covariance(theory: Results) -> Claim:
    title = (
        "Theorem 2: robust maximum likelihood keeps the mean and inflates the "
        "covariance"
    )
    rule = (
        "for every ε of the panels below, what is learned from samples has its mean "
        "within three standard errors of the true one, each variance above the true "
        "one, and its covariance as near to the closed form as three standard errors "
        "and the relaxation allow"
    )
    mean, cov = (np.asarray(theory["problem"][name]) for name in ("mean", "cov"))
    samples = theory["problem"]["samples"]
    panels = [panel for panel in theory["panels"] if panel["epsilon"] > 0]
    gaps = [_relaxation_gap(theory, panel) for panel in panels]
    if not panels or None in gaps:
        needs = "Needs the solution per sample at the ε of the panels."
        return Claim(title, NOT_MEASURED, needs, rule)
    # How far the mean and the covariance of so many samples are from the true ones.
    of_mean = ERRORS * float(np.sqrt(np.trace(cov) / samples))
    square = np.trace(cov) ** 2 + np.linalg.norm(cov) ** 2
    of_cov = ERRORS * float(np.sqrt(square / samples) / np.linalg.norm(cov))
    good, said = True, []
    for panel, gap in zip(panels, gaps, strict=True):
        fitted = np.asarray(panel["fitted_cov"])
        moved = float(np.linalg.norm(np.asarray(panel["fitted_mean"]) - mean))
        error = distance(fitted, panel["cov"])
        good &= moved <= of_mean and error <= of_cov + (gap or 0)
        good &= bool(np.all(np.diag(fitted) > np.diag(cov)))
        said.append(
            f"At ε = {panel['epsilon']:g} the variances {numbers(np.diag(cov))} become "
            f"{numbers(np.diag(fitted))}: {percent(error)} from the closed form (the "
            f"relaxation alone: {percent(gap or 0)}); the mean moves by {moved:.2g}."
        )
    said.append(
        f"Three standard errors of {samples:,} samples are {percent(of_cov)} of the "
        f"covariance and {of_mean:.2g} of the mean."
    )
    return Claim(title, judge(good), " ".join(said), rule)


def by_spectrum(theory: Results) -> dict[str, list[dict[str, Any]]]:
    """The entries of `dimensions`, in rising dimension."""
    found = defaultdict(list)
    for entry in sorted(theory["dimensions"], key=lambda entry: entry["dimension"]):
        found[entry["spectrum"]].append(entry)
    return dict(found)


def _relaxation(theory: Results) -> Claim:
    title = (
        "The relaxation in Theorem 2 fades in high dimension, but only if the "
        "adversary's budget is spread"
    )
    rule = (
        "from the lowest dimension to the highest, the difference falls below a fifth "
        "with the uniform spectrum and stays above a half with one tiny direction"
    )
    groups = by_spectrum(theory)
    series = [groups.get(name, []) for name in ("uniform", "one tiny direction")]
    if min(map(len, series)) < 2:
        return Claim(title, NOT_MEASURED, "Needs both spectra in two dimensions.", rule)
    uniform, tiny = (
        entries[-1]["difference"] / entries[0]["difference"] for entries in series
    )
    said = [
        f"{percent(entries[0]['difference'])} in {entries[0]['dimension']} dimensions "
        f"and {percent(entries[-1]['difference'])} in {entries[-1]['dimension']}"
        for entries in series
    ]
    measured = (
        "Relaxed and exact variances differ by up to "
        f"{said[0]} with the uniform spectrum; by {said[1]} with one tiny direction."
    )
    return Claim(title, judge(uniform < 0.2 and tiny > 0.5), measured, rule)


def _maximiser(theory: Results) -> Claim:
    title = "PGD fits another covariance than the exact adversary, on the same samples"
    rule = (
        "at every ε the covariances differ by over 1 % with the fewest steps of PGD, "
        "and by no more with more of them"
    )
    by_epsilon = defaultdict(list)
    for fit in theory["fits"]:
        if fit["maximiser"] == "pgd":
            by_epsilon[fit["epsilon"]].append(fit)
    if not by_epsilon or min(map(len, by_epsilon.values())) < 2:
        return Claim(title, NOT_MEASURED, "Needs PGD of two lengths.", rule)
    good, said = True, []
    for epsilon, fits in sorted(by_epsilon.items()):
        fits.sort(key=lambda fit: fit["steps"])
        differences = [fit["difference"] for fit in fits]
        good &= differences[0] > 0.01 and bool(np.all(np.diff(differences) <= 0))
        steps = ", ".join(
            f"{percent(fit['difference'])} after {fit['steps']}" for fit in fits
        )
        said.append(f"At ε = {epsilon:g} it differs by {steps} steps.")
    return Claim(title, judge(good), " ".join(said), rule)


def _vulnerability(theory: Results) -> Claim:
    title = (
        "Theorem 1: its formula, halved, is the vulnerability, and equal variances "
        "have the least"
    )
    rule = (
        "the formula is within three standard errors of the sampled value and the "
        "printed one is not; descent ends within 1 % of equal variances, and nowhere "
        "below their vulnerability"
    )
    of = theory["vulnerability"]
    descent, least = of["descent"], of["isotropic"]
    ends = np.asarray(descent["eigenvalues"][-1])
    level = np.mean(of["eigenvalues"])
    apart = float(np.max(np.abs(ends / level - 1)))
    allowed = ERRORS * of["standard_error"]
    good = (
        abs(of["formula"] - of["monte_carlo"]) <= allowed
        and abs(of["printed"] - of["monte_carlo"]) > allowed
        and apart < 0.01
        # But for the rounding of sums.
        and min(descent["vulnerability"]) > least * (1 - 1e-5)
    )
    measured = (
        f"Formula {of['formula']:.4f}, sampled {of['monte_carlo']:.4f} ± "
        f"{of['standard_error']:.4f}, printed {of['printed']:.4f}. Descent from "
        f"{numbers(of['eigenvalues'])} ends at {numbers(ends)}, vulnerability "
        f"{descent['vulnerability'][-1]:.4f}; equal variances have {least:.4f}."
    )
    return Claim(title, judge(good), measured, rule)


def _rises(values: Sequence[float]) -> bool:
    return bool(np.all(np.diff(values) > 0))


def _alignment(theory: Results) -> Claim:
    title = (
        "Theorem 3: robust training turns the gradient towards the direction between "
        "the classes"
    )
    rule = (
        "the worst-case cosine rises with every ε, and in no random problem is the "
        "robust cosine below the standard one"
    )
    of = theory["alignment"]
    worst, condition = of["worst_alignment"], of["condition_number"]
    measured = (
        f"With variances {numbers(of['eigenvalues'])} the worst-case cosine rises from "
        f"{worst[0]:.3f} to {worst[-1]:.3f} at ε = {of['epsilon'][-1]:g}, as the "
        f"condition number goes from {condition[0]:.3g} to {condition[-1]:.3g}. "
        f"{of['violations']:,} of {of['problems']:,} random problems violate it; the "
        f"least gain is {of['least_gain']:.2g}."
    )
    good = _rises(worst) and of["violations"] == 0
    return Claim(title, judge(good), measured, rule)


def _ellipses(theory: Results) -> Claim:
    title = "Two ellipses: a network can be accurate and robust, if trained for it"
    rule = (
        "without attack both networks are right on over 95 %; under attack the 95 % "
        "interval of the adversarially trained one is above 90 %, that of the other "
        "below 50 %"
    )
    of = {entry["training"]: entry for entry in theory["ellipses"]["networks"]}
    if not {"standard", "adversarial"} <= set(of):
        return Claim(title, NOT_MEASURED, "Needs both kinds of training.", rule)
    said, robust = [], {}
    for training in ("standard", "adversarial"):
        entry = of[training]
        robust[training] = Score(entry["robustly_correct"], entry["total"]).interval
        said.append(
            f"After {training} training {percent(entry['correct'] / entry['total'])} "
            f"are right, {percent(entry['robustly_correct'] / entry['total'])} under "
            "attack."
        )
    good = (
        min(entry["correct"] / entry["total"] for entry in of.values()) > 0.95
        and robust["adversarial"][0] > 0.9
        and robust["standard"][1] < 0.5
    )
    said.append(f"ε = {theory['ellipses']['epsilon']:g}.")
    return Claim(title, judge(good), " ".join(said), rule)
