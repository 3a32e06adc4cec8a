"""The paper's numbers for CIFAR-10, beside those of a run on the same data."""

import re
from collections.abc import Mapping
from typing import Any

from nrf.report.results import (
    ADVERSARIAL,
    CLEAN,
    STANDARD,
    Measures,
    Network,
    Results,
    columns,
    measures,
    percent,
)

# Accuracy in % by l2 radius: figure 2 (right), table 7; table 1 for the last two.
PAPER: dict[Network, dict[float, float]] = {
    STANDARD: {0: 95.25, 0.25: 4.49, 0.5: 0.0},
    ADVERSARIAL: {0: 90.83, 0.25: 82.48, 0.5: 70.90},
    Network("D_R", "standard"): {0: 84.10, 0.25: 48.27, 0.5: 29.40},
    Network("D_NR", "standard"): {0: 87.68, 0.25: 0.82, 0.5: 0.0},
    Network("D_rand", "standard"): {0: 63.3},
    Network("D_det", "standard"): {0: 43.7},
}
SETTING = (
    "Paper: ResNet-50 on all of CIFAR-10, ℓ₂, adversarial training at ε = 0.5; figure "
    "2 (right), table 7, and table 1 for D_rand and D_det. Table 7 has a second row "
    "for D_R: 85.4, 48.2 and 21.85 %."
)


def comparable(results: Results) -> bool:
    """Whether the data are CIFAR-10; CIFAR-100 begins with the same letters."""
    return re.match(r"cifar10(?!\d)", results["data"]) is not None


def comparison(results: Results) -> tuple[list[str], list[list[str]]]:
    """Head and rows: this run and the paper at every radius that both have."""
    groups = measures(results)
    shared = [
        column
        for column in columns(groups)
        if column == CLEAN
        or (column.norm == "l2" and column.epsilon in PAPER[STANDARD])
    ]
    head = ["trained on"]
    for column in shared:
        head += [f"{column.label}, here", "paper"]
    rows = []
    for network, published in PAPER.items():
        if network not in groups:
            continue
        row = [network.label]
        for column in shared:
            ours = groups[network].get(column)
            theirs = published.get(column.epsilon)
            row.append("–" if ours is None else percent(ours.mean))
            row.append("–" if theirs is None else f"{theirs:g} %")
        rows.append(row)
    return head, rows


def setting(results: Results, groups: Measures) -> str:
    """The paper's setting, and in what the run's differs."""
    config = results.get("config") or {}
    # Where it is in the config, what it is called, and the paper's value.
    checks = (
        ("network.name", "network", "resnet50"),
        ("train_examples", "training examples", None),
        ("test_examples", "test examples", None),
        ("evaluation.norm", "norm of the tests", "l2"),
        ("robust.attack.norm", "norm of adversarial training", "l2"),
        ("robust.attack.epsilon", "its ε", 0.5),
        ("matching.start", "matching starts from", "image"),
        ("matching.steps", "matching steps", 1000),
        ("matching.step_size", "their length", 0.1),
        ("mislabelling.attack.epsilon", "ε of D_rand and D_det", 0.5),
        ("mislabelling.attack.steps", "steps towards the target", 100),
    )
    differs = []
    for path, name, theirs in checks:
        ours = _at(config, path)
        if ours is not _ABSENT and ours != theirs:
            said = "all" if theirs is None else theirs
            differs.append(f"{name}: {ours} (paper: {said})")
    if not differs:
        return f"{SETTING} This run's settings are the same where the config says so."
    return f"{SETTING} This run differs: {'; '.join(differs)}."


_ABSENT = object()


def _at(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return _ABSENT
        value = value[name]
    return value
