"""Tables of accuracies in Markdown that is also aligned in a terminal."""

from collections.abc import Sequence

from nrf.report.results import (
    CLEAN,
    Column,
    Measure,
    Measures,
    Results,
    bracket,
    columns,
    main_attack,
    measures,
    percent,
)

MARKS = (
    "✓: nothing of the checklist speaks against this robust accuracy (it is no proof); "
    "✗ names what does."
)


def table(results: Results) -> str:
    """One row per network, one column per way of measuring, and what they mean."""
    groups = measures(results)
    shown = columns(groups)
    head = ["trained on"] + [heading(column, groups) for column in shown]
    rows = [
        [network.label] + [cell(cells.get(column)) for column in shown]
        for network, cells in groups.items()
    ]
    return f"{markdown(head, rows)}\n\n{caption(groups)}\n"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with every column padded to its longest cell."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def heading(column: Column, groups: Measures) -> str:
    """The radius alone while there is one attack; its whole setting for others."""
    if column == CLEAN:
        return "standard accuracy"
    others = column not in main_attack(groups)
    return f"robust, {column.label}" + (f" ({column.setting})" if others else "")


def cell(measure: Measure | None, separator: str = " ") -> str:
    """48.1 % [46.2, 50.0] ± 0.9 ✓; a dash where nothing was measured.

    The mark is the verdict of the evidence, where there is any: `MARKS`.
    """
    if measure is None:
        return "–"
    spread = "" if measure.spread is None else f" ± {100 * measure.spread:.1f}"
    mark = ""
    if measure.wrong is not None:
        mark = f" ✗ {', '.join(measure.wrong)}" if measure.wrong else " ✓"
    return f"{percent(measure.mean)}{separator}{bracket(measure)}{spread}{mark}"


def caption(groups: Measures) -> str:
    """What the numbers are: of which images, of how many seeds, under which attack."""
    attack = main_attack(groups)
    sentences = ["Accuracy on test images of D with their true labels."]
    if attack:
        sentences.append(
            f"Robust: right also under {attack[0].setting}, pixels in [0, 1]."
        )
    if any(m.wrong is not None for cells in groups.values() for m in cells.values()):
        sentences.append(MARKS)
    n = counted(groups)
    seeds = max(len(m.by_seed) for cells in groups.values() for m in cells.values())
    if seeds == 1:
        sentences.append(
            f"One seed. In brackets: Wilson's 95 % interval, {n}; it speaks of other "
            "test images, not of other trainings."
        )
    else:
        sentences.append(
            f"Mean over {seeds} seeds. In brackets: Wilson's 95 % interval of this "
            f"mean, {n}: not {seeds} times as many, since all seeds are tested on the "
            "same images. After ±: standard deviation over seeds."
        )
    return " ".join(sentences)


def counted(groups: Measures) -> str:
    """n = 500 images; for each way of measuring, where they differ."""
    counts = {c: cells[c].images for cells in groups.values() for c in cells}
    if len(set(counts.values())) == 1:
        return f"n = {next(iter(counts.values())):,} images"
    listed = (f"{counts[c]:,} for {c.label}" for c in columns(groups))
    return f"n = the images tested ({', '.join(listed)})"
