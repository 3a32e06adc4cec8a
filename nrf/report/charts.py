"""Plots as SVG for a page: text stays text, lines follow the page's light or dark.

Beside it only `framework`, `appendix`, `linear`, and `planes` and `plots` of other
pages, import matplotlib.
"""

import html
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nrf.report.results import KNOWN, Column, Measure, Network

# matplotlib knows only fixed colours; these stand for the page's own.
INK, RULE, PAPER = "#010203", "#040506", "#070809"
PAGE = {INK: "currentColor", RULE: "var(--rule)", PAPER: "var(--paper)"}
STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
# Okabe and Ito's palette for colour-blind readers: blue where training was meant to be
# robust, orange to pink where only non-robust features are left.
LOOKS = dict(
    zip(
        KNOWN,
        (
            ("#8c8c8c", "o"),
            ("#0072b2", "s"),
            ("#56b4e9", "D"),
            ("#d55e00", "v"),
            ("#e69f00", "^"),
            ("#cc79a7", "P"),
        ),
        strict=True,
    )
)
OTHERS = (("#009e73", "X"), ("#8a6bd1", "<"), ("#b0a030", ">"), ("#a5694f", "h"))


def look(network: Network) -> tuple[str, str]:
    """The colour and marker of a network, the same in every figure."""
    if network in LOOKS:
        return LOOKS[network]
    # From its letters, so that it does not depend on which others there are.
    return OTHERS[sum(map(ord, network.label)) % len(OTHERS)]


def bars(
    name: str,
    title: str,
    measured: Mapping[Network, Measure | None],
    chance: float,
) -> str:
    """One bar per network: mean over seeds, Wilson interval, a dot for every seed."""
    with rc_context(STYLE):
        figure = Figure(
            figsize=(5.2, 0.75 + 0.34 * len(measured)), layout="constrained"
        )
        axes = figure.add_subplot(title=title, xlim=(0, 1))
        for y, (network, measure) in enumerate(measured.items()):
            if measure is None:
                axes.text(0.01, y, "not measured", va="center")
                continue
            low, high = measure.interval
            axes.barh(y, measure.mean, 0.68, color=look(network)[0])
            axes.plot([low, high], [y, y], color=INK, linewidth=1.4)
            if len(measure.by_seed) > 1:
                dots = list(measure.by_seed.values())
                axes.plot(
                    dots, [y] * len(dots), "o", markersize=4, color=PAPER, mec=INK
                )
            value = f"{100 * measure.mean:.1f} %"
            axes.text(1.17, y, value, va="center", ha="right")
        _chance(axes.axvline, chance)
        axes.set_yticks(range(len(measured)), [network.label for network in measured])
        axes.set_ylim(len(measured) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="x", linewidth=0.6)
        axes.tick_params(axis="y", length=0)
        said = [
            f"{network.label} " + ("–" if m is None else f"{100 * m.mean:.1f} %")
            for network, m in measured.items()
        ]
        return svg(figure, name, f"Bars of {title}: {', '.join(said)}.")


def curves(
    name: str,
    measured: Mapping[Network, Mapping[Column, Measure]],
    radii: Sequence[Column],
    ticks: Sequence[str],
    label: str,
    chance: float,
) -> str:
    """Accuracy against radius, `radii` in rising order: a line and band per network."""
    x = [column.epsilon for column in radii]
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 4.3), layout="constrained")
        axes = figure.add_subplot(xlabel=label, ylabel="accuracy", ylim=(0, 1))
        for network, cells in measured.items():
            color, marker = look(network)
            at = [i for i, column in enumerate(radii) if column in cells]
            found = [cells[radii[i]] for i in at]
            where = [x[i] for i in at]
            low = [measure.interval[0] for measure in found]
            high = [measure.interval[1] for measure in found]
            axes.fill_between(where, low, high, color=color, alpha=0.2, linewidth=0)
            axes.plot(
                where,
                [measure.mean for measure in found],
                color=color,
                marker=marker,
                markersize=6,
                label=network.label,
                clip_on=False,
            )
        _chance(axes.axhline, chance)
        axes.set_xticks(*_apart(x, ticks))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y", linewidth=0.6)
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2)
        alt = f"Lines of accuracy against {label} for {len(measured)} networks."
        return svg(figure, name, alt)


def training(
    name: str,
    network: Network,
    histories: Iterable[Sequence[Mapping[str, Any]]],
    chance: float,
) -> str:
    """Test (solid) and training accuracy (dashed) by epoch, a line per seed."""
    with rc_context(STYLE):
        figure = Figure(figsize=(3.9, 2.5), layout="constrained")
        axes = figure.add_subplot(title=network.label, xlabel="epoch", ylim=(0, 1.02))
        for history in histories:
            epochs = [entry["epoch"] for entry in history]
            # One or two epochs make no line to be seen.
            marker = "o" if len(epochs) < 3 else ""
            for what, color, dash, width in (
                ("accuracy", INK, (0, (3, 2)), 0.9),
                ("test_accuracy", look(network)[0], "solid", 2.0),
            ):
                found = [entry.get(what) for entry in history]
                values = [math.nan if value is None else value for value in found]
                axes.plot(
                    epochs,
                    values,
                    color=color,
                    linestyle=dash,
                    linewidth=width,
                    marker=marker,
                    markersize=4,
                )
        _chance(axes.axhline, chance)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y", linewidth=0.6)
        alt = f"Lines of test and training accuracy by epoch for {network.label}."
        return svg(figure, name, alt)


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


def _chance(line, chance: float) -> None:
    line(chance, color=INK, linewidth=1.1, linestyle=(0, (1, 2)), zorder=3)


def _apart(x: Sequence[float], ticks: Sequence[str]) -> tuple[list[float], list[str]]:
    """The ticks that are a tenth of the axis apart, so that labels do not collide."""
    kept: list[int] = []
    for i in range(len(x)):
        if not kept or x[i] - x[kept[-1]] >= 0.1 * (x[-1] - x[0]):
            kept.append(i)
    return [x[i] for i in kept], [ticks[i] for i in kept]
