"""Tables of accuracies, for pages and in Markdown that is aligned in a terminal."""

from collections.abc import Sequence

from nrf.evaluate import BELIEVABLE
from nrf.report import page
from nrf.report.results import (
    AUTOATTACK,
    CLEAN,
    Column,
    Measure,
    Measures,
    Results,
    columns,
    main_attack,
    norm_name,
    reported,
)
from nrf.report.strongest import autoattack_at, measures


def table(results: Results) -> str:
    """One row per network, one column per way of measuring, and what they mean."""
    groups = measures(results)
    head, rows = accuracies(results, groups, " ")
    told = f"{defined(groups)} {caption(groups)}"
    parts = [page.markdown(head, rows), told]
    parts += [f"What ✓ leaves open. {remark}" for remark in remarks(groups)]
    return "\n\n".join(parts) + "\n"


def accuracies(
    results: Results, groups: Measures, separator: str = "|"
) -> tuple[list[str], list[list[str]]]:
    """Head and rows, a network each; `separator` as in `cell`."""
    first = *headline(results, groups), CLEAN, reported(results, groups)
    shown = ordered(columns(groups), *first)
    head = ["trained on", *(heading(column, groups) for column in shown)]
    return head, [
        [network.title, *(cell(cells.get(column), separator) for column in shown)]
        for network, cells in groups.items()
    ]


def ordered(shown: Sequence[Column], *first: Column | None) -> list[Column]:
    """The columns, those of `first` before all others: phones show little more."""
    return sorted(shown, key=lambda c: first.index(c) if c in first else len(first))


def headline(results: Results, groups: Measures) -> list[Column]:
    """The strongest attack that was run at the reported radius; [] without attacks."""
    at = reported(results, groups)
    if at is None:
        return []
    strong = autoattack_at(at)
    return [strong if any(strong in cells for cells in groups.values()) else at]


def heading(column: Column, groups: Measures) -> str:
    """The radius, and the setting of an attack other than PGD's and AutoAttack."""
    if column == CLEAN:
        return "standard accuracy"
    known = column.attack == AUTOATTACK or column in main_attack(groups)
    return f"robust, {column.label}" + ("" if known else f" ({column.setting})")


def cell(
    measure: Measure | None,
    separator: str = "|",
    more: str = "",
    beside: str | None = "",
) -> str:
    """48.1 % [46.2, 50.0] ± 0.9 ✓ and then `more`; a dash where nothing was measured.

    The mark is the verdict of the evidence, where there is any; the caption says what
    it means. It leads to the evidence on this page, or on the page `beside`; None:
    there is no such page.
    """
    if measure is None:
        return f"–{more}"
    spread = "" if measure.spread is None else f" ± {100 * measure.spread:.1f}"
    mark = ""
    if measure.wrong is not None:
        mark = f" ✗ {', '.join(measure.wrong)}" if measure.wrong else " ✓"
    low, high = measure.interval
    numbers: dict[str, float | str] = {"mean": measure.mean, "low": low, "high": high}
    if measure.spread is not None:
        numbers["deviation"] = measure.spread
    if mark:
        numbers["evidence"] = ", ".join(measure.wrong or ()) or BELIEVABLE
    linked = measure.seen and measure.address and beside is not None
    return page.Cell.of(
        page.told(measure, separator) + spread + mark + more,
        numbers,
        f"{beside}#{measure.address}" if linked else "",
    )


def defined(groups: Measures) -> str:
    """What standard and robust accuracy are, and the attacks that were run."""
    attack = main_attack(groups)
    values = {
        "attack": attack[0].setting if attack else "",
        "norm": norm_name(attack[0].norm) if attack else "",
        "autoattack": any(column.attack == AUTOATTACK for column in columns(groups)),
    }
    return " ".join(page.words("main.txt", "defined", **values))


def caption(groups: Measures) -> str:
    """What the marks say, and of how many images and seeds the numbers are."""
    values = {
        "marked": any(m.wrong is not None for m in _all(groups)),
        "seeds": seeds(groups),
        "n": counted(groups),
    }
    return " ".join(page.words("main.txt", "caption", **values))


def remarks(groups: Measures) -> list[str]:
    """What the numbers that are marked ✓ leave open, each said once, and of which."""
    marked = {
        (network, column): measure.remarks
        for network, cells in groups.items()
        for column, measure in cells.items()
        if measure.wrong == ()
    }
    told = []
    for sentences in dict.fromkeys(filter(None, marked.values())):
        places = [place for place, said in marked.items() if said == sentences]
        where = []
        for at in dict.fromkeys(column for _, column in places):
            here = [network.title for network, column in places if column == at]
            every = len(here) == sum(column == at for _, column in marked)
            where.append(at.label if every else f"{', '.join(here)} at {at.label}")
        everywhere = len(places) == len(marked)
        told.append(
            ("" if everywhere else f"{'; '.join(where)}: ") + " ".join(sentences)
        )
    return told


def seeds(groups: Measures) -> int:
    """The largest number of seeds that anything was measured with."""
    return max(len(measure.by_seed) for measure in _all(groups))


def counted(groups: Measures) -> str:
    """n = 500 images; for each way of measuring, where they differ."""
    counts = {c: cells[c].images for cells in groups.values() for c in cells}
    if len(set(counts.values())) == 1:
        return f"n = {next(iter(counts.values())):,} images"
    listed = (f"{counts[c]:,} for {c.label}" for c in columns(groups))
    return f"n = the images tested ({', '.join(listed)})"


def _all(groups: Measures) -> list[Measure]:
    return [measure for cells in groups.values() for measure in cells.values()]
