"""Rates and accuracies of each network of a transfer.json, and the paper's."""

from typing import Any, NamedTuple

from nrf.evaluate import by_chance
from nrf.report.results import Measure, Results

SOURCE = "source"  # Its name among the networks of transfer.json.


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

    on_D: Measure | None  # Test accuracy after training on D.
    wrong_before: Measure | None  # The rest to 1.
    untargeted: Measure | None  # Fooled, of those right without attack; None: none is.
    targeted: Measure | None  # Given the target's label, of the same images.
    wrong: Measure | None  # Wrong under the untargeted attack, of all images.
    at_target: Measure | None  # Given the target's label, of all images,
    at_target_before: Measure | None  # and how many of all are so without an attack.
    on_D_det: Measure | None  # Test accuracy after training on D_det; not the source's.


def points(study: Results) -> dict[str, Point]:
    """Every network by its name, the source first, then the learners in their order."""
    rows = study["rows"]
    groups = {n: [r for r in rows if r["network"] == n] for n in titles(study)}
    return {name: _point(of) for name, of in groups.items()}


def learners(study: Results) -> dict[str, Point]:
    """Every network but the source."""
    return {name: of for name, of in points(study).items() if name != SOURCE}


def lucky(study: Results) -> dict[str, tuple[float, float]]:
    """What each learner's network after D_det would get right by luck alone."""
    taught = [row for row in study["rows"] if "confusion_on_D_det" in row]
    return {
        name: by_chance(
            [row["confusion_on_D_det"] for row in taught if row["network"] == name]
        )
        for name in learners(study)
    }


def titles(study: Results) -> dict[str, str]:
    """What each network is called; the source as the learner of its architecture."""
    source, described = study["config"]["source"], study["config"]["learners"]
    named = {learner["name"]: learner["title"] for learner in study["learners"]}
    pairs = zip(named.values(), described, strict=True)
    same = [title for title, learner in pairs if learner["network"] == source]
    title = same[0] if same else source.get("kind", "another network")
    return {SOURCE: f"source: {title}", **named}


def _point(rows: list[dict[str, Any]]) -> Point:
    def rate(count: str, whole: str = "total") -> Measure | None:
        if not all(row[whole] and count in row for row in rows):
            return None
        by_seed = {row["seed"]: row[count] / row[whole] for row in rows}
        # Where seeds differ in how many images count, the interval is of the fewest.
        return Measure(by_seed, min(row[whole] for row in rows))

    rows = [{**row, "not_right": row["total"] - row["right"]} for row in rows]
    return Point(
        on_D=rate("right"),
        wrong_before=rate("not_right"),
        untargeted=rate("fooled", "right"),
        targeted=rate("reached", "right"),
        wrong=rate("wrong"),
        at_target=rate("said"),
        at_target_before=rate("said_before"),
        on_D_det=rate("right_on_D_det"),
    )
