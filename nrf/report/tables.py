"""The other rows of the paper's tables, where a run has them."""

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nrf.report import page, paper
from nrf.report.charts import STYLE, svg
from nrf.report.results import (
    CLEAN,
    Measure,
    Measures,
    Network,
    Results,
    columns,
    grouped,
    headline,
    measures,
)
from nrf.report.table import cell, heading

Rows = list[Mapping[str, Any]]
# Table 9; table 10 for the relabelled test set; in %, CIFAR-10, the last iteration.
SOURCES = {
    "D_rand": (63.3, None),
    "D_rand_robust": (25.2, None),
    "D_det": (43.7, 16.2),
    "D_det_robust": (5.8, 65.5),
}
NOISE = {"D_R": 48.2, "D_R_noise": 48.27, "D_NR": 0.82, "D_NR_noise": 1.5}  # Table 7.
LOST = {"D_R": 77.33, "D_R_test": 62.49, "test": 48.27}  # Table 8, at ε = 0.25.


def tables(results: Results) -> str:
    """The section of the page; nothing where a run has no appendix."""
    rows: Rows = results.get("appendix") or []
    if not rows:
        return ""
    groups = measures(results)
    known = paper.comparable(results)
    parts = (
        sources(results, rows, groups, known),
        noise(results, rows, groups, known),
        lost(results, rows, groups, known),
        strength(rows),
        second(results, rows, groups),
    )
    return page.section("The other rows of the paper's tables", *parts)


def sources(results: Results, rows: Rows, groups: Measures, known: bool) -> str:
    made = grouped(tested_on(rows, "test", ("D_rand_robust", "D_det_robust")))
    if not made:
        return ""
    relabelled = grouped(tested_on(rows, "relabelled"))
    table = []
    for name, (plain, shifted) in SOURCES.items():
        network = Network(name, "standard")
        line = [network.label]
        for cells, theirs in (({**groups, **made}, plain), (relabelled, shifted)):
            line.append(cell(cells.get(network, {}).get(CLEAN), "|"))
            line += [percents(theirs)] if known else []
        table.append([*line, target_reached(results, name)])
    printed = ["paper"] if known else []
    head = ["trained on", "true labels", *printed, "the next class", *printed]
    return page.paragraph(
        "D_rand and D_det by attacks on the robust network (tables 9 and 10). If it "
        "has few non-robust features, its attacks have few to give: in the paper "
        "D_rand teaches less, and the network of D_det takes images for the class "
        "after the true one, as their robust features were labelled. Where the attack "
        "is so large that most targets are reached, it changes the robust features "
        "too, and these teach the true classes."
    ) + page.table([*head, "target reached"], table)


def target_reached(results: Results, name: str) -> str:
    found = [
        made["reached_target"]
        for made in (*(results.get("attacks") or []), *(results.get("sets") or []))
        if made["set"] == name
    ]
    return f"{100 * sum(found) / len(found):.1f} %" if found else "–"


def noise(results: Results, rows: Rows, groups: Measures, known: bool) -> str:
    made = grouped(tested_on(rows, "test", ("D_R_noise", "D_NR_noise")))
    if not made:
        return ""
    found, shown = {**groups, **made}, columns(made)
    table = []
    for name, theirs in NOISE.items():
        network = Network(name, "standard")
        cells = [cell(found.get(network, {}).get(at), "|") for at in shown]
        table.append([network.label, *cells, *([f"{theirs:g} %"] if known else [])])
    head = ["trained on", *(heading(at, groups) for at in shown)]
    head += ["paper, ε = 0.25"] if known else []
    return page.paragraph(
        "Sets whose images were noise before they were matched, not other images "
        "(table 7)."
    ) + page.table(head, table)


def lost(results: Results, rows: Rows, groups: Measures, known: bool) -> str:
    at = headline(results, groups)
    network = Network("D_R", "standard")
    if at is None:
        return ""
    found = {
        on: grouped(tested_on(rows, on)).get(network, {}).get(at)
        for on in ("D_R", "D_R_test")
    }
    if not any(found.values()):
        return ""
    found["test"] = groups.get(network, {}).get(at)
    names = {
        "D_R": "D_R, which it was trained on",
        "D_R_test": "D_R made of the test images",
        "test": "the test images",
    }
    table = [
        [names[on], cell(measure, "|"), *([f"{LOST[on]:g} %"] if known else [])]
        for on, measure in found.items()
    ]
    printed = ["paper, ε = 0.25"] if known else []
    return page.paragraph(
        "Where the network of D_R is robust (table 8). In the paper robustness is lost "
        "from the images that it learned to others of their kind, and again from these "
        "to images as they are."
    ) + page.table(["attacked images", f"robust, {at.label}", *printed], table)


def strength(rows: Rows) -> str:
    network = Network("D_R", "standard")
    found: dict[str, dict[int, Measure]] = {}
    for at, measure in grouped(tested_on(rows, "test")).get(network, {}).items():
        found.setdefault(at.attack, {})[at.steps] = measure
        radius = at.label
    if not found:
        return ""
    names = {"pgd": "cross-entropy", "pgd margin": "margin (Carlini and Wagner)"}
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.add_subplot(xlabel="steps", ylabel=f"robust accuracy, {radius}")
        for (attack, cells), marker in zip(found.items(), "os", strict=False):
            axes.plot(
                list(cells),
                [measure.mean for measure in cells.values()],
                marker=marker,
                color="#56b4e9" if attack == "pgd" else "#d55e00",
                label=names.get(attack, attack),
                clip_on=False,
            )
        steps = sorted({count for cells in found.values() for count in cells})
        axes.set_xscale("log", base=2)
        axes.set_xticks(steps, [str(count) for count in steps])
        axes.set_xticks([], minor=True)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="y", linewidth=0.6)
        figure.legend(loc="outside lower center", ncols=2)
        alt = f"Robust accuracy of D_R's network for {len(steps)} numbers of steps."
        chart = svg(figure, "strength", alt)
    counts = sorted(found["pgd"])
    first, last = (found["pgd"][count] for count in (counts[0], counts[-1]))
    return page.figure(
        page.panels([chart], least="26rem"),
        "The network of D_R under ever more steps of the attack, for both losses "
        f"(figure 8): from {counts[0]} to {counts[-1]} steps it loses "
        f"{100 * (first.mean - last.mean):.1f} points. A line that is flat to the "
        "right says that more steps would not help this attack, not that no other "
        "attack would.",
    )


def second(results: Results, rows: Rows, groups: Measures) -> str:
    found = grouped(tested_on(rows, "second_test"))
    if not found:
        return ""
    name = results["config"]["appendix"]["second_test"]
    attacked = headline(results, groups)
    at = [CLEAN, attacked] if attacked else [CLEAN]
    table = []
    for network, cells in found.items():
        both = (groups.get(network, {}), cells)
        row = [cell(of.get(column), "|") for column in at for of in both]
        table.append([network.label, *row])
    head = ["trained on"]
    for column in at:
        head += [column.label, f"{column.label}, on {name}"]
    return page.paragraph(
        "On a test set that was collected later (appendix D.7, where D_rand's network "
        "has 55 % and D_det's 44 % on CIFAR-10.1)."
    ) + page.table(head, table)


def tested_on(rows: Rows, on: str, trained_on: Iterable[str] = ()) -> Rows:
    """The rows on the set `on`, of the networks trained on any of `trained_on`."""
    return [
        row
        for row in rows
        if row["tested_on"] == on
        and (not trained_on or row["trained_on"] in trained_on)
    ]


def percents(value: float | None) -> str:
    return "–" if value is None else f"{value:g} %"
