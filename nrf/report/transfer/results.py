"""What scripts/transfer.py saved, read back: rates and accuracies of each network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nrf.report.results import Measure, Results

SOURCE = "source"  # Its name among the networks of transfer.json.
LABELS = {
    "vgg16": "VGG-16",
    "inception_v3": "Inception-v3",
    "resnet18": "ResNet-18",
    "densenet121": "DenseNet-121",
    "resnet50": "ResNet-50",
}
_NEEDED = ("data", "classes", "config", "rows")
_COUNTS = ("right", "fooled", "reached", "wrong", "said", "said_before")


class Published(NamedTuple):
    """Of the paper's figures 3 and 13, as fractions."""

    on_D_det: float
    untargeted: float
    targeted: float


# Read off the figures, whose DenseNet is not said to be the one of 121 layers.
PAPER = {
    "vgg16": Published(0.2794, 0.6567, 0.092),
    "inception_v3": Published(0.3939, 0.8275, 0.230),
    "resnet18": Published(0.4084, 0.9212, 0.324),
    "densenet121": Published(0.4170, 0.9272, 0.365),
    "resnet50": Published(0.4470, 0.9870, 0.716),
}


class Point(NamedTuple):
    """A network, attacked by attacks on the source; the last of the paper's figure."""

    on_D: Measure  # Test accuracy after training on D.
    untargeted: Measure | None  # Fooled, of the images right without attack.
    targeted: Measure | None  # Given the target's label, of the same images.
    wrong: Measure  # Wrong under the untargeted attack, of all images.
    said: Measure  # Given the target's label, of all images,
    said_before: Measure  # and how many of all are so without an attack.
    on_D_det: Measure | None  # Test accuracy after training on D_det; not the source's.


def label(network: str) -> str:
    return LABELS.get(network, network)


def load(out: Path) -> Results:
    """The content of transfer.json in the folder `out`.

    Raises:
      ValueError: it is not there, is not JSON, or lacks something.
    """
    path = Path(out) / "transfer.json"
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"there is no {path}.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    missing = list(_missing(study))
    if missing:
        raise ValueError(
            f"{path} has no {', '.join(missing)}; was it made by scripts/transfer.py?"
        )
    return study


def points(study: Results) -> dict[str, Point]:
    """Every network by its name, the source first.

    A rate of the images that a network gets right is None where that is no image.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in study["rows"]:
        rows.setdefault(row["network"], []).append(row)
    return {name: _point(of) for name, of in rows.items()}


def learners(study: Results) -> dict[str, Point]:
    """Every network but the source."""
    return {name: of for name, of in points(study).items() if name != SOURCE}


def _point(rows: list[dict[str, Any]]) -> Point:
    def rate(part: str, whole: str = "total") -> Measure | None:
        if not all(row[whole] and part in row for row in rows):
            return None
        by_seed = {row["seed"]: row[part] / row[whole] for row in rows}
        # Where seeds differ in how many images count, the interval is of the fewest.
        return Measure(by_seed, min(row[whole] for row in rows))

    def of_all(part: str) -> Measure:
        found = rate(part)
        assert found is not None  # `load` has seen that the images are there.
        return found

    return Point(
        on_D=of_all("right"),
        untargeted=rate("fooled", "right"),
        targeted=rate("reached", "right"),
        wrong=of_all("wrong"),
        said=of_all("said"),
        said_before=of_all("said_before"),
        on_D_det=rate("right_on_D_det"),
    )


def _missing(study: Results) -> Iterator[str]:
    yield from (name for name in _NEEDED if not study.get(name))
    for i, row in enumerate(study.get("rows") or []):
        yield from (f"rows[{i}].{n}" for n in ("network", "seed") if n not in row)
        if not row.get("total"):
            yield f"rows[{i}].total"
        counts = (
            _COUNTS if row.get("network") == SOURCE else (*_COUNTS, "right_on_D_det")
        )
        yield from (f"rows[{i}].{name}" for name in counts if name not in row)
