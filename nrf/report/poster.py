"""The experiment in one picture: images of every set, beside bars of accuracy."""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nrf.report.charts import BLUE, GREY, ORANGE
from nrf.report.results import CLEAN, Column, Measures, Results, main_attack, networks
from nrf.report.strongest import measures
from nrf.report.table import headline

# What each set of the paper is, for the words beside its row.
_WHAT = {
    "D": "images as they are",
    "D_R": "other images, moved to the\nfeatures of a robust network",
    "D_NR": "other images, moved to the\nfeatures of a standard network",
    "D_rand": "D, attacked towards\na random class",
    "D_det": "D, attacked towards\nthe next class",
}
_STYLE: Any = {"font.size": 9, "mathtext.default": "regular"}
# Inches: the words, a column and a row of images, an image, the bars.
_WORDS, _COLUMN, _ROW, _SIDE, _BARS = 2.0, 0.77, 0.94, 0.68, 2.5


def png(results: Results, images: Mapping[str, np.ndarray], count: int = 8) -> bytes:
    """A PNG of `count` images in D and the paper's four sets, as far as they were made.

    Beside each set are the accuracies of the networks trained on it, as far as they
    were measured. `images` as in pictures.npz.

    Raises:
      ValueError: there are no pictures of D.
    """
    shown = [name for name in _WHAT if name in images]
    if "D" not in shown:
        raise ValueError("the run has no pictures.npz with images of D; run it again.")
    groups = measures(results)
    columns = [CLEAN, *(headline(results, groups) if main_attack(groups) else [])]
    with mpl.rc_context(_STYLE):
        count = min(count, len(images["D"]))
        left, height = _WORDS + count * _COLUMN, len(shown) * _ROW
        whole = left + _BARS + 0.3, height + 0.75
        figure = Figure(figsize=whole)

        def place(x: float, width: float) -> tuple[float, float, float, float]:
            return x / whole[0], 0.27 / whole[1], width / whole[0], height / whole[1]

        _images(figure.add_axes(place(0, left)), shown, images, results, count)
        bars = figure.add_axes(place(left + 0.1, _BARS))
        _bars(bars, shown, results, groups, columns)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def _images(axes: Axes, shown, images, results: Results, count: int) -> None:
    """A row for each set, a column for each image; coordinates are inches."""
    classes = results["classes"]
    for row, name in enumerate(shown):
        top = row * _ROW + 0.06
        axes.text(0.08, top + 0.2, _title(name), weight="bold", size=11)
        axes.text(0.08, top + 0.44, _WHAT[name], size=7.5, va="center")
        labels = images[f"{name}_labels"]
        for i, image in enumerate(np.clip(images[name][:count], 0, 1)):
            pixels = image if image.shape[-1] == 3 else image.mean(-1)
            x = _WORDS + i * _COLUMN
            corners = (x, x + _SIDE, top + _SIDE, top)
            axes.imshow(pixels, "gray", vmin=0, vmax=1, extent=corners)
            changed = labels[i] != images["D_labels"][i]
            text = ("→ " if changed else "") + str(classes[labels[i]])
            color = ORANGE if changed else "black"
            middle = x + _SIDE / 2, top + _SIDE + 0.1
            axes.text(*middle, text, size=7.5, color=color, ha="center", va="center")
    axes.set_aspect("auto")
    axes.set(xlim=(0, _WORDS + count * _COLUMN), ylim=(len(shown) * _ROW, 0))
    axes.axis("off")


def _bars(axes: Axes, shown, results: Results, groups: Measures, columns) -> None:
    known = networks(results)
    rows = [
        (place, network, groups[network])
        for place, name in enumerate(shown)
        for network in known.values()
        if network in groups and network.trained_on == name
    ]
    several = {place for place, network, _ in rows if network.training != "standard"}
    for place, network, cells in rows:
        # Two networks share the row of D, one above the other.
        adversarial = network.training != "standard"
        at = place + (0.24 if adversarial else -0.24) * (place in several)
        height = 0.19 if place in several else 0.3
        measured = [column for column in columns if column in cells]
        for i, column in enumerate(measured):
            y = at + height * (i - (len(measured) - 1) / 2)
            _bar(axes, y, cells[column], height, (GREY, BLUE)[i])
        if place in several:
            kind = f"{network.training} training"
            y = at - height * (len(measured) - 1) / 2
            axes.text(0.01, y, kind, size=6.5, va="center", color="white")
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5), yticks=[])
    axes.set_title(_legend(columns), size=8.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.axvline(1 / len(results["classes"]), color="black", lw=0.8, ls=(0, (1, 2)))
    axes.spines[["top", "right", "left"]].set_visible(False)


def _bar(axes: Axes, y: float, measure, height: float, color: str) -> None:
    axes.barh(y, measure.mean, 0.9 * height, color=color)
    axes.plot(measure.interval, [y, y], color="black", lw=0.9)
    right = max(measure.mean, measure.interval[1])
    axes.text(right + 0.015, y, f"{100 * measure.mean:.0f}", size=7, va="center")


def _legend(columns: list[Column]) -> str:
    words = ["grey: accuracy on test images, %"]
    words += [f"blue: under attack, {column.label}" for column in columns[1:]]
    return "\n".join(words)


def _title(name: str) -> str:
    start, _, below = name.partition("_")
    return f"${start}_{{{below}}}$" if below else start
