"""What scripts/theory.py saved, read back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nrf.report.results import Results

# What theory.json holds: names of each part, and of each entry where it is a list.
NEEDED: dict[str, tuple[str, ...]] = {
    "problem": ("mean", "cov", "samples"),
    "points": ("x", "y"),
    "panels": (
        *("epsilon", "mean", "cov", "fitted_mean", "fitted_cov", "weights"),
        *("alignment", "radius", "perturbations"),
        *("standard_accuracy", "robust_accuracy"),
    ),
    "curve": (
        *("epsilon", "multiplier", "eigenvalues", "condition_number", "alignment"),
    ),
    "exact": ("epsilon", "eigenvalues", "points"),
    "fits": (
        *("maximiser", "steps", "step_size", "epsilon", "mean", "cov"),
        *("difference", "error", "monte_carlo"),
    ),
    "dimensions": (
        *("spectrum", "dimension", "epsilon", "samples"),
        *("difference", "concentration"),
    ),
    "vulnerability": (
        *("penalty", "eigenvalues", "samples", "formula", "monte_carlo"),
        *("standard_error", "printed", "isotropic", "descent"),
    ),
    "alignment": (
        *("eigenvalues", "epsilon", "condition_number", "worst_alignment"),
        *("problems", "violations", "least_gain"),
    ),
    "tradeoff": ("test_epsilon", "train_epsilon", "accuracy"),
    "usefulness": ("feature", "weights", "epsilon", "gamma"),
    "ellipses": (
        *("epsilon", "centre", "axes", "points", "labels"),
        *("first", "second", "networks"),
    ),
}


def load(out: Path) -> Results:
    """The content of theory.json in the folder `out`.

    Raises:
      ValueError: it is not there, is not JSON, or lacks something.
    """
    path = Path(out) / "theory.json"
    try:
        theory = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"there is no {path}.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    missing = list(_missing(theory))
    if missing:
        raise ValueError(
            f"{path} has no {', '.join(missing)}; was it made by scripts/theory.py?"
        )
    return theory


def _missing(theory: dict[str, Any]) -> Iterator[str]:
    for part, names in NEEDED.items():
        found = theory.get(part)
        if not found:
            yield part
            continue
        for i, entry in enumerate(found if isinstance(found, list) else [found]):
            where = f"{part}[{i}]" if isinstance(found, list) else part
            yield from (f"{where}.{name}" for name in names if name not in entry)
