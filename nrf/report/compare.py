"""Several runs side by side: networks in rows, runs in columns."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from nrf.report import charts, page
from nrf.report.claims import claims
from nrf.report.judge import SHOWN
from nrf.report.results import (
    CLEAN,
    Column,
    Measure,
    Measures,
    Results,
    find,
    load,
)
from nrf.report.strongest import measures
from nrf.report.table import cell, headline, remarks, seeds

_Measures = Sequence[Measure | None]  # In the order of the columns.


class Comparison(NamedTuple):
    """The same comparison as text and as a page."""

    table: str  # Markdown, aligned in a terminal.
    html: str  # A whole page.


def compare(folders: Sequence[Path], page_at: Path | None = None) -> Comparison:
    """Networks × runs: standard accuracy, and robust at each run's reported radius.

    The robust one is that of the strongest attack that was run there. Networks are
    matched by their titles. Folders without results.json, such as those of the theory,
    are left out and named. The page has an index of all folders that links to their
    pages, from where it is to be written: `page_at`, or else beside the first folder.

    Raises:
      ValueError: a folder is given twice, no folder has results, or some cannot be
        read.
    """
    paths = {Path(folder).resolve(): Path(folder) for folder in folders}
    if len(paths) < len(folders):
        given = ", ".join(map(str, folders))
        raise ValueError(f"each run can be compared once, got {given}.")
    kept = [path for path in paths if (path / "results.json").is_file()]
    if not kept:
        given = ", ".join(map(str, folders)) or "no folder"
        raise ValueError(
            f"there is no results.json to compare in {given}; give the folders of "
            "main experiments, such as runs/digits."
        )
    names = dict(zip(paths, _names(list(paths)), strict=True))
    here = Path(page_at).resolve().parent if page_at else next(iter(paths)).parent
    runs = {names[path]: load(path) for path in kept}
    pages = {names[path]: _page(path, here) for path in paths}
    groups = {name: measures(results) for name, results in runs.items()}
    columns: list[tuple[str, Column]] = []
    open_at: list[str] = []
    for name, results in runs.items():
        shown = [CLEAN, *headline(results, groups[name])]
        columns += [(name, at) for at in shown]
        of_shown = {
            network: {at: cells[at] for at in shown if at in cells}
            for network, cells in groups[name].items()
        }
        open_at += [f"{name}: {remark}" for remark in remarks(of_shown)]
    of = {n: {net.title: c for net, c in g.items()} for n, g in groups.items()}
    titles = dict.fromkeys(title for cells in of.values() for title in cells)
    rows = {t: [of[n].get(t, {}).get(at) for n, at in columns] for t in titles}
    head = [(f"{name}", at.label) for name, at in columns]
    beside = [pages[name] for name, _ in columns]
    html = page.render(
        "compare.html",
        title="Runs side by side",
        index=_index(pages, runs, groups),
        head=["trained on", *("|".join(part) for part in head)],
        rows=[
            [title, *(cell(m, beside=at) for m, at in zip(of, beside, strict=True))]
            for title, of in rows.items()
        ],
        charts=[_chart(robust, columns, rows) for robust in (False, True)],
        remarks=open_at,
        left_out=[str(path) for key, path in paths.items() if key not in kept],
    )
    table = [[title, *(cell(m, " ") for m in cells)] for title, cells in rows.items()]
    head_of_table = ["trained on", *(", ".join(part) for part in head)]
    return Comparison(page.markdown(head_of_table, table) + "\n", html)


def _page(folder: Path, here: Path) -> str | None:
    """The address of a run's page for one in the folder `here`, if there is any."""
    page_of = folder / "report.html"
    return quote(os.path.relpath(page_of, here)) if page_of.is_file() else None


def _index(
    pages: Mapping[str, str | None],
    runs: Mapping[str, Results],
    groups: Mapping[str, Measures],
) -> tuple[list[str], list[list[str]]]:
    """Head and rows: a run each, with a link to its page."""
    head = ["run", "D_R, robust", "attack", "D_R, standard", "claims shown"]
    table: list[list[str]] = []
    for name, address in pages.items():
        if not (results := runs.get(name)):
            if address:
                told = ["–", "–", "–", "–", "another kind of run", "–", "–"]
                table.append([page.Cell.of(name, {}, address), *told])
            continue
        d_r, strong = find(groups[name], "D_R"), headline(results, groups[name])
        judged = claims(results)
        shown = sum(claim.verdict == SHOWN for claim in judged)
        row: list[str] = [page.Cell.of(name, {}, address or "")]
        row += [cell(d_r.get(at), beside=address) for at in strong] or ["–"]
        row += [strong[0].label if strong else "–", cell(d_r.get(CLEAN))]
        row += [f"{shown} of {len(judged)}", results["data"]]
        row += [f"{seeds(groups[name])}", results.get("date") or "–"]
        table.append(row)
    return [*head, "data", "seeds", "date"], table


def _names(paths: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as tell all of them apart."""
    most = max(len(path.parts) for path in paths)
    for count in range(1, most + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _chart(
    robust: bool, columns: Sequence[tuple[str, Column]], rows: Mapping[str, _Measures]
) -> str:
    """Accuracy by run, a line per network, without or under attack."""
    names = list(dict.fromkeys(name for name, _ in columns))
    drawn = []
    for place, (title, cells) in enumerate(rows.items()):
        measured = {
            names.index(name): measure
            for (name, at), measure in zip(columns, cells, strict=True)
            if measure and (at != CLEAN) == robust
        }
        drawn.append(charts.measured(measured, label=title, **charts.look(place)))
    what = "robust accuracy" if robust else "standard accuracy"
    return charts.plot(
        f"compare-{what[:6]}",
        f"Lines of {what} by run for {len(rows)} networks.",
        drawn,
        title=what,
        x=charts.Axis(
            "", (-0.3, len(names) - 0.7), ticks=range(len(names)), names=names
        ),
        y=charts.Axis("", (0, 1), unit="percent"),
        legend=3,
    )
