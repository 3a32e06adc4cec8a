"""The page of the study of transferability, from transfer.json.

Its words are in templates/transfer.html, numbers in points.py, verdicts in claims.py.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nrf.report import page, paper, results
from nrf.report.results import Results
from nrf.report.table import cell
from nrf.report.transfer import claims, plots
from nrf.report.transfer.points import PAPER, SOURCE, points, titles

__all__ = ["html", "load", "table"]

_MADE_BY = "nrf run transfer_small"
_NEEDED = ("data", "classes", "config", "learners", "rows")
_COUNTS = "seed total right fooled reached wrong said said_before".split()
_TAUGHT = ["right_on_D_det", "confusion_on_D_det"]  # Of learners.


def load(out: Path) -> Results:
    """The content of transfer.json in the folder `out`.

    Raises:
      ValueError: it is not there, is not JSON, or lacks something.
    """
    path = Path(out) / "transfer.json"
    study = results.read(path, _NEEDED, _MADE_BY)
    missing = ", ".join(_missing(study))
    if missing:
        raise ValueError(f"{path} has no {missing}; was it made by `{_MADE_BY}`?")
    return study


def html(study: Results, runs: Sequence[str] = ()) -> str:
    """The whole page; `runs` are the folders beside this run's with an experiment."""
    beside = paper.comparable(study)
    return page.render(
        "transfer.html",
        title="Who is fooled together has learned the same features",
        study=study,
        runs=runs,
        claims=claims.claims(study),
        least_shown=claims.least_shown(len(study["learners"])),
        orders=math.factorial(len(study["learners"])),
        published=PAPER if beside else {},
        scatters=[plots.scatter(study, way, beside) for way in claims.WAYS],
        trainings=plots.training(study),
        ball=results.ball,
        record=study,
        **_both(study, "|"),
    )


def table(study: Results) -> str:
    """One row per network; the lines and what the columns mean below; in Markdown."""
    lines = {way: claims.measured_line(study, way) for way in claims.WAYS}
    values = {"markdown": page.markdown, "lines": lines, **_both(study, " ")}
    return page.render("transfer.md", **values)


def _both(study: Results, separator: str) -> dict[str, Any]:
    """What the page and the table in Markdown have in common."""
    networks, names = points(study), titles(study)

    def rows(*measures: str) -> list[list[str]]:
        return [
            [names[name], *(cell(getattr(of, part), separator) for part in measures)]
            for name, of in networks.items()
        ]

    return {"points": networks, "titles": names, "rows": rows}


def _missing(study: Results) -> Iterator[str]:
    known, rows = set(titles(study)), {row.get("network") for row in study["rows"]}
    yield from (f"rows of {name}" for name in sorted(known - rows))
    yield from (f"learner {name}" for name in sorted(map(str, rows - known)))
    for i, row in enumerate(study["rows"]):
        taught = [] if row.get("network") == SOURCE else _TAUGHT
        yield from (f"rows[{i}].{n}" for n in _COUNTS + taught if n not in row)
        if row.get("total") == 0:
            yield f"rows[{i}].total above 0"
