"""From a run's saved files to its tables and its page.

    from nrf import report
    page = report.write(Path("runs/digits"))  # results.md and report.html
    page = report.write(Path("runs/gaussian"))  # The theory's report.html.
    print(report.table(report.load(Path("runs/digits"))))

Only `results.json` and `pictures.npz`, or `theory.json`, are read, so that a report can
be made again on any machine and cannot change a result. Other pages use
`nrf.report.page` for the shell and `nrf.report.figures.svg` for plots.
"""

from pathlib import Path

from nrf import store
from nrf.report import experiment, pictures, theory
from nrf.report.results import load
from nrf.report.table import table

__all__ = ["load", "table", "write"]


def write(out: Path) -> Path:
    """Makes report.html in the folder of a run, and results.md if it trained networks.

    Raises:
      ValueError: the folder has no results.json or theory.json that can be read, or
        has both.
    """
    out = Path(out)
    experiments, theories = out / "results.json", out / "theory.json"
    if experiments.is_file() and theories.is_file():
        raise ValueError(
            f"{out} holds both results.json and theory.json; they are two runs, so "
            "move one of them to a folder of its own."
        )
    if not (experiments.is_file() or theories.is_file()):
        raise ValueError(
            f"there is no {experiments} and no {theories.name} beside it, so there is "
            "nothing to report; `python scripts/run.py configs/digits.py --out "
            f"{out}` makes the one, `python scripts/theory.py configs/gaussian.py "
            f"--out {out}` the other."
        )
    if theories.is_file():
        html = theory.html(theory.load(out), _beside(out, experiments.name))
    else:
        results = load(out)
        markdown = experiment.markdown_page(results)
        beside = _beside(out, theories.name)
        html = experiment.html(results, pictures.load(out), beside)
        store.write(out / "results.md", markdown.encode())
    return store.write(out / "report.html", html.encode())


def _beside(out: Path, name: str) -> list[str]:
    """The folders beside `out` that hold the file `name` and a page made of it."""
    parent = out.resolve().parent

    def holding(file: str) -> set[str]:
        return {path.parent.name for path in parent.glob(f"*/{file}")}

    return sorted(holding(name) & holding("report.html"))
