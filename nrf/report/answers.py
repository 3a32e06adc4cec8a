"""The accuracies of a run beside the right ones, where these are known."""

from nrf.report import page
from nrf.report.results import Measures, Results, columns


def section(results: Results, groups: Measures) -> str:
    """The section of the page; nothing where no right answers are known."""
    known = {
        name: {entry["epsilon"]: entry["accuracy"] for entry in of}
        for name, of in (results.get("answers") or {}).items()
    }
    shown = [
        at for at in columns(groups) if any(at.epsilon in k for k in known.values())
    ]
    if not shown:
        return ""
    heads = [name for at in shown for name in (at.label, "right answer")]
    rows = []
    for network, cells in groups.items():
        if right := known.get(network.name):
            row = [network.title]
            for at in shown:
                measured = cells[at].mean if at in cells else None
                row += [page.percent(measured), page.percent(right.get(at.epsilon))]
            rows.append(row)
    return page.render("answers.html", head=["trained on", *heads], rows=rows)
