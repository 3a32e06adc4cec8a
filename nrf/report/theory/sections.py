"""The page of the theory: the paper's section 4 checked by numbers."""

from collections.abc import Sequence

import numpy as np

from nrf.report import claims, page, provenance
from nrf.report.results import Results, percent
from nrf.report.theory import planes, plots
from nrf.report.theory.claims import by_spectrum, numbers
from nrf.report.theory.claims import claims as theory_claims
from nrf.report.theory.corrections import corrections

TITLE = "What robust training learns of two Gaussians"


def html(theory: Results, runs: Sequence[str] = ()) -> str:
    """The whole page; `runs` are the folders beside this run's with an experiment."""
    sections = [
        verdicts(theory, runs),
        gaussians(theory),
        against_epsilon(theory),
        fits(theory),
        dimensions(theory),
        vulnerability(theory),
        alignment(theory),
        tradeoff(theory),
        ellipses(theory),
        corrections(),
        provenance.record(theory),
    ]
    return page.page(TITLE, lead(theory), sections)


def lead(theory: Results) -> str:
    name = theory.get("name") or "theory"
    run = ", ".join(part for part in (f"Run “{name}”", theory.get("date")) if part)
    return (
        f"{run}. Section 4 of Ilyas et al. (2019), “Adversarial Examples Are Not Bugs, "
        "They Are Features”, arXiv 1905.02175, checked by numbers. Everywhere the "
        "label y is −1 or +1, x is Gaussian with mean yμ and covariance Σ, and an "
        "adversary may move x by ε in ℓ₂."
    )


def verdicts(theory: Results, runs: Sequence[str]) -> str:
    return page.section(
        "What this run shows",
        claims.html(theory_claims(theory)),
        page.paragraph(
            "A verdict is about these numbers, not a proof. The paper's statements are "
            "about the likelihood of Gaussians; none of them is about networks, which "
            "appear here only in the two ellipses.",
            note=True,
        ),
        page.neighbours(
            "The experiment on images that this theory is for"
            if runs
            else "This makes the experiment on images that the theory is for",
            runs,
            "python scripts/run.py configs/digits.py --out runs/digits",
        ),
    )


def gaussians(theory: Results) -> str:
    panels = theory["panels"]
    charts = [
        planes.panel(f"panel{i}", theory, panel) for i, panel in enumerate(panels)
    ]
    radius = panels[0]["radius"]
    rows = [
        ["variances", *(numbers(np.diag(p["cov"])) for p in panels)],
        ["… from samples", *(numbers(np.diag(p["fitted_cov"])) for p in panels)],
        ["mean, from samples", *(numbers(p["fitted_mean"]) for p in panels)],
        ["cosine of the arrows", *(f"{p['alignment']:.3f}" for p in panels)],
        ["accuracy", *(percent(p["standard_accuracy"]) for p in panels)],
        [
            f"attacked, ε = {radius:g}",
            *(percent(p["robust_accuracy"]) for p in panels),
        ],
    ]
    head = ["trained at", *(f"ε = {panel['epsilon']:g}" for panel in panels)]
    return page.section(
        "What is learned, and what an attack does",
        page.figure(
            page.key(
                [
                    (_dot(planes.BLUE), "class +1"),
                    (_triangle(planes.ORANGE), "class −1"),
                    ("", "learned ellipse, in the class's colour; straight: boundary"),
                    ("border-top-style: dashed", "true ellipse"),
                    (_thick(planes.GREEN), "gradient of the classifier"),
                    (_thick(planes.PINK), "direction between the classes"),
                ]
            )
            + page.panels([*charts, page.table(head, rows)], least="26rem"),
            "From panel to panel, the learned ellipses keep their centres and turn "
            "into circles, and the gradient turns towards the direction between the "
            "classes. Thin arrows: the worst perturbations of a few points, all of "
            f"length {radius:g}: they lower the likelihood of the own class most. At "
            "ε = 0 they go along the smallest variance, wherever the point is; the "
            "rounder the ellipse, the more they go straight away from its centre. "
            "Ellipses: Theorem 2's closed form, Mahalanobis radius "
            f"{planes.MAHALANOBIS:g}; the frame may cut them. “From samples”: "
            f"the exact robust maximum likelihood of {theory['problem']['samples']:,} "
            "samples. The paper's figure 4 shows the same: constant mean, covariance "
            "blending towards the identity. Its boundaries for ε = 1 and 10 have other "
            "slopes than Theorem 2 gives (they imply ratios of the variances of 0.15 "
            "and 0.58; Theorem 2: 0.098 and 0.600), so its numbers are not compared.",
        ),
    )


def _dot(color: str) -> str:
    return f"border: 0; width: .7rem; height: .7rem; border-radius: 50%; {_fill(color)}"


def _triangle(color: str) -> str:
    shape = "clip-path: polygon(50% 0, 100% 100%, 0 100%)"
    return f"border: 0; width: .8rem; height: .7rem; {shape}; {_fill(color)}"


def _fill(color: str) -> str:
    return f"background: {color}; print-color-adjust: exact"


def _thick(color: str) -> str:
    return f"border-top: 4px solid {color}"


def against_epsilon(theory: Results) -> str:
    charts = [
        plots.eigenvalues("eigenvalues", theory),
        plots.multiplier("multiplier", theory),
    ]
    return page.section(
        "Theorem 2: the covariance against ε",
        page.figure(
            page.panels(charts, least="26rem"),
            "Left: the lines meet as ε grows: to an adversary strong enough, all "
            "directions are alike. Markers on a line agree with the closed form. "
            "Circles: the adversary is exact for each sample instead of on average "
            f"({theory['exact']['points']:,} points). Crosses and triangles: fits by "
            "gradient, as in the table below. Right: λ "
            "falls like 1/ε for small ε and like d/ε² for large (dotted, dashed). The "
            "paper's bounds, read with ε as the radius, would have it fall like 1/√ε.",
        ),
    )


def fits(theory: Results) -> str:
    samples = (theory.get("config") or {}).get("fit_samples")
    size = f" {samples:,}" if samples else ""
    rows = []
    for fit in theory["fits"]:
        exact = fit["maximiser"] == "exact"
        length = "" if exact else f"{fit['step_size']:g}\N{NO-BREAK SPACE}ε"
        rows.append(
            [
                "exact" if exact else f"PGD, {fit['steps']} steps of {length}",
                f"{fit['epsilon']:g}",
                numbers(fit["mean"]),
                numbers(np.diag(fit["cov"])),
                "–" if exact else percent(fit["difference"]),
                percent(fit["error"]),
                percent(fit["monte_carlo"]),
            ]
        )
    head = [
        "adversary",
        "ε",
        "mean",
        "variances",
        "from the exact one",
        "from the closed form",
        "sampling alone",
    ]
    return page.section(
        "How inexact PGD is",
        page.table(head, rows),
        page.paragraph(
            f"Look down “from the exact one”: on the same{size} samples, what is left "
            "is PGD's own error. It falls short of the maximum where Σ is far from "
            "round, so that training sees a weaker adversary; it takes many long steps "
            "to close the gap. “From the closed form” also has the "
            "error of sampling (last column: that of the maximum likelihood covariance "
            "of these samples) and that of the relaxation. All are Frobenius distances "
            "relative to the covariance compared with.",
            note=True,
        ),
    )


def dimensions(theory: Results) -> str:
    groups = by_spectrum(theory)
    charts = [
        plots.by_dimension(
            "difference", groups, "difference", "relaxed and exact differ by"
        ),
        plots.by_dimension(
            "concentration", groups, "concentration", "concentration of the budget"
        ),
    ]
    samples = sorted({entry["samples"] for entry in theory["dimensions"]})
    return page.section(
        "Where the relaxation is exact",
        page.figure(
            page.panels(charts, least="26rem"),
            "Theorem 2 bounds the adversary's push on average over samples, not for "
            "each. Left: the largest relative difference that this makes to a learned "
            "variance. It falls with the dimension where all directions share in the "
            "push, and does not where one tiny variance draws it. Right: Σᵢ rᵢ⁴ / ε⁴, "
            "with rᵢ the push along axis i; near 1, all of it is in one direction. The "
            "paper says that the relaxation becomes exact as the dimension grows; that "
            "needs this to go to 0. The exact solution is from "
            f"{' or '.join(f'{n:,}' for n in samples)} points, so differences below "
            "sampling error mean nothing.",
        ),
    )


def vulnerability(theory: Results) -> str:
    of = theory["vulnerability"]
    rows = [
        ["formula, with the factor ½", f"{of['formula']:.4f}"],
        [
            f"sampled, {of['samples']:,} samples",
            f"{of['monte_carlo']:.4f} ± {of['standard_error']:.4f}",
        ],
        ["as the paper prints it", f"{of['printed']:.4f}"],
        ["formula, equal variances of the same trace", f"{of['isotropic']:.4f}"],
    ]
    charts = [
        plots.descent_vulnerability("descent-vulnerability", theory),
        plots.descent_eigenvalues("descent-eigenvalues", theory),
    ]
    return page.section(
        "Theorem 1: which Gaussians are vulnerable",
        page.table(["vulnerability", "value"], rows),
        page.figure(
            page.panels(charts, least="26rem"),
            "Vulnerability: by how much the adversary raises the negative "
            "log-likelihood of the true model, if a push of δ costs it ½C‖δ‖₂². The "
            f"table is for variances {numbers(of['eigenvalues'])} and C = "
            f"{of['penalty']:g}; compare what the paper prints with the sampled value. "
            "Plots: gradient descent over covariances of this trace. Left, "
            "vulnerability falls to that of equal variances and not below; right, the "
            "eigenvalues meet at their mean. This is the paper's point: what makes a "
            "Gaussian vulnerable is that its directions differ.",
        ),
    )


def alignment(theory: Results) -> str:
    of = theory["alignment"]
    charts = [
        plots.alignment("alignment", theory),
        plots.worst_alignment("worst", theory),
    ]
    return page.section(
        "Theorem 3: gradients along the classes",
        page.figure(
            page.panels(charts, least="26rem"),
            "Left: the cosine between the classifier's gradient and the direction "
            "between the classes, 1 where they are parallel; training with larger ε "
            "brings it there. Solid: the two classes of the first figure; dashed: the "
            "mean for which it is worst, in three dimensions. Right: that worst cosine "
            "depends on the condition number alone, which robust training lowers. In "
            f"{of['problems']:,} random problems the cosine failed to rise "
            f"{of['violations']:,} times; the paper claims the worst case only.",
        ),
    )


def tradeoff(theory: Results) -> str:
    charts = [
        plots.tradeoff("tradeoff", theory),
        plots.usefulness("usefulness", theory),
    ]
    return page.section(
        "Accuracy against robustness",
        page.figure(
            page.panels(charts, least="26rem"),
            "Left: look where the lines cross. Standard training (ε = 0) is the most "
            "accurate without an attack, as no test beats that of the true likelihood, "
            "and the first to fall; dotted: one half. Right: γ, the correlation with "
            "the label of a feature of unit variance when an attack works against it. "
            "At the left end it is the paper's usefulness ρ; where the line is below 0 "
            "(dotted) the feature is useful and not robust. All in closed form, for "
            "the two classes of the first figure.",
        ),
    )


def ellipses(theory: Results) -> str:
    of = theory["ellipses"]
    networks = of["networks"]
    gaps = 2 * (np.asarray(of["centre"]) - np.asarray(of["axes"]))
    charts = [
        planes.ellipses(f"ellipses{i}", theory, network)
        for i, network in enumerate(networks)
    ]
    said = " ".join(
        f"{network['training'].capitalize()} training: "
        f"{percent(network['correct'] / network['total'])} right, "
        f"{percent(network['robustly_correct'] / network['total'])} under attack, "
        f"of {network['total']:,} points."
        for network in networks
    )
    return page.section(
        "Two ellipses: when both can be had",
        page.figure(
            page.panels(charts, least="26rem"),
            f"{said} Look at the circles, balls of radius ε = {of['epsilon']:g} around "
            "a few points: where the line between the two regions cuts one, the point "
            f"can be attacked. The classes are {gaps[0]:g} apart from left to right, "
            f"{gaps[1]:g} from below to above: a boundary that leans on the second gap "
            "is accurate and not robust, an upright one can be both. Networks "
            "normalise their channels, which makes both gaps alike to standard "
            "training; the adversary measures in ℓ₂. The paper's figure 14 makes this "
            "point with drawn lines; here networks were trained. "
            "The attack is PGD, so accuracies under attack are upper bounds.",
        ),
    )
