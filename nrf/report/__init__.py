"""From a run's saved files to its tables and its page.

    from nrf import report
    page = report.write(Path("runs/digits"))  # results.md and report.html
    print(report.table(report.load(Path("runs/digits"))))

Only `results.json` and `pictures.npz` are read, so that a report can be made again on
any machine and cannot change a result. Other pages use `nrf.report.page` for the shell
and `nrf.report.figures.svg` for plots.
"""

from pathlib import Path

from nrf import store
from nrf.report import experiment, pictures
from nrf.report.results import load
from nrf.report.table import table

__all__ = ["load", "table", "write"]


def write(out: Path) -> Path:
    """Makes results.md and report.html in the folder of a run; returns the latter.

    Raises:
      ValueError: the folder has no results.json that can be read.
    """
    out = Path(out)
    results = load(out)
    markdown = experiment.markdown_page(results)
    html = experiment.html(results, pictures.load(out))
    store.write(out / "results.md", markdown.encode())
    return store.write(out / "report.html", html.encode())
