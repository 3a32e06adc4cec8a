"""Several runs side by side: networks in rows, runs in columns."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from nrf.report import charts, page, theory, transfer
from nrf.report.claims import Claim, claims
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
from nrf.report.table import cell, headline, remarks

_Measures = Sequence[Measure | None]  # In the order of the columns.
_Kind = tuple[Callable[[Path], Results], Callable[[Results], list[Claim]]]


# What a run's folder holds, by what it is: how it is read, and how it is judged.
_KINDS: dict[str, _Kind] = {
    "results.json": (load, claims),
    "theory.json": (theory.load, theory.claims.claims),
    "transfer.json": (transfer.load, transfer.claims.claims),
}


class Comparison(NamedTuple):
    """The same comparison as text and as a page."""

    table: str  # Markdown, aligned in a terminal.
    html: str  # A whole page.


def compare(folders: Sequence[Path], page_at: Path | None = None) -> Comparison:
    """Networks × runs: robust accuracy at each run's reported radius, and standard.

    The robust one is that of the strongest attack that was run there. Networks are
    matched by their titles. The page has an index of all runs, also of the theory and
    of transferability, that links to their pages, from where it is to be written:
    `page_at`, or else beside the first folder. Folders without results.json are not in
    the table, and are named.

    Raises:
      ValueError: a folder is given twice, no folder has results.json, or some file of
        a run cannot be read.
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
    known = {names[path]: run for path in paths if (run := _read(path))}
    runs = {names[path]: known[names[path]][0] for path in kept}
    pages = {names[path]: _page(path, here) for path in paths}
    groups = {name: measures(results) for name, results in runs.items()}
    strong = [(n, at) for n, of in runs.items() for at in headline(of, groups[n])]
    columns = [*strong, *((name, CLEAN) for name in runs)]
    of = {n: {net.title: c for net, c in g.items()} for n, g in groups.items()}
    titles = dict.fromkeys(title for cells in of.values() for title in cells)
    rows = {t: [of[n].get(t, {}).get(at) for n, at in columns] for t in titles}
    head = [(name, at.label) for name, at in columns]
    beside = [pages[name] for name, _ in columns]
    html = page.render(
        "compare.html",
        title="Runs side by side",
        index=_index(known, pages, groups),
        head=["trained on", *("|".join(part) for part in head)],
        rows=[
            [title, *(cell(m, beside=at) for m, at in zip(of, beside, strict=True))]
            for title, of in rows.items()
        ],
        charts=[_chart(robust, columns, rows) for robust in (True, False)],
        remarks=_left_open(groups, columns),
        left_out=[name for path, name in names.items() if path not in kept],
    )
    table = [[title, *(cell(m, " ") for m in cells)] for title, cells in rows.items()]
    head_of_table = ["trained on", *(", ".join(part) for part in head)]
    return Comparison(page.markdown(head_of_table, table) + "\n", html)


def _left_open(
    groups: Mapping[str, Measures], columns: Sequence[tuple[str, Column]]
) -> list[str]:
    """What the marks ✓ of these columns leave open, each sentence after its run."""
    told = []
    for name, networks in groups.items():
        of = {
            network: {
                at: cells[at] for run, at in columns if run == name and at in cells
            }
            for network, cells in networks.items()
        }
        told += [f"{name}: {remark}" for remark in remarks(of)]
    return told


def _page(folder: Path, here: Path) -> str | None:
    """The address of a run's page for one in the folder `here`, if there is any."""
    page_of = folder / "report.html"
    return quote(os.path.relpath(page_of, here)) if page_of.is_file() else None


def _read(folder: Path) -> tuple[Results, list[Claim]] | None:
    """What a run of any kind saved, and its verdicts."""
    for name, (read, judge) in _KINDS.items():
        if (folder / name).is_file():
            return (record := read(folder)), judge(record)
    return None


def _index(
    known: Mapping[str, tuple[Results, list[Claim]]],
    pages: Mapping[str, str | None],
    groups: Mapping[str, Measures],
) -> tuple[list[str], list[list[str]]]:
    """Head and rows: a run each, of any kind, with a link to its page."""
    head = ["run", "D_R, robust", "attack", "D_R, standard", "claims shown"]
    table: list[list[str]] = []
    for name, (record, judged) in known.items():
        row: list[str] = [page.Cell.of(name, {}, pages[name] or "")]
        if name in groups:
            d_r, strong = find(groups[name], "D_R"), headline(record, groups[name])
            row += [cell(d_r.get(at), beside=pages[name]) for at in strong] or ["–"]
            row += [strong[0].label if strong else "–", cell(d_r.get(CLEAN))]
        else:
            row += ["–", "–", "–"]
        shown = sum(claim.verdict == SHOWN for claim in judged)
        row += [f"{shown} of {len(judged)}", record.get("data") or "two Gaussians"]
        seeds = {entry["seed"] for entry in record.get("rows") or []}
        row += [f"{len(seeds)}" if seeds else "–", record.get("date") or "–"]
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
        if measured:
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
