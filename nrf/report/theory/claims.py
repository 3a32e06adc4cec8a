"""The theory's statements, judged on the numbers of theory.json by stated rules.

The rules are here in code; templates/theory_claims.txt states them in words.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from nrf.evaluate import Score
from nrf.report.claims import Claim, claim
from nrf.report.results import Results

# A verdict, None where something was not measured, and what the template is to say.
Judged = tuple[bool | None, dict[str, Any]]
ERRORS = 3  # Standard errors that chance may explain.


def claims(theory: Results) -> list[Claim]:
    """Six verdicts, in the page's order."""
    judges = {
        covariance: "#table-gaussians",
        relaxation: "#where-the-relaxation-is-exact",
        maximiser: "#table-fits",
        vulnerability: "#table-vulnerability",
        alignment: "#theorem-3-gradients-along-the-classes",
        ellipses: "#two-ellipses-when-both-can-be-had",
    }
    judged = {judge: judge(theory) for judge in judges}
    return [
        claim("theory_claims.txt", judges[judge], judge.__name__, good, **values)
        for judge, (good, values) in judged.items()
    ]


def distance(a: Any, b: Any) -> float:
    """Relative Frobenius distance of a to b."""
    b = np.asarray(b)
    return float(np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b))


def by_spectrum(theory: Results) -> dict[str, list[dict[str, Any]]]:
    """The entries of `dimensions`, in rising dimension."""
    groups = defaultdict(list)
    for entry in sorted(theory["dimensions"], key=lambda entry: entry["dimension"]):
        groups[entry["spectrum"]].append(entry)
    return dict(groups)


def covariance(theory: Results) -> Judged:
    """Theorem 2: the mean stays, the covariance grows as the closed form says."""
    problem = theory["problem"]
    mean, cov = np.asarray(problem["mean"]), np.asarray(problem["cov"])
    panels = [panel for panel in theory["panels"] if panel["epsilon"] > 0]
    gaps = [_relaxation_gap(theory, panel) for panel in panels]
    if not panels or None in gaps:
        return None, {}
    # How far the mean and the covariance of so many samples are from the true ones.
    of_mean = ERRORS * float(np.sqrt(np.trace(cov) / problem["samples"]))
    square = (np.trace(cov) ** 2 + np.linalg.norm(cov) ** 2) / problem["samples"]
    of_cov = ERRORS * float(np.sqrt(square) / np.linalg.norm(cov))
    good, measured = True, []
    for panel, gap in zip(panels, gaps, strict=True):
        fitted = np.asarray(panel["fitted_cov"])
        moved = float(np.linalg.norm(np.asarray(panel["fitted_mean"]) - mean))
        error = distance(fitted, panel["cov"])
        good &= moved <= of_mean and error <= of_cov + (gap or 0)
        good &= bool(np.all(np.diag(fitted) > np.diag(cov)))
        measured.append({**panel, "moved": moved, "error": error, "gap": gap})
    values = {"problem": problem, "of_mean": of_mean, "of_cov": of_cov}
    return good, {"panels": measured, **values}


def _relaxation_gap(theory: Results, panel: Mapping[str, Any]) -> float | None:
    """Distance of the panel's closed form to the solution per sample; None: unknown."""
    exact = theory["exact"]
    for i in np.flatnonzero(np.isclose(exact["epsilon"], panel["epsilon"])):
        return distance(np.diag(exact["eigenvalues"][i]), panel["cov"])
    return None


def relaxation(theory: Results) -> Judged:
    """Theorem 2's relaxation: it fades where the adversary's budget is spread."""
    groups = by_spectrum(theory)
    series = [groups.get(name, []) for name in ("uniform", "one tiny direction")]
    if min(map(len, series)) < 2:
        return None, {}
    ends = [(entries[0], entries[-1]) for entries in series]
    uniform, tiny = (last["difference"] / first["difference"] for first, last in ends)
    return uniform < 0.2 and tiny > 0.5, {"uniform": ends[0], "tiny": ends[1]}


def maximiser(theory: Results) -> Judged:
    """PGD of few steps fits another covariance than the exact adversary."""
    fits = [fit for fit in theory["fits"] if fit["maximiser"] == "pgd"]
    groups = defaultdict(list)
    for fit in sorted(fits, key=lambda fit: (fit["epsilon"], fit["steps"])):
        groups[fit["epsilon"]].append(fit)
    if not groups or min(map(len, groups.values())) < 2:
        return None, {}
    differences = [[fit["difference"] for fit in fits] for fits in groups.values()]
    good = all(of[0] > 0.01 and np.all(np.diff(of) <= 0) for of in differences)
    return good, {"fits": groups}


def vulnerability(theory: Results) -> Judged:
    """Theorem 1: half of the printed formula, and equal variances have the least."""
    of = theory["vulnerability"]
    descent = of["descent"]
    ends = np.asarray(descent["eigenvalues"][-1])
    apart = float(np.max(np.abs(ends / np.mean(of["eigenvalues"]) - 1)))
    allowed = ERRORS * of["standard_error"]
    good = (
        abs(of["formula"] - of["monte_carlo"]) <= allowed
        and abs(of["printed"] - of["monte_carlo"]) > allowed
        and apart < 0.01
        # Up to rounding: descent ends at the least value itself.
        and min(descent["vulnerability"]) > of["isotropic"] * (1 - 1e-5)
    )
    return good, {"of": of}


def alignment(theory: Results) -> Judged:
    """Theorem 3: robust training turns the gradient towards the other class."""
    of = theory["alignment"]
    rises = bool(np.all(np.diff(of["worst_alignment"]) > 0))
    return rises and of["violations"] == 0, {"of": of}


def ellipses(theory: Results) -> Judged:
    """Two ellipses: a network can be accurate and robust, if it is trained for it."""
    of = {entry["training"]: entry for entry in theory["ellipses"]["networks"]}
    names = ("standard", "adversarial")
    if not set(names) <= set(of):
        return None, {}
    networks = [of[name] for name in names]
    standard, adversarial = (
        Score(entry["robustly_correct"], entry["total"]).interval for entry in networks
    )
    good = (
        min(entry["correct"] / entry["total"] for entry in of.values()) > 0.95
        and adversarial[0] > 0.9
        and standard[1] < 0.5
    )
    return good, {"networks": networks, "epsilon": theory["ellipses"]["epsilon"]}
