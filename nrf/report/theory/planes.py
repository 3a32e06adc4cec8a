"""The theory's pictures of the plane: points, ellipses, boundaries and arrows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from nrf.report.charts import INK, PAPER, STYLE, svg
from nrf.report.results import Results

# Okabe and Ito's palette; classes and lines differ by marker or dash as well.
BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
CLASSES = {1: (BLUE, "o"), -1: (ORANGE, "^")}
MAHALANOBIS = 1.5  # Radius of the drawn ellipses, as in the paper.


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
