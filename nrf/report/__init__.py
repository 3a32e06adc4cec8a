"""From a run's saved files to its tables and its page.

    from nrf import report
    page = report.write(Path("runs/digits"))  # results.md and report.html
    page = report.write(Path("runs/gaussian"))  # The theory's report.html.
    page = report.write(Path("runs/transfer"))  # The study of transferability's.
    print(report.table(report.load(Path("runs/digits"))))
    print(report.compare([Path("runs/digits"), Path("runs/planted")]).table)
    Path("figure.png").write_bytes(report.figure(Path("runs/digits")))

Only `results.json` and `pictures.npz`, `theory.json` or `transfer.json` are read, so
that a report can be made again on any machine and cannot change a result.
"""

from pathlib import Path

from nrf.report import main, pictures, poster, theory, transfer
from nrf.report.compare import compare
from nrf.report.results import load
from nrf.report.table import table
from nrf.runs import store

__all__ = ["compare", "figure", "load", "table", "transfer", "write"]

# What a run's folder holds, by what it is, and the command that makes it.
_FILES = {
    "results.json": "nrf run digits",
    "theory.json": "nrf run gaussian",
    "transfer.json": "nrf run transfer_small",
}


def write(out: Path) -> Path:
    """Makes report.html in the folder of a run, and results.md of a main experiment.

    Raises:
      ValueError: the folder has none of results.json, theory.json and transfer.json
        that can be read, or more than one.
    """
    out = Path(out)
    files = [name for name in _FILES if (out / name).is_file()]
    if len(files) > 1:
        raise ValueError(
            f"{out} holds both {' and '.join(files)}; they are {len(files)} runs, so "
            "move one of them to a folder of its own."
        )
    if not files:
        first, *others = _FILES
        commands = ", ".join(f"`{made} --out {out}`" for made in _FILES.values())
        raise ValueError(
            f"there is no {out / first} and no {' and no '.join(others)} beside it, so "
            f"there is nothing to report; these make one each: {commands}."
        )
    runs, theories, studies = (_beside(out, name) for name in _FILES)
    if files == ["theory.json"]:
        html = theory.html(theory.load(out), runs)
    elif files == ["transfer.json"]:
        html = transfer.html(transfer.load(out), runs)
    else:
        results = load(out)
        # Both are made before either is written, so that they belong together.
        markdown = main.markdown_page(results)
        html = main.html(results, pictures.load(out), theories, studies)
        store.write(out / "results.md", markdown.encode())
    return store.write(out / "report.html", html.encode())


def figure(out: Path) -> bytes:
    """A PNG of a main experiment: eight images of each set, and bars of accuracy.

    Raises:
      ValueError: the folder has no results.json, or no pictures.npz.
    """
    return poster.png(load(out), pictures.load(out))


def _beside(out: Path, name: str) -> list[str]:
    """The folders beside `out` that hold the file `name` and a page made of it."""
    parent = out.resolve().parent

    def holding(file: str) -> set[str]:
        return {path.parent.name for path in parent.glob(f"*/{file}")}

    return sorted(holding(name) & holding("report.html"))
