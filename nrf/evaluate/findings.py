"""The numbers behind a robust accuracy, and what they say of it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nrf.evaluate.accuracy import Score

BELIEVABLE = "believable"

_ERROR = 0.01  # An accuracy that is surely this much too high is wrong.
_BOX = 1e-6  # How far rounding takes a pixel out of [0, 1].
_CHANGED = 0.01  # The share of outputs that may change: what rounding flips.
_PROBABILITIES = 0.5  # Logits that sum to 1 are rare; one in two is no accident.
_CONTRADICTION = 0.05  # Balls that hold what cannot have their image's class.


class Finding(NamedTuple):
    """Something that is wrong with a robust accuracy."""

    name: str
    sentence: str  # The number, what it means, and what is likely to cause it.


class Evidence(NamedTuple):
    """What a robust accuracy was computed from, in plain numbers.

    Counts are of examples, shares in [0, 1], lengths in `norm` and [0, 1] pixels. What
    was not checked is None.
    """

    norm: str
    epsilon: float
    total: int
    correct: int  # Right without attack.
    withstood: int  # Right without attack and under it.
    chance: float  # The accuracy that the same answers have for shuffled labels.
    commonest: float  # Share of the class with the most examples.

    largest: float  # The largest perturbation.
    rounding: float  # How much of it may be above epsilon by rounding.
    outside: float  # The farthest that an attacked pixel is out of [0, 1].
    bad_logits: int  # NaN or infinite, at the image or the attacked one.
    bad_images: int  # NaN or infinite after the attack.
    bad_gradients: int  # NaN or infinite at the image.
    probabilities: int  # Logits are not negative and sum to 1.

    zero: int  # The gradient of the loss at the image is exactly 0 everywhere.
    vanishing: int  # It is, or it is lost in float32.
    # It vanishes, the example withstood the attack, and one step along the gradient of
    # the logits fools it; or there is none either.
    missed: int
    varied: int  # The same image gave other logits the second time.
    mixed: int  # Other companions in the batch gave other logits.

    grey: int  # The ball holds the image that is 0.5 everywhere.
    others: float  # Share of pairs of two classes in which the ball holds the other.
    crossings: float | None = None  # Steps times step size, over epsilon.
    large_epsilon: float | None = None  # Any image can become grey within it.
    large_withstood: int | None = None  # Epsilon, and then this one.
    lost_to_more_steps: int | None = None  # Withstood, but not with more steps.
    lost_to_other: int | None = None  # Withstood, but not another attack.
    # Fooled by nothing but an attack without gradients, of several attacks.
    only_blind: int | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that is wrong; empty if the accuracy is believable."""
        return tuple(_judge(self))

    @property
    def verdict(self) -> str:
        """BELIEVABLE, or the names of the findings."""
        return ", ".join(found.name for found in self.findings) or BELIEVABLE

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on what the evidence leaves open."""
        optional = {
            "whether the steps can cross the ball": self.crossings,
            "a very large epsilon": self.large_withstood,
            "more steps": self.lost_to_more_steps,
            "another attack": self.lost_to_other,
        }
        missing = ", ".join(name for name, value in optional.items() if value is None)
        said = [f"Not checked: {missing}."] if missing else []
        if self.crossings is not None and 1 <= self.crossings < 2:
            said.append(
                f"All steps together are {self.crossings:g} times epsilon long: from "
                "the middle of the ball they reach its edge, from its edge not every "
                "other point; 2 times would."
            )
        return tuple(said)

    def refuse(self) -> None:
        """Raises ValueError, with every finding, unless all is believable."""
        if self.findings:
            accuracy = _percent(self.withstood / self.total)
            reasons = "\n".join(f"- {name}: {why}" for name, why in self.findings)
            raise ValueError(
                f"a robust accuracy of {accuracy} at {self.norm} radius "
                f"{self.epsilon:g} is not believable:\n{reasons}"
            )

    def as_dict(self) -> dict[str, Any]:
        """Numbers and the verdict, for a JSON file."""
        return {**self._asdict(), "verdict": self.verdict}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Evidence":
        """What `as_dict` was made of; judged anew, whatever verdict it carries.

        Raises:
          ValueError: a number is missing, or is none of evidence's.
        """
        numbers = {name: value for name, value in values.items() if name != "verdict"}
        missing = set(cls._fields) - set(cls._field_defaults) - set(numbers)
        unknown = set(numbers) - set(cls._fields)
        if missing or unknown:
            raise ValueError(
                f"evidence without {sorted(missing)} and with unknown "
                f"{sorted(unknown)}; was it written by another version?"
            )
        return cls(**numbers)


def _judge(e: Evidence) -> Iterator[Finding]:
    """What is wrong, what is broken first."""
    if e.bad_logits or e.bad_images or e.bad_gradients:
        yield Finding(
            "not finite",
            f"NaN or infinity is in the logits of {e.bad_logits} examples of {e.total},"
            f" in {e.bad_images} attacked images and in {e.bad_gradients} gradients: "
            "answers and steps mean nothing there. Divisions by zero, or roots and "
            "logarithms at 0, do this.",
        )
    if e.largest > e.epsilon + e.rounding:
        yield Finding(
            "outside the ball",
            f"A perturbation has {e.norm} norm {e.largest:g} in a ball of radius "
            f"{e.epsilon:g}: the attack solved an easier task. A projection is missing,"
            " in another norm, or around the last image instead of the first.",
        )
    if e.outside > _BOX:
        yield Finding(
            "outside the box",
            f"Attacked pixels are up to {e.outside:g} out of [0, 1]: no camera takes "
            "such images. Clip to [0, 1] after every step, and let the model normalise "
            "images.",
        )
    missed = _surely(e.missed, e.total)
    if e.largest == 0 and not (missed or e.bad_images):
        yield Finding(
            "changes nothing",
            f"All {e.total} attacked images are the images themselves, though gradients"
            " are not 0: the attack takes no steps, or returns where it started.",
        )
    if e.crossings is not None and e.crossings < 1 - 1e-6:
        yield Finding(
            "short steps",
            f"All steps together are {e.crossings:g} times epsilon long: the edge of "
            "the ball is out of reach. Take more or longer steps; 2 times epsilon "
            "crosses the whole ball.",
        )
    if e.probabilities > _PROBABILITIES * e.total:
        yield Finding(
            "probabilities",
            f"The logits of {_percent(e.probabilities / e.total)} of the examples are "
            "not negative and sum to 1: they are probabilities, and cross-entropy takes"
            " a second softmax of them, with small gradients. Return what the softmax "
            "is taken of.",
        )
    if missed:
        yield Finding(
            "vanishing gradient",
            f"{_percent(e.missed / e.total)} of the examples withstood where the "
            "gradient that the attack climbs is 0 or lost in float32, though the "
            "logits have one that fools them in one step, or have none at all (it is "
            f"lost in {_percent(e.vanishing / e.total)} of all examples, exactly 0 in "
            f"{_percent(e.zero / e.total)}). Logits are too large for cross-entropy "
            "(climb losses.margin), or something in the model rounds.",
        )
    varied = e.varied > _CHANGED * e.total
    if varied:
        yield Finding(
            "not deterministic",
            f"{_percent(e.varied / e.total)} of the images gave other logits the second"
            " time: gradients and answers are of different networks. Remove the noise, "
            "or attack and score the mean of many draws.",
        )
    elif e.mixed > _CHANGED * e.total:
        yield Finding(
            "depends on the batch",
            f"{_percent(e.mixed / e.total)} of the images gave other logits beside "
            "other images: BatchNorm takes the statistics of the batch, as in training."
            " Use the running ones.",
        )
    if max(e.grey / e.total, e.others) > _CONTRADICTION:
        yield Finding(
            "huge epsilon",
            f"Balls of radius {e.epsilon:g} hold the mid-grey image for "
            f"{_percent(e.grey / e.total)} of the examples, and "
            f"{_percent(e.others)} of images of other classes: no classifier can be "
            "right on all of these. Epsilon is in [0, 1] pixels; one in grey levels is "
            "to be divided by 255.",
        )
    if Score(e.correct, e.total).interval[0] <= e.chance:
        yield Finding(
            "no better than chance",
            f"Without attack {_percent(e.correct / e.total)} are right, and "
            f"{_percent(e.chance)} would be with shuffled labels: there is nothing to "
            "be robust. Labels are in another order than images or names, or the "
            "network is not trained.",
        )
    # Where outputs vary, so do answers, whatever the attack.
    if not varied and _surely(e.lost_to_more_steps, e.total):
        yield Finding(
            "stops early",
            f"More steps fool {_lost(e, e.lost_to_more_steps)}. Take more steps, until "
            "doubling them changes nothing.",
        )
    if not varied and _surely(e.lost_to_other, e.total):
        yield Finding(
            "beaten by another attack",
            f"Another attack fools {_lost(e, e.lost_to_other)}. If that one needs no "
            "gradient of this network, the gradient misleads; else report the worst "
            "of both.",
        )
    if not varied and _surely(e.only_blind, e.total):
        yield Finding(
            "gradients mislead",
            f"{e.only_blind} of {e.total} examples withstood every attack along "
            "gradients, and random search fools them: what withstood all may do so for "
            "want of queries. Something in the model has no useful gradient; attack it "
            "through a smooth stand-in.",
        )
    if e.large_withstood is not None:
        low = Score(e.large_withstood, e.total).interval[0]
        if low > e.commonest:
            yield Finding(
                "survives any epsilon",
                f"At {e.norm} radius {e.large_epsilon:g} every image can become "
                "mid-grey, which has one class, but "
                f"{_percent(e.large_withstood / e.total)} withstood (the commonest "
                f"class has {_percent(e.commonest)}): the attack fails.",
            )


def _surely(count: int | None, total: int) -> bool:
    """Whether the share of such examples is above `_ERROR`, at 95 %."""
    return count is not None and Score(count, total).interval[0] > _ERROR


def _lost(e: Evidence, count: int | None) -> str:
    left = e.withstood - (count or 0)
    return (
        f"{count} of {e.total} examples that withstood this attack: the robust "
        f"accuracy is at most {_percent(left / e.total)}, not "
        f"{_percent(e.withstood / e.total)}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
