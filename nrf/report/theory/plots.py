"""The theory's curves: numbers against ε, dimension or step."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from nrf.report.charts import INK, STYLE, svg
from nrf.report.results import Results
from nrf.report.theory.planes import BLUE, GREEN, ORANGE, PINK

# The first is broad, to be seen under another line.
LINES: tuple[dict[str, Any], ...] = (
    {"color": "#a0a0a0", "linewidth": 4.5},
    {"color": BLUE, "linewidth": 2},
    {"color": ORANGE, "linewidth": 2, "linestyle": (0, (5, 2))},
    {"color": GREEN, "linewidth": 2, "linestyle": (0, (5, 2, 1, 2))},
    {"color": PINK, "linewidth": 2, "linestyle": (0, (3, 1, 1, 1, 1, 1))},
)
DOTTED: dict[str, Any] = {"color": INK, "linewidth": 1.1, "linestyle": (0, (1, 2))}
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


@rc_context(STYLE)
def eigenvalues(name: str, theory: Results) -> str:
    """Variances learned against ε: lines in closed form, markers from samples."""
    figure, axes = _chart("ε of robust training", "variance learned")
    _logarithmic(axes)
    curve, exact = theory["curve"], theory["exact"]
    colors = (BLUE, ORANGE)
    values = np.asarray(curve["eigenvalues"]).T
    for i, (line, color) in enumerate(zip(values, colors, strict=False)):
        axes.plot(
            curve["epsilon"], line, color=color, label=f"closed form, along x{'₁₂'[i]}"
        )
    marks = [("exact, per sample", exact["epsilon"], exact["eigenvalues"], "o", 8)]
    for maximiser, (marker, size) in {"exact": ("x", 8), "pgd": ("v", 5)}.items():
        fits = [fit for fit in theory["fits"] if fit["maximiser"] == maximiser]
        label = "fit, exact adversary" if maximiser == "exact" else "fits, PGD"
        where = [fit["epsilon"] for fit in fits]
        found = [np.diag(fit["cov"]) for fit in fits]
        marks.append((label, where, found, marker, size))
    for label, where, found, marker, size in marks:
        for i, color in enumerate(colors if where else ()):
            axes.plot(
                where,
                [values[i] for values in found],
                marker,
                color=color,
                markersize=size,
                fillstyle="none",
                markeredgewidth=1.4,
            )
        # In the legend the marker stands for both colours.
        axes.plot(
            [], [], marker, color=INK, fillstyle="none", markersize=size, label=label
        )
    _legend(figure)
    return svg(figure, name, "Variances that robust training learns against ε.")


@rc_context(STYLE)
def multiplier(name: str, theory: Results) -> str:
    """λ against ε, and what it tends to at either end."""
    figure, axes = _chart("ε of robust training", "multiplier λ")
    _logarithmic(axes)
    curve, cov = theory["curve"], np.asarray(theory["problem"]["cov"])
    epsilon, found = np.asarray(curve["epsilon"]), np.asarray(curve["multiplier"])
    axes.plot(epsilon, found, color=BLUE, linewidth=2, label="λ, closed form")
    for label, dash, limit in (
        ("√tr(Σ⁻¹) / ε", (0, (1, 2)), np.sqrt(np.trace(np.linalg.inv(cov))) / epsilon),
        ("d / ε²", (0, (5, 3)), len(cov) / epsilon**2),
    ):
        # Drawn where it is of λ's size, so that it does not stretch the axis.
        near = (limit < 5 * found) & (limit > found / 5)
        axes.plot(
            epsilon[near],
            limit[near],
            color=INK,
            linestyle=dash,
            linewidth=1.2,
            label=label,
        )
    _legend(figure, columns=3)
    return svg(figure, name, "The multiplier λ of Theorem 2 falling with ε.")


@rc_context(STYLE)
def by_dimension(
    name: str, groups: Mapping[str, Sequence[Mapping[str, Any]]], what: str, label: str
) -> str:
    """A line per spectrum of `dimensions`: entry `what` against the dimension."""
    figure, axes = _chart("dimension", label)
    _logarithmic(axes)
    ticks: set[int] = set()
    for i, (spectrum, entries) in enumerate(groups.items()):
        dimensions = [entry["dimension"] for entry in entries]
        found = [entry[what] for entry in entries]
        axes.plot(dimensions, found, marker="s^"[i % 2], label=spectrum, **_look(i + 1))
        ticks |= set(dimensions)
    axes.set_xticks(_apart(sorted(ticks)))
    _steps(axes)
    if what == "difference":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
    _legend(figure)
    return svg(figure, name, f"Lines of {label} against dimension.")


def _apart(ticks: list[int]) -> list[int]:
    """Those a factor 1.6 apart, so that labels do not collide."""
    kept: list[int] = []
    for tick in ticks:
        if not kept or tick >= 1.6 * kept[-1]:
            kept.append(tick)
    return kept


@rc_context(STYLE)
def descent_vulnerability(name: str, theory: Results) -> str:
    of = theory["vulnerability"]
    figure, axes = _chart("step of descent", "vulnerability")
    axes.set_yscale("log")
    _plain(axes.yaxis)
    found = of["descent"]["vulnerability"]
    _steps(axes)
    axes.plot(of["descent"]["step"], found, label="descent", **_look(1))
    axes.axhline(of["isotropic"], label="equal variances", **DOTTED)
    _legend(figure)
    alt = f"Vulnerability falling by descent to {found[-1]:.3f}."
    return svg(figure, name, alt)


@rc_context(STYLE)
def descent_eigenvalues(name: str, theory: Results) -> str:
    of = theory["vulnerability"]
    figure, axes = _chart("step of descent", "variances")
    lines = np.asarray(of["descent"]["eigenvalues"]).T
    for i, line in enumerate(lines):
        label = f"from {of['eigenvalues'][i]:g}"
        axes.plot(of["descent"]["step"], line, label=label, **_look(i + 1))
    level = float(np.mean(of["eigenvalues"]))
    axes.axhline(level, label="trace / d", **DOTTED)
    axes.set_ylim(bottom=0)
    _legend(figure, columns=3)
    return svg(figure, name, f"Variances meeting at {level:.3g} by descent.")


@rc_context(STYLE)
def alignment(name: str, theory: Results) -> str:
    """The cosine against ε: of the first figure's problem, and the worst of another."""
    figure, axes = _chart("ε of robust training", "cosine with the class direction")
    curve, of = theory["curve"], theory["alignment"]
    axes.plot(
        curve["epsilon"],
        curve["alignment"],
        color=BLUE,
        linewidth=2,
        label="the two classes above",
    )
    axes.plot(
        of["epsilon"],
        of["worst_alignment"],
        marker="^",
        clip_on=False,
        label=f"worst μ, variances {', '.join(f'{v:g}' for v in of['eigenvalues'])}",
        **_look(2),
    )
    # Linear below the smallest radius, so that ε = 0 has a place.
    axes.set_xscale("symlog", linthresh=0.1, linscale=0.5)
    axes.set_xlim(0, 1.05 * max(max(curve["epsilon"]), max(of["epsilon"])))
    axes.set_ylim(0, 1.02)
    axes.set_xticks([0, 0.1, 1, 10, 100])
    _plain(axes.xaxis)
    _legend(figure)
    return svg(figure, name, "The cosine rising to 1 with ε.")


@rc_context(STYLE)
def worst_alignment(name: str, theory: Results) -> str:
    """The worst cosine against the condition number, on the curve of Lemma 8."""
    figure, axes = _chart("condition number κ of Σ", "worst cosine")
    of = theory["alignment"]
    kappa = np.geomspace(1, 1.5 * max(of["condition_number"]), 100)
    axes.plot(
        kappa,
        2 * np.sqrt(kappa) / (1 + kappa),
        color=INK,
        linewidth=1.2,
        label="2√κ / (1 + κ)",
    )
    axes.plot(
        of["condition_number"],
        of["worst_alignment"],
        "^",
        color=ORANGE,
        label="robust training at ε",
    )
    for epsilon, x, y in zip(
        of["epsilon"], of["condition_number"], of["worst_alignment"], strict=True
    ):
        axes.annotate(
            f"ε = {epsilon:g}",
            (x, y),
            (7, 3),
            textcoords="offset points",
            fontsize=10,
        )
    axes.set_xscale("log")
    _plain(axes.xaxis)
    axes.set_xlim(1, kappa[-1] * 1.6)
    axes.set_ylim(0, 1.02)
    _legend(figure)
    alt = "The worst cosine against the condition number, on the curve of Lemma 8."
    return svg(figure, name, alt)


@rc_context(STYLE)
def tradeoff(name: str, theory: Results) -> str:
    """Accuracy against the radius of the attack, a line per ε of training."""
    of = theory["tradeoff"]
    figure, axes = _chart("ε of the attack (ℓ₂)", "accuracy")
    for i, (epsilon, found) in enumerate(
        zip(of["train_epsilon"], of["accuracy"], strict=True)
    ):
        label = f"trained at ε = {epsilon:g}"
        axes.plot(of["test_epsilon"], found, label=label, **_look(i))
    axes.axhline(0.5, **DOTTED)
    axes.set_xlim(0, max(of["test_epsilon"]))
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _legend(figure)
    return svg(figure, name, "Accuracy against the ε of the attack, by ε of training.")


@rc_context(STYLE)
def usefulness(name: str, theory: Results) -> str:
    """γ against ε of the linear features; below 0 an attack has reversed them."""
    figure, axes = _chart("ε of the attack (ℓ₂)", "usefulness γ")
    for i, of in enumerate(theory["usefulness"]):
        label = of["feature"].replace("epsilon ", "ε = ")
        label = re.sub(r"\bx([12])\b", lambda axis: "x" + "₁₂"[int(axis[1]) - 1], label)
        axes.plot(of["epsilon"], of["gamma"], label=label, **_look(i))
    axes.axhline(0, **DOTTED)
    radii = [value for of in theory["usefulness"] for value in of["epsilon"]]
    axes.set_xlim(0, max(radii))
    axes.set_ylim(-1, 1)
    _legend(figure)
    return svg(figure, name, "Usefulness of four features against the ε of the attack.")


def _chart(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 4.3), layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    axes.grid(axis="y", linewidth=0.6)
    return figure, axes


def _look(i: int) -> dict[str, Any]:
    return LINES[i % len(LINES)]


def _legend(figure: Figure, columns: int = 2) -> None:
    figure.legend(loc="outside lower center", ncols=columns, columnspacing=1.2)


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain(axes.xaxis)
    _plain(axes.yaxis)


def _steps(axes: Axes) -> None:
    """Ticks at 1, 2, 5, 10: for axes of few powers of ten."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))


def _plain(axis: Any) -> None:
    """0.01 and 100 instead of powers of ten, which would be drawn as formulas."""
    axis.set_major_formatter(PLAIN)
    axis.set_minor_locator(NullLocator())
