"""The theory's curves: numbers against ε, dimension or step."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from nrf.report.charts import BLUE, DOTS, GREEN, INK, ORANGE, PINK, Axis, plot, series
from nrf.report.results import Results
from nrf.report.theory.claims import by_spectrum

# The first is broad, to be seen under another line.
LINES: tuple[dict[str, Any], ...] = (
    {"color": "#a0a0a0", "linewidth": 4.5},
    {"color": BLUE, "linewidth": 2},
    {"color": ORANGE, "linewidth": 2, "linestyle": (0, (5, 2))},
    {"color": GREEN, "linewidth": 2, "linestyle": (0, (5, 2, 1, 2))},
    {"color": PINK, "linewidth": 2, "linestyle": (0, (3, 1, 1, 1, 1, 1))},
)
_DOTTED: dict[str, Any] = {"color": INK, "linewidth": 1.1, "linestyle": DOTS}
_TRAINED = Axis("ε of robust training", scale="log")


def eigenvalues(theory: Results) -> str:
    """Variances learned against ε: lines in closed form, markers from samples."""
    curve, colors, drawn = theory["curve"], (BLUE, ORANGE), []
    for color, i, y in zip(
        colors, "₁₂", np.transpose(curve["eigenvalues"]), strict=True
    ):
        label = f"closed form, along x{i}"
        drawn.append(series(curve["epsilon"], y, color=color, label=label))
    marks = [("exact, per sample", "o", 8, theory["exact"])]
    for label, maximiser, marker, size in (
        ("fit, exact adversary", "exact", "x", 8),
        ("fits, PGD", "pgd", "v", 5),
    ):
        fits = [fit for fit in theory["fits"] if fit["maximiser"] == maximiser]
        of = {"eigenvalues": [np.diag(fit["cov"]) for fit in fits]}
        of["epsilon"] = [fit["epsilon"] for fit in fits]
        marks.append((label, marker, size, of))
    for label, marker, size, of in marks:
        look: dict[str, Any] = {"marker": marker, "markersize": size, "linestyle": ""}
        look |= {"fillstyle": "none", "markeredgewidth": 1.4}
        for color, y in zip(colors, np.transpose(of["eigenvalues"]), strict=False):
            drawn.append(series(of["epsilon"], y, color=color, **look))
        # In the legend the marker stands for both colours.
        drawn.append(series([], [], color=INK, label=label, **look))
    alt = "Variances that robust training learns against ε."
    y = Axis("variance learned", scale="log")
    return plot("eigenvalues", alt, drawn, x=_TRAINED, y=y)


def multiplier(theory: Results) -> str:
    """λ against ε, and what it tends to at either end."""
    cov = np.asarray(theory["problem"]["cov"])
    epsilon, value = (np.asarray(theory["curve"][n]) for n in ("epsilon", "multiplier"))
    drawn = [series(epsilon, value, color=BLUE, linewidth=2, label="λ, closed form")]
    for label, dash, limit in (
        ("√tr(Σ⁻¹) / ε", DOTS, np.sqrt(np.trace(np.linalg.inv(cov))) / epsilon),
        ("d / ε²", (0, (5, 3)), len(cov) / epsilon**2),
    ):
        # Drawn where it is of λ's size, so that it does not stretch the axis.
        near = (limit < 5 * value) & (limit > value / 5)
        look = {"color": INK, "linewidth": 1.2, "linestyle": dash, "label": label}
        drawn.append(series(epsilon[near], limit[near], **look))
    alt = "The multiplier λ of Theorem 2 falling with ε."
    y = Axis("multiplier λ", scale="log")
    return plot("multiplier", alt, drawn, x=_TRAINED, y=y, legend=3)


def difference(theory: Results) -> str:
    """Of learned variances, relaxed and exact."""
    return _by_dimension(theory, "difference", "relaxed and exact differ by", "percent")


def concentration(theory: Results) -> str:
    """Of the adversary's budget: near 1, all is spent in one direction."""
    return _by_dimension(theory, "concentration", "concentration of the budget")


def _by_dimension(theory: Results, what: str, label: str, unit: Any = "") -> str:
    """A line per spectrum of `dimensions`: entry `what` against the dimension."""
    drawn = []
    for i, (spectrum, entries) in enumerate(by_spectrum(theory).items()):
        points = zip(*((e["dimension"], e[what]) for e in entries), strict=True)
        drawn += _lines([(spectrum, *points)], i + 1, marker="s^"[i % 2])
    ticks = sorted({entry["dimension"] for entry in theory["dimensions"]})
    x = Axis("dimension", scale="log", ticks=ticks)
    y = Axis(label, scale="log", unit=unit)
    return plot(what, f"Lines of {label} against dimension.", drawn, x=x, y=y)


def descent_vulnerability(theory: Results) -> str:
    """Theorem 1's vulnerability by step, down to that of equal variances."""
    of = theory["vulnerability"]
    steps, values = of["descent"]["step"], of["descent"]["vulnerability"]
    least = [of["isotropic"]] * len(steps)
    drawn = _lines([("descent", steps, values)])
    drawn.append(series(steps, least, label="equal variances", **_DOTTED))
    alt = f"Vulnerability falling by descent to {values[-1]:.3f}."
    y = Axis("vulnerability", scale="log")
    return plot("descent-vulnerability", alt, drawn, x=Axis("step of descent"), y=y)


def descent_eigenvalues(theory: Results) -> str:
    """The variances by step, which meet at their mean."""
    of = theory["vulnerability"]
    steps, level = of["descent"]["step"], float(np.mean(of["eigenvalues"]))
    starts = [f"from {start:g}" for start in of["eigenvalues"]]
    values = np.transpose(of["descent"]["eigenvalues"])
    drawn = _lines([(name, steps, y) for name, y in zip(starts, values, strict=True)])
    drawn.append(series(steps, [level] * len(steps), label="trace / d", **_DOTTED))
    alt = f"Variances meeting at {level:.3g} by descent."
    x, y = Axis("step of descent"), Axis("variances", (0, None))
    return plot("descent-eigenvalues", alt, drawn, x=x, y=y, legend=3)


def alignment(theory: Results) -> str:
    """The cosine against ε: of the first figure's problem, and the worst of another."""
    curve, of = theory["curve"], theory["alignment"]
    worst = f"worst μ, variances {', '.join(f'{v:g}' for v in of['eigenvalues'])}"
    drawn = _lines([("the two classes above", curve["epsilon"], curve["alignment"])])
    other = [(worst, of["epsilon"], of["worst_alignment"])]
    drawn += _lines(other, 2, marker="^", clip_on=False)

    def scale(axes: Any) -> None:
        # Linear below the smallest radius, so that ε = 0 has a place.
        axes.set_xscale("symlog", linthresh=0.1, linscale=0.5)
        axes.set_xticks([0, 0.1, 1, 10, 100])

    most = 1.05 * max(*curve["epsilon"], *of["epsilon"])
    x = _TRAINED._replace(limits=(0, most), scale="symlog")
    y = Axis("cosine with the class direction", (0, 1.02))
    alt = "The cosine rising to 1 with ε."
    return plot("alignment", alt, drawn, x=x, y=y, draw=scale)


def worst_alignment(theory: Results) -> str:
    """The worst cosine against the condition number, on the curve of Lemma 8."""
    of = theory["alignment"]
    points = of["condition_number"], of["worst_alignment"]
    kappa = np.geomspace(1, 1.5 * max(points[0]), 100)
    lemma = 2 * np.sqrt(kappa) / (1 + kappa)
    marks = {"color": ORANGE, "marker": "^", "linestyle": ""}
    drawn = [series(kappa, lemma, color=INK, linewidth=1.2, label="2√κ / (1 + κ)")]
    drawn.append(series(*points, label="robust training at ε", **marks))

    def name(axes: Any) -> None:
        style = {"textcoords": "offset points", "fontsize": 10}
        for epsilon, *at in zip(of["epsilon"], *points, strict=True):
            axes.annotate(f"ε = {epsilon:g}", at, (7, 3), **style)

    x = Axis("condition number κ of Σ", (1, kappa[-1] * 1.6), scale="log")
    y = Axis("worst cosine", (0, 1.02))
    alt = "The worst cosine against the condition number, on the curve of Lemma 8."
    return plot("worst", alt, drawn, x=x, y=y, draw=name)


def tradeoff(theory: Results) -> str:
    """Accuracy against the radius of the attack, a line per ε of training."""
    of = theory["tradeoff"]
    radii = of["test_epsilon"]
    names = [f"trained at ε = {epsilon:g}" for epsilon in of["train_epsilon"]]
    lines = [(name, radii, y) for name, y in zip(names, of["accuracy"], strict=True)]
    x = Axis("ε of the attack (ℓ₂)", (0, max(radii)))
    y = Axis("accuracy", (0, 1), unit="percent", level=0.5)
    alt = "Accuracy against the ε of the attack, by ε of training."
    return plot("tradeoff", alt, _lines(lines, 0), x=x, y=y)


def usefulness(theory: Results) -> str:
    """γ against ε of the linear features; below 0 an attack has reversed them."""
    lines = []
    for of in theory["usefulness"]:
        name = of["feature"].replace("epsilon ", "ε = ")
        name = re.sub(r"\bx([12])\b", lambda at: "x" + "₁₂"[int(at[1]) - 1], name)
        lines.append((name, of["epsilon"], of["gamma"]))
    x = Axis("ε of the attack (ℓ₂)", (0, max(max(radii) for _, radii, _ in lines)))
    y = Axis("usefulness γ", (-1, 1), level=0)
    alt = "Usefulness of four features against the ε of the attack."
    return plot("usefulness", alt, _lines(lines, 0), x=x, y=y)


def _lines(lines: Sequence[tuple], first: int = 1, **look: Any) -> list[Any]:
    """Series of (label, x, y), in the looks of LINES from the one at `first` on."""
    return [
        series(x, y, label=label, **LINES[i % len(LINES)], **look)
        for i, (label, x, y) in enumerate(lines, first)
    ]


# Each by its name in the template.
PLOTS = (
    *(eigenvalues, multiplier, difference, concentration, descent_vulnerability),
    *(descent_eigenvalues, alignment, worst_alignment, tradeoff, usefulness),
)
