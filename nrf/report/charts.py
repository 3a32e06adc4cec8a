"""Charts as SVG for a page: text stays text, lines follow the page's light or dark.

    lines = [charts.series([0, 1], [0.9, 0.4], color=BLUE, marker="o", label="D")]
    svg = charts.plot("curve", "Accuracy by radius.", lines, x=Axis("radius"))

Every page draws with these few functions; only `poster.py` uses matplotlib beside it.
"""

import html
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib import rc_context, rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from nrf.report.results import Measure

# matplotlib knows only fixed colours; these stand for the page's own.
INK, RULE, PAPER = "#010203", "#040506", "#070809"
PAGE = {INK: "currentColor", RULE: "var(--rule)", PAPER: "var(--paper)"}
_SHEET = Path(__file__).parent / "templates" / "page.mplstyle"
STYLE: Any = rc_params_from_file(_SHEET, use_default_template=False)
# Okabe and Ito's palette for colour-blind readers.
GREY, BLUE, SKY, ORANGE = "#8c8c8c", "#0072b2", "#56b4e9", "#d55e00"
AMBER, PINK, GREEN = "#e69f00", "#cc79a7", "#009e73"
# By place in a list: in the paper's order blue is where training was meant to be
# robust, orange to pink where only non-robust features are left.
LOOKS = (
    *((GREY, "o"), (BLUE, "s"), (SKY, "D"), (ORANGE, "v"), (AMBER, "^"), (PINK, "P")),
    *((GREEN, "X"), ("#8a6bd1", "<"), ("#b0a030", ">"), ("#a5694f", "h")),
)
DOTS = (0, (1, 2))  # The pattern of a dotted line.
SIZE = (5.2, 4.3)  # Inches; a panel of half the page.


def look(place: int) -> dict[str, Any]:
    """The colour and marker of what has this place in its list, in every figure."""
    color, marker = LOOKS[place % len(LOOKS)]
    return {"color": color, "marker": marker}


class Axis(NamedTuple):
    """One axis of a plot."""

    label: str = ""
    limits: tuple[float | None, float | None] = (None, None)
    scale: str = "linear"  # Or "log", or "symlog", as matplotlib has them.
    unit: Literal["", "percent", "whole"] = ""  # Of its numbers.
    ticks: Sequence[float] | None = None  # Those too close to be read are left out.
    names: Sequence[str] | None = None  # What is written at `ticks`.
    level: float | None = None  # Where a dotted line crosses the plot: chance.


LINEAR = Axis()
# Points or a line: what `series` makes.
Series = dict[str, Any]


class Bar(NamedTuple):
    """One bar of a chart."""

    label: str
    measure: Measure | None  # None: it was not measured.
    color: str = GREY
    paper: float | None = None  # A tick where the paper is, a fraction.


def series(x: Any, y: Any, *, band: Any = None, **look: Any) -> Series:
    """A line or points, with the `look` that matplotlib's `errorbar` takes.

    That is `color`, `marker`, `linestyle`, `label`, `xerr`, `yerr` and the like. `band`
    is shaded from its first row to its second.
    """
    return {"x": x, "y": y, "band": band, **look}


def measured(of: Mapping[Any, Measure], band: bool = True, **look: Any) -> Series:
    """The means of measures by x as a line, and their intervals as its band."""
    ends = [measure.interval for measure in of.values()]
    bounds = ([low for low, _ in ends], [high for _, high in ends]) if band else None
    means = [measure.mean for measure in of.values()]
    return series(list(of), means, band=bounds, clip_on=False, **look)


def plot(
    name: str,
    alt: str,
    drawn: Sequence[Series],
    *,
    title: str = "",
    x: Axis = LINEAR,
    y: Axis = LINEAR,
    size: tuple[float, float] = SIZE,
    grid: Literal["x", "y", "both", ""] = "y",
    legend: int = 2,
    draw: Callable[[Axes], None] | None = None,
) -> str:
    """Lines and points as an <svg>; `name` is unique on its page.

    `alt` describes it in words. `legend` is the number of columns in which the labels
    of `drawn` stand below. `draw` may add to the axes what is no series.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot(title=title, xlabel=x.label, ylabel=y.label)
        axes.set(xscale=x.scale, yscale=y.scale)
        for one in drawn:
            _series(axes, **one)
        if draw:
            draw(axes)
        _axis(axes.xaxis, x, axes.get_xlim, axes.set_xlim, axes.axvline)
        _axis(axes.yaxis, y, axes.get_ylim, axes.set_ylim, axes.axhline)
        if grid:
            axes.grid(axis=grid, linewidth=0.6)
        if axes.get_legend_handles_labels()[1]:
            place: Any = {"loc": "outside lower center", "columnspacing": 1.2}
            figure.legend(ncols=legend, **place)
        return svg(figure, name, alt)


def bars(name: str, title: str, drawn: Sequence[Bar], chance: float) -> str:
    """A bar each: mean, interval, a circle for every seed, a tick for the paper's."""

    def draw(axes: Axes) -> None:
        for y, bar in enumerate(drawn):
            if bar.paper is not None:
                axes.plot([bar.paper] * 2, [y - 0.46, y + 0.46], color=INK, lw=2.4)
            if not (measure := bar.measure):
                behind = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
                axes.text(0.01, y, "not measured", va="center", bbox=behind, zorder=4)
                continue
            axes.barh(y, measure.mean, 0.68, color=bar.color)
            axes.plot(measure.interval, [y, y], color=INK, linewidth=1.4)
            seeds = list(measure.by_seed.values())
            if len(seeds) > 1:
                circles: Any = {"markersize": 4, "color": PAPER, "mec": INK}
                axes.plot(seeds, [y] * len(seeds), "o", **circles)
            axes.text(1.17, y, f"{100 * measure.mean:.1f} %", va="center", ha="right")
        axes.set_yticks(range(len(drawn)), [bar.label for bar in drawn])
        axes.tick_params(axis="y", length=0)

    told = [
        bar.label + (f" {100 * bar.measure.mean:.1f} %" if bar.measure else " –")
        for bar in drawn
    ]
    return plot(
        name,
        f"Bars of {title}: {', '.join(told)}.",
        [],
        title=title,
        x=Axis("", (0, 1), unit="percent", level=chance),
        y=Axis("", (len(drawn) - 0.4, -0.6)),
        size=(5.2, 0.75 + 0.34 * len(drawn)),
        grid="x",
        draw=draw,
    )


def _series(axes: Axes, x: Any, y: Any, band: Any, **look: Any) -> None:
    if band:
        color = look.get("color")
        axes.fill_between(x, *band, color=color, alpha=0.2, linewidth=0)
    axes.errorbar(x, y, **look)


def _axis(axis: Any, of: Axis, limits: Any, limit: Any, level: Any) -> None:
    if of.limits != (None, None):
        limit(*of.limits)
    least, most = limits()
    if of.scale != "linear":
        # 0.01 and 100 instead of powers of ten; 2 and 5 too where these are few.
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:g}")
        if 0 < most < 100 * least:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    if of.ticks is not None:
        kept = _apart(of.ticks, of.scale == "log")
        names = of.names and [of.names[i] for i in kept]
        axis.set_ticks([of.ticks[i] for i in kept], names)
        limit(least, most)  # Ticks have widened them.
    if of.unit == "percent":
        axis.set_major_formatter(PercentFormatter(1))
    elif of.unit == "whole":
        axis.set_major_locator(MaxNLocator(5, integer=True))
    if of.level is not None:
        level(of.level, color=INK, linewidth=1.1, linestyle=DOTS, zorder=3)


def _apart(ticks: Sequence[float], ratio: bool) -> list[int]:
    """Which rising ticks are far enough apart that their labels do not collide."""
    kept = [0]
    for i, tick in enumerate(ticks):
        last = ticks[kept[-1]]
        far = 1.6 * last if ratio else last + 0.1 * (ticks[-1] - ticks[0])
        if i and tick >= far:
            kept.append(i)
    return kept


def svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an <svg> element; `name` is unique on its page.

    It has a description for screen readers, the page's colours and fonts, and no
    identifier or address that could meet another's.
    """
    stream = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    source = stream.getvalue()
    source = source[source.index("<svg") :]
    source = re.sub(r"<metadata>.*?</metadata>", "", source, flags=re.DOTALL)
    source = re.sub(r"<style.*?</style>", "", source, flags=re.DOTALL)
    source = re.sub(r"<!--.*?-->", "", source, flags=re.DOTALL)
    source = source.replace("xlink:href", "href")
    source = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", source)
    # The page says which font; only its size is the figure's.
    source = re.sub(r"font-family: [^;\"]*; ?", "", source)
    source = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", source)
    for fixed, own in PAGE.items():
        source = source.replace(fixed, own)
    # A name's letters below the line, and back up after them.
    below = r'D<tspan dy="0.25em" font-size="80%">\1</tspan>'
    back = '<tspan dy="-0.2em">&#8203;</tspan>'
    source = re.sub(r"\bD_(\w+)(?=[^<>]*</text>)", below + back, source)
    described = html.escape(alt)
    size = re.search(r'viewBox="[^"]*"', source)
    if size is None:
        raise ValueError(f"matplotlib's SVG of {name} has no viewBox.")
    start = f'<svg role="img" aria-label="{described}" {size[0]}>'
    return start + source[source.index(">") + 1 :].strip()


def training(
    name: str,
    title: str,
    color: str,
    histories: Sequence[Sequence[Mapping[str, Any]]],
    chance: float,
) -> str:
    """Test (solid) and training accuracy (dashed) by epoch, a line for each history."""
    drawn = []
    for history in histories:
        epochs = [entry["epoch"] for entry in history]
        # One or two epochs make no line to be seen.
        marks: dict[str, Any] = {"marker": "o" if len(epochs) < 3 else ""}
        for what, style in (
            ("accuracy", {"color": INK, "linestyle": (0, (3, 2)), "linewidth": 0.9}),
            ("test_accuracy", {"color": color, "linewidth": 2.0}),
        ):
            values = [entry.get(what) for entry in history]
            y = [math.nan if value is None else value for value in values]
            drawn.append(series(epochs, y, markersize=4, **marks, **style))
    return plot(
        name,
        f"Lines of test and training accuracy by epoch for {title}.",
        drawn,
        title=title,
        x=Axis("epoch", (0, None), unit="whole"),
        y=Axis("", (0, 1.02), unit="percent", level=chance),
        size=(3.9, 2.5),
    )
