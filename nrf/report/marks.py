"""What ✓ and ✗ behind a robust accuracy rest on, and where a page says it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from nrf.evaluate import Evidence


class Seen(NamedTuple):
    """The evidence of one seed."""

    seed: int
    evidence: Evidence


def seen(entries: Iterable[tuple[int, Mapping[str, Any]]]) -> tuple[Seen, ...]:
    """The evidence of each seed, read from (seed, saved numbers)."""
    return tuple(Seen(seed, Evidence.from_dict(of)) for seed, of in entries)


def wrong(of: Iterable[Seen]) -> tuple[str, ...]:
    """Names of what is wrong in any seed, each once."""
    return tuple(dict.fromkeys(f.name for s in of for f in s.evidence.findings))


def left_open(of: Iterable[Seen]) -> tuple[str, ...]:
    """Sentences on what is open in any seed, each once."""
    return tuple(dict.fromkeys(said for s in of for said in s.evidence.remarks))


def sentences(of: Iterable[Seen]) -> list[str]:
    """What is wrong in each seed, in words."""
    return [
        f"Seed {s.seed}: {found.name}. {found.sentence}"
        for s in of
        for found in s.evidence.findings
    ]


def numbers(of: Sequence[Seen]) -> list[str]:
    """What was counted, over all seeds; a sentence for each number of images."""
    by_total: dict[int, list[Evidence]] = {}
    for one in of:
        by_total.setdefault(one.evidence.total, []).append(one.evidence)
    return [_numbers(total, each) for total, each in by_total.items()]


# What is counted of the images that withstood, in words.
_COUNTED = {
    "missed": "vanished gradients",
    "lost_to_more_steps": "lost to twice the steps",
    "lost_to_other": "lost to another attack",
    "large_withstood": "left where every image can become grey",
    "only_blind": "lost to Square alone",
}


def _numbers(total: int, each: Sequence[Evidence]) -> str:
    def sum_of(name: str) -> int | None:
        counts = [getattr(e, name) for e in each]
        return None if None in counts else sum(counts)

    times = f"{len(each)} × " if len(each) > 1 else ""
    said = [
        f"right without attack {sum_of('correct')}",
        f"and under it {sum_of('withstood')}",
        *(
            f"{of} {n}"
            for name, of in _COUNTED.items()
            if (n := sum_of(name)) is not None
        ),
        f"largest change {max(e.largest / e.epsilon for e in each):.4f} ε",
    ]
    if planted := sum_of("planted"):
        said.append(f"{sum_of('found')} found of {planted} planted")
    return f"Of {times}{total} images: {', '.join(said)}."
