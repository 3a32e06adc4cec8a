"""The other rows of the paper's tables, where a run has them."""

import statistics
from collections.abc import Mapping
from typing import Any

from nrf.report import charts, page, paper
from nrf.report.judge import compared
from nrf.report.provenance import constructed
from nrf.report.results import (
    CLEAN,
    Cells,
    Column,
    Measure,
    Results,
    columns,
    grouped,
    measures,
    networks,
    reported,
)
from nrf.report.table import cell, heading

# The paper's own, which the template lays out.
_PRINTED = {"on_D_rand_robust", "on_D_det_robust", "on_D_R_noise", "on_D_NR_noise"}
_USUAL = ("test", "relabelled", "second_test")


def section(results: Results) -> str:
    """The section of the page; nothing where a run has no other tables.

    The template has the layout of the tables and the paper's numbers.
    """
    if not results.get("tables"):
        return ""
    known, main = networks(results), measures(results)
    made = {n.name: of for n, of in grouped(results, "tables").items()}
    of_main = {n.name: of for n, of in main.items()}
    # The robust sources may be sets of the figure.
    made |= {name: of for name, of in of_main.items() if name in _PRINTED}
    own = [name for name in made if name not in _PRINTED | of_main.keys()]
    settings = results["config"].get("tables") or {}

    def row(name: str, shown: list[Column], on: str = "test") -> list[str]:
        """Accuracies of a network on a set."""
        of = {n.name: cells for n, cells in grouped(results, "tables", on).items()}
        if on == "test":
            of |= of_main
        return [cell(of.get(name, {}).get(column)) for column in shown]

    def reached(name: str) -> str:
        """How often the targets of an attacked set were reached."""
        shares = [made["reached_target"] for made in constructed(results, name)]
        return page.percent(statistics.fmean(shares) if shares else None)

    def shown(*names: str) -> list[Column]:
        """What was measured of any of these networks."""
        return columns({known[n]: made[n] for n in names if n in made})

    return page.render(
        "tables.html",
        made=made,
        title=lambda name: known[name].title if name in known else name,
        row=row,
        reached=reached,
        shown=shown,
        heads=lambda shown: [heading(column, main) for column in shown],
        paper=lambda printed: printed if paper.comparable(results) else None,
        clean=CLEAN,
        at=reported(results, main),
        own=own,
        elsewhere=elsewhere(results),
        start=_start({**made, **of_main}, reported(results, main)),
        order=_order(results, reported(results, main)),
        strength=_strength(results, settings.get("strength_of")),
        second=[n.name for n in grouped(results, "tables", "second_test")],
        second_test=settings.get("second_test"),
    )


def elsewhere(results: Results) -> list[tuple[Any, str]]:
    """Networks and the sets that they were tested on, the test images last."""
    pairs = []
    for network in networks(results).values():
        places = dict.fromkeys(
            row["tested_on"]
            for row in results["tables"]
            if row["network"] == network.name and row["tested_on"] not in _USUAL
        )
        pairs += [(network, on) for on in (*places, "test") if places]
    return pairs


def _start(of: Mapping[str, Cells], at: Column | None) -> list[str]:
    """Whether D_R made from noise is as robust as that made from images (table 7)."""
    pair = {"D_R from noise": of.get("on_D_R_noise"), "D_R": of.get("on_D_R")}
    known = {name: cells for name, cells in pair.items() if cells}
    less = compared(known, at) if at and len(known) == 2 else None
    if less is None:
        return []
    values = {"at": less.at, "of": less.difference, "verdict": less.verdict}
    return page.words("tables.txt", "start", **values)


def _order(results: Results, at: Column | None) -> list[str]:
    """Whether D_R's network loses robustness in the paper's order (table 8)."""
    places = ("D_R", "D_R_test", "test")
    found = []
    for on in places:
        groups = grouped(results, "tables", on)
        if on == "test":
            groups |= measures(results)
        of = {n.name: cells for n, cells in groups.items()}.get("on_D_R", {})
        if at not in of:
            return []
        found.append(of[at].mean)
    falls = found[0] > found[1] > found[2]
    return page.words("tables.txt", "order", found=found, falls=falls)


def _strength(results: Results, name: str | None) -> dict[str, Any] | None:
    """The chart of one network under ever more steps, and what it loses to them."""
    groups = {n: of for n, of in grouped(results, "tables").items() if n.name == name}
    by_loss: dict[str, dict[int, Measure]] = {}
    for at in columns(groups):
        if at != CLEAN:
            (cells,) = groups.values()
            by_loss.setdefault(at.attack, {})[at.steps] = cells[at]
    if not by_loss:
        return None
    drawn = []
    for i, (attack, of) in enumerate(by_loss.items()):
        (label,) = page.words("tables.txt", "loss", attack=attack)
        look = {"marker": "os"[i % 2], "color": (charts.SKY, charts.ORANGE)[i % 2]}
        drawn.append(charts.measured(of, band=False, label=label, **look))
    first = next(iter(by_loss.values()))
    fewest, most = min(first), max(first)
    ticks = sorted({steps for of in by_loss.values() for steps in of})
    y = charts.Axis(f"robust accuracy, {at.label}", (0, None), unit="percent")
    return {
        "chart": charts.plot(
            "strength",
            f"Robust accuracy for {len(ticks)} numbers of steps.",
            drawn,
            x=charts.Axis("steps", scale="log", ticks=ticks),
            y=y,
            size=(5.2, 3.4),
        ),
        "of": next(iter(groups)).title,
        "fewest": fewest,
        "most": most,
        "lost": 100 * (first[fewest].mean - first[most].mean),
    }
