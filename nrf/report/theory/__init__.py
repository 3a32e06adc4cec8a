"""The page of the theory: verdicts, figures and corrections, from theory.json.

Its words are in templates/theory.html, verdicts in claims.py, pictures in the others.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nrf.report import page, results
from nrf.report.results import Results
from nrf.report.theory import claims, planes, plots

__all__ = ["html", "load"]

_MADE_BY = "nrf run gaussian"
# What theory.json holds: names of each part, and of each entry where it is a list.
_NEEDED = {
    "problem": "mean cov samples",
    "points": "x y",
    "panels": "epsilon mean cov fitted_mean fitted_cov weights alignment radius "
    "perturbations standard_accuracy robust_accuracy",
    "curve": "epsilon multiplier eigenvalues condition_number alignment",
    "exact": "epsilon eigenvalues points",
    "fits": "maximiser steps step_size epsilon mean cov difference error monte_carlo",
    "dimensions": "spectrum dimension epsilon samples difference concentration",
    "vulnerability": "penalty eigenvalues samples formula monte_carlo standard_error "
    "printed isotropic descent",
    "alignment": "eigenvalues epsilon condition_number worst_alignment problems "
    "violations least_gain",
    "tradeoff": "test_epsilon train_epsilon accuracy",
    "usefulness": "feature weights epsilon gamma",
    "ellipses": "epsilon centre axes points labels first second networks",
}


def load(out: Path) -> Results:
    """The content of theory.json in the folder `out`.

    Raises:
      ValueError: it is not there, is not JSON, or lacks something.
    """
    path = Path(out) / "theory.json"
    theory = results.read(path, _NEEDED, _MADE_BY)
    missing = ", ".join(_missing(theory))
    if missing:
        raise ValueError(f"{path} has no {missing}; was it made by `{_MADE_BY}`?")
    return theory


def html(theory: Results, runs: Sequence[str] = ()) -> str:
    """The whole page; `runs` are the folders beside this run's with an experiment."""
    count = len(theory["panels"]), len(theory["ellipses"]["networks"])
    drawn: dict[str, Any] = {
        "panels": [planes.panel(theory, i) for i in range(count[0])],
        "ellipses": [planes.ellipses(theory, i) for i in range(count[1])],
    }
    drawn |= {plot.__name__: plot(theory) for plot in plots.PLOTS}
    return page.render(
        "theory.html",
        title="What robust training learns of two Gaussians",
        theory=theory,
        claims=claims.claims(theory),
        charts=drawn,
        runs=runs,
        record=theory,
        plane=planes,
    )


def _missing(theory: Results) -> Iterator[str]:
    for part, names in _NEEDED.items():
        held = theory[part]
        for i, entry in enumerate(held if isinstance(held, list) else [held]):
            where = f"{part}[{i}]" if isinstance(held, list) else part
            yield from (f"{where}.{n}" for n in names.split() if n not in entry)
