"""The theory's pictures of the plane: points, ellipses, boundaries and arrows."""

from typing import Any

import numpy as np

from nrf.report import charts
from nrf.report.charts import INK, Axis, Series, series
from nrf.report.results import Results

MAHALANOBIS = 1.5  # Radius of the drawn ellipses, as in the paper.
# Classes and lines differ by marker or dash as well as by colour.
CLASSES = {1: (charts.BLUE, "o"), -1: (charts.ORANGE, "^")}
GRADIENT, BETWEEN = charts.GREEN, charts.PINK  # The classifier's; that of the classes.
_BOLD = {"color": INK, "linewidth": 1.4}


def panel(theory: Results, i: int) -> str:
    """One panel of the paper's figure 4: points, ellipses, boundary and arrows."""
    of = theory["panels"][i]
    mean, cov = (np.asarray(theory["problem"][name]) for name in ("mean", "cov"))
    x, y = (np.asarray(theory["points"][name]) for name in ("x", "y"))
    half = half_width(mean, cov)
    weights, steps = np.asarray(of["weights"]), np.asarray(of["perturbations"])
    across = np.array([-weights[1], weights[0]]) / np.linalg.norm(weights)
    drawn = [_curve(3 * half * np.array([-across, across]), **_BOLD)]
    for label, (color, marker) in CLASSES.items():
        learned = ellipse(label * np.asarray(of["mean"]), of["cov"])
        true = ellipse(label * mean, cov)
        drawn.append(_points(x[y == label], color, marker))
        drawn.append(_curve(learned, color=color, linewidth=2))
        drawn.append(_curve(true, **_BOLD, linestyle=(0, (4, 2))))

    def arrows(axes: Any) -> None:
        edge = {"edgecolor": charts.PAPER, "linewidth": 0.8}
        for direction, color in ((mean, BETWEEN), (weights, GRADIENT)):
            tip = 0.35 * half * direction / np.linalg.norm(direction)
            _arrows(axes, [(0, 0)], [tip], color=color, width=0.011, **edge)
        _arrows(axes, x[: len(steps)], steps, color=INK, width=0.004)

    alt = (
        "Two classes of points, their true and learned ellipses, the decision "
        f"boundary and its gradient at ε = {of['epsilon']:g}; the gradient's cosine "
        f"with the direction between the classes is {of['alignment']:.3f}."
    )
    corner, title = np.array([half, half / 2]), f"ε = {of['epsilon']:g}"
    return _plane(f"panel{i}", alt, drawn, title, -corner, corner, 3.45, arrows)


def ellipses(theory: Results, i: int) -> str:
    """Points of the two ellipses, what a network says where, and balls of radius ε."""
    of, epsilon = theory["ellipses"], theory["ellipses"]["epsilon"]
    network, points = of["networks"][i], np.asarray(of["points"])
    labels, colors = np.asarray(of["labels"]), (CLASSES[-1], CLASSES[1])
    drawn = []
    for label, (color, marker) in enumerate(colors):
        own = points[labels == label]
        drawn.append(_points(own, color, marker))
        for centre in own[:3]:
            ball = ellipse(centre, epsilon**2 * np.eye(2), radius=1)
            drawn.append(_curve(ball, color=INK, linewidth=1))
            drawn.append(_curve(centre[None], color=INK, marker=marker, markersize=4))

    def regions(axes: Any) -> None:
        where = of["first"], of["second"], network["margins"]
        fill = [color for color, _ in colors]
        axes.contourf(*where, levels=[-np.inf, 0, np.inf], colors=fill, alpha=0.2)
        axes.contour(*where, levels=[0], colors=[INK], linewidths=1.4)

    title = f"{network['training']} training"
    alt = f"Two ellipses' points, and the classes that {title} gives to the plane."
    low, high = points.min(0) - 1.4 * epsilon, points.max(0) + 1.4 * epsilon
    return _plane(f"ellipses{i}", alt, drawn, title, low, high, 2.5, regions)


def half_width(mean: np.ndarray, cov: np.ndarray) -> float:
    """Of a frame twice as wide as high, with the points of both classes inside."""
    reach = np.abs(mean) + 2 * np.sqrt(np.diag(cov))
    return float(max(reach[0], 2 * reach[1]))


def ellipse(centre: Any, cov: Any, radius: float = MAHALANOBIS) -> np.ndarray:
    """[N, 2], the points at this Mahalanobis radius from the centre."""
    angle = np.linspace(0, 2 * np.pi, 181)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    return centre + radius * (np.linalg.cholesky(np.asarray(cov)) @ circle).T


def _plane(name, alt, drawn, title, low, high, height: float, draw) -> str:
    """A plot of x₁ and x₂ on one scale, from the corner `low` to the corner `high`."""

    def also(axes: Any) -> None:
        axes.set_aspect("equal")
        draw(axes)

    x, y = (Axis(f"x{'₁₂'[i]}", (low[i], high[i])) for i in range(2))
    look: Any = {"size": (5.6, height), "grid": "", "draw": also}
    return charts.plot(name, alt, drawn, title=title, x=x, y=y, **look)


def _curve(points: np.ndarray, **look: Any) -> Series:
    return series(*points.T, **look)


def _points(x: np.ndarray, color: str, marker: str) -> Series:
    look = {"markersize": 3.4, "markeredgewidth": 0, "alpha": 0.65, "linestyle": ""}
    return _curve(x, color=color, marker=marker, **look)


def _arrows(axes: Any, at: Any, to: Any, **look: Any) -> None:
    scale = {"angles": "xy", "scale_units": "xy", "scale": 1, "zorder": 4}
    axes.quiver(*np.transpose(at), *np.transpose(to), **scale, **look)
