"""Behind every mark of a page: what was found, the numbers, and what is left open."""

from typing import NamedTuple

from nrf.report import marks, page
from nrf.report.results import Column, Measure, Network, Results, grouped
from nrf.report.strongest import measures


class Entry(NamedTuple):
    """A marked accuracy of one network."""

    column: Column
    on: str  # The set that it was tested on.
    measure: Measure

    @property
    def wrong(self) -> list[str]:
        return marks.sentences(self.measure.seen)

    @property
    def numbers(self) -> list[str]:
        return marks.numbers(self.measure.seen)


def section(results: Results) -> str:
    """The section of the page; nothing where no accuracy is marked."""
    groups = entries(results)
    return page.render("evidence.html", groups=groups) if groups else ""


def entries(results: Results) -> dict[Network, list[Entry]]:
    """All that is marked in any table of the page, by network; each once."""
    parts = [("test", measures(results)), ("test", measures(results, "students"))]
    places = dict.fromkeys(row["tested_on"] for row in results.get("tables") or [])
    parts += [(on, grouped(results, "tables", on)) for on in places]
    found: dict[str, tuple[Network, Entry]] = {}
    for on, groups in parts:
        for network, cells in groups.items():
            for column, measure in cells.items():
                if measure.seen:
                    entry = Entry(column, on, measure)
                    found.setdefault(measure.address, (network, entry))
    by_network: dict[Network, list[Entry]] = {}
    for network, entry in found.values():
        by_network.setdefault(network, []).append(entry)
    return by_network
