"""The plots of the theory's page, in the style of `figures`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from nrf.report.figures import INK, PAPER, STYLE, svg
from nrf.report.results import Results

# Okabe and Ito's palette; classes and lines differ by marker or dash as well.
BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
CLASSES = {1: (BLUE, "o"), -1: (ORANGE, "^")}
# The first is broad, to be seen under another line.
LINES: tuple[dict[str, Any], ...] = (
    {"color": "#a0a0a0", "linewidth": 4.5},
    {"color": BLUE, "linewidth": 2},
    {"color": ORANGE, "linewidth": 2, "linestyle": (0, (5, 2))},
    {"color": GREEN, "linewidth": 2, "linestyle": (0, (5, 2, 1, 2))},
    {"color": PINK, "linewidth": 2, "linestyle": (0, (3, 1, 1, 1, 1, 1))},
)
DOTTED: dict[str, Any] = {"color": INK, "linewidth": 1.1, "linestyle": (0, (1, 2))}
MAHALANOBIS = 1.5  # Radius of the drawn ellipses, as in the paper.
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


@rc_context(STYLE)
def panel(name: str, theory: Results, of: Mapping[str, Any]) -> str:
    """One panel of the paper's figure 4: points, ellipses, boundary and arrows."""
    problem, points = theory["problem"], theory["points"]
    mean, cov = np.asarray(problem["mean"]), np.asarray(problem["cov"])
    half = _half_width(mean, cov)
    figure = Figure(figsize=(5.6, 3.45), layout="constrained")
    axes = figure.add_subplot(
        title=f"ε = {of['epsilon']:g}",
        xlabel="x₁",
        ylabel="x₂",
        xlim=(-half, half),
        ylim=(-half / 2, half / 2),
        aspect="equal",
    )
    x, y = np.asarray(points["x"]), np.asarray(points["y"])
    for label, (color, marker) in CLASSES.items():
        _points(axes, x[y == label], color, marker)
        learned = _ellipse(label * np.asarray(of["mean"]), of["cov"])
        axes.plot(*learned.T, color=color, linewidth=2)
        true = _ellipse(label * mean, cov)
        axes.plot(*true.T, color=INK, linewidth=1.4, linestyle=(0, (4, 2)))
    weights = np.asarray(of["weights"])
    across = np.array([-weights[1], weights[0]]) / np.linalg.norm(weights)
    boundary = 3 * half * np.array([-across, across])
    axes.plot(*boundary.T, color=INK, linewidth=1.4)
    for direction, color in ((mean, PINK), (weights, GREEN)):
        tip = 0.35 * half * direction / np.linalg.norm(direction)
        _arrows(axes, np.zeros((1, 2)), tip[None], color, width=0.011, edge=PAPER)
    steps = np.asarray(of["perturbations"])
    _arrows(axes, x[: len(steps)], steps, INK, width=0.004)
    alt = (
        f"Two classes of points, their true and learned ellipses, the decision "
        f"boundary and its gradient at ε = {of['epsilon']:g}; the gradient's cosine "
        f"with the direction between the classes is {of['alignment']:.3f}."
    )
    return svg(figure, name, alt)


def _half_width(mean: np.ndarray, cov: np.ndarray) -> float:
    """Of a frame twice as wide as high, with the points of both classes inside."""
    reach = np.abs(mean) + 2 * np.sqrt(np.diag(cov))
    return float(max(reach[0], 2 * reach[1]))


def _ellipse(centre: np.ndarray, cov: Any) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 181)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    return centre + MAHALANOBIS * (np.linalg.cholesky(np.asarray(cov)) @ circle).T


def _points(axes: Axes, x: np.ndarray, color: str, marker: str) -> None:
    axes.plot(*x.T, marker, color=color, markersize=3.4, markeredgewidth=0, alpha=0.65)


def _arrows(
    axes: Axes,
    at: np.ndarray,
    to: np.ndarray,
    color: str,
    width: float,
    edge: str = "none",
) -> None:
    axes.quiver(
        *at.T,
        *to.T,
        color=color,
        angles="xy",
        scale_units="xy",
        scale=1,
        width=width,
        edgecolor=edge,
        linewidth=0 if edge == "none" else 0.8,
        zorder=4,
    )


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


@rc_context(STYLE)
def ellipses(name: str, theory: Results, network: Mapping[str, Any]) -> str:
    """Points of the two ellipses, what a network says where, and balls of radius ε."""
    of = theory["ellipses"]
    points, labels = np.asarray(of["points"]), np.asarray(of["labels"])
    epsilon, colors = of["epsilon"], (CLASSES[-1], CLASSES[1])
    figure = Figure(figsize=(5.6, 2.5), layout="constrained")
    axes = figure.add_subplot(
        title=f"{network['training']} training",
        xlabel="x₁",
        ylabel="x₂",
        aspect="equal",
    )
    axes.contourf(
        of["first"],
        of["second"],
        network["margins"],
        levels=[-np.inf, 0, np.inf],
        colors=[color for color, _ in colors],
        alpha=0.2,
    )
    axes.contour(
        of["first"],
        of["second"],
        network["margins"],
        levels=[0],
        colors=[INK],
        linewidths=1.4,
    )
    for label, (color, marker) in enumerate(colors):
        own = points[labels == label]
        _points(axes, own, color, marker)
        for centre in own[:3]:
            ball = Circle(tuple(centre), epsilon, fill=False, edgecolor=INK)
            axes.add_patch(ball)
            axes.plot(*centre, marker, color=INK, markersize=4)
    low, high = points.min(0) - 1.4 * epsilon, points.max(0) + 1.4 * epsilon
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    alt = (
        f"Points of two ellipses and the classes that a network of "
        f"{network['training']} training gives to the plane."
    )
    return svg(figure, name, alt)


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
