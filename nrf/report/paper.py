"""The paper's numbers for CIFAR-10, beside those of a run on the same data."""

import re

from nrf.report import page, settings
from nrf.report.results import (
    Column,
    Measures,
    Network,
    Results,
    columns,
    reported,
)
from nrf.report.table import ordered

# Accuracy in % by l2 radius, by set and training: figure 2 (right), table 7; table 1
# for the last two.
PAPER: dict[tuple[str, str], dict[float, float]] = {
    ("D", "standard"): {0: 95.25, 0.25: 4.49, 0.5: 0.0},
    ("D", "adversarial"): {0: 90.83, 0.25: 82.48, 0.5: 70.90},
    ("D_R", "standard"): {0: 84.10, 0.25: 48.27, 0.5: 29.40},
    ("D_NR", "standard"): {0: 87.68, 0.25: 0.82, 0.5: 0.0},
    ("D_rand", "standard"): {0: 63.3},
    ("D_det", "standard"): {0: 43.7},
}


def comparable(results: Results) -> bool:
    """Whether the data are CIFAR-10; CIFAR-100 begins with the same letters."""
    return re.match(r"cifar10(?!\d)", results["data"]) is not None


def published(results: Results, network: Network, at: Column) -> float | None:
    """The paper's accuracy of such a network, a fraction; None where it has none."""
    if not comparable(results) or at.norm not in (None, "l2"):
        return None
    value = PAPER.get((network.trained_on, network.training), {}).get(at.epsilon)
    return None if value is None else value / 100


def comparison(results: Results, groups: Measures) -> tuple[list[str], list[list[str]]]:
    """Head and rows: this run and the paper at every radius that both have."""
    shared = {
        column: f"{column.label}, here"
        for column in ordered(columns(groups), reported(results, groups))
        if column.norm in (None, "l2") and column.epsilon in PAPER["D", "standard"]
    }
    rows = []
    for network, cells in groups.items():
        if (network.trained_on, network.training) in PAPER:
            row = [network.title]
            for column in shared:
                ours, theirs = cells.get(column), published(results, network, column)
                row.append(page.percent(ours.mean if ours else None))
                row.append("–" if theirs is None else f"{100 * theirs:g} %")
            rows.append(row)
    return [
        "trained on",
        *(n for here in shared.values() for n in (here, "paper")),
    ], rows


def setting(results: Results) -> str:
    """The paper's setting, how the run's differs, and what the paper leaves open."""
    differs, unsaid = settings.compared(results)
    return page.words("main.txt", "paper", differs=differs, unsaid=unsaid)[0]
