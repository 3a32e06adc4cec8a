"""The paper's figures 3 and 13 with this run's points, and how networks trained."""

from collections import defaultdict
from typing import Any

from nrf.report import charts
from nrf.report.charts import INK, Axis, Series, series
from nrf.report.page import percent
from nrf.report.results import Measure, Results
from nrf.report.transfer.claims import Line, line, measured_line
from nrf.report.transfer.points import PAPER, SOURCE, learners, titles


def look(study: Results, name: str) -> dict[str, Any]:
    """The colour and marker of a network, by its place: the source has the first."""
    # The paper's architectures that the run does not have come after its own.
    names = list(dict.fromkeys((*titles(study), *PAPER, name)))
    return charts.look(names.index(name))


def scatter(study: Results, way: str, beside: bool) -> str:
    """Transfer rate against accuracy after D_det; `beside` draws the paper's too."""
    names, drawn, told, across = titles(study), [], [], []
    for name, point in learners(study).items():
        on, rate = point.on_D_det, getattr(point, way)
        if on is None or rate is None:
            continue
        style = {**look(study, name), "markersize": 8, "linestyle": "none"}
        style |= {"linewidth": 1.2, "label": names[name], "clip_on": False}
        style |= {"xerr": _bars(on), "yerr": _bars(rate)}
        drawn.append(series([on.mean], [rate.mean], **style))
        told.append(f"{names[name]} {percent(on.mean)}, {percent(rate.mean)}")
        across.append(on.mean)
    drawn += _line(measured_line(study, way), across, "solid")
    if beside:
        paper = {name: (of.on_D_det, getattr(of, way)) for name, of in PAPER.items()}
        for name, (x, y) in paper.items():
            style = {**look(study, name), "mfc": "none", "linestyle": "none"}
            drawn.append(series([x], [y], **style, markersize=8, clip_on=False))
        across, rates = map(list, zip(*paper.values(), strict=True))
        drawn += _line(line(across, rates), across, (0, (4, 2)))
    shape: dict[str, Any] = {"size": (5.2, 4.6), "grid": "both", "legend": 3}
    shape["x"] = Axis("test accuracy, trained on D_det", (0, None), unit="percent")
    shape["y"] = Axis("transfer rate", (0, 1), unit="percent")
    alt = f"Points of {way} transfer rate: {'; '.join(told)}."
    return charts.plot(way, alt, drawn, title=way, **shape)


def training(study: Results) -> list[str]:
    """Accuracy by epoch: a plot for each network, a line for each seed."""
    names, chance = titles(study), 1 / len(study["classes"])
    histories = defaultdict(list)
    for step, history in (study.get("history") or {}).items():
        histories[step.partition("/")[2]].append(history)
    drawn = []
    for i, (step, of_seeds) in enumerate(histories.items()):
        name = step.removesuffix("_on_D_det")
        on = "" if name == SOURCE else " on D" if name == step else " on D_det"
        title, color = names.get(name, name) + on, look(study, name)["color"]
        drawn.append(charts.training(f"training{i}", title, color, of_seeds, chance))
    return drawn


def _bars(measure: Measure) -> list[list[float]]:
    low, high = measure.interval
    return [[max(0, measure.mean - low)], [max(0, high - measure.mean)]]


def _line(of: Line | None, across: list[float], dash) -> list[Series]:
    if of is None:
        return []
    ends = [min(across), max(across)]
    y = [of.intercept + of.slope * end for end in ends]
    return [series(ends, y, color=INK, linewidth=1.2, linestyle=dash)]
