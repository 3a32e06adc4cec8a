"""The numbers behind a robust accuracy, and what they say of it."""

from collections.abc import Callable, Mapping
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
        return tuple(
            Finding(check.name, _fill(check.sentence, self))
            for check in _CHECKS
            if check.fails(self)
        )

    @property
    def verdict(self) -> str:
        """BELIEVABLE, or the names of the findings."""
        return ", ".join(finding.name for finding in self.findings) or BELIEVABLE

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on what the evidence leaves open."""
        optional = {
            "whether the steps can cross the ball": self.crossings,
            "a very large epsilon": self.large_withstood,
            "more steps": self.lost_to_more_steps,
            "another attack": self.lost_to_other,
        }
        if self.only_blind is not None:
            # Of several attacks, whose steps adapt.
            del optional["whether the steps can cross the ball"]
            del optional["another attack"]
        missing = ", ".join(name for name, value in optional.items() if value is None)
        sentences = [f"Not checked: {missing}."] if missing else []
        if self.crossings is not None and 1 <= self.crossings < 2:
            sentences.append(
                f"All steps together are {self.crossings:g} times epsilon long: from "
                "the middle of the ball they reach its edge, from its edge not every "
                "other point; 2 times would."
            )
        return tuple(sentences)

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


class _Check(NamedTuple):
    """A way to be wrong: its name, when it is found, and what is then said."""

    name: str
    fails: Callable[[Evidence], bool]
    sentence: str  # {e.x} is a number, {share.x} a percentage; {most[x]}: see `_fill`.


def _varies(e: Evidence) -> bool:
    """Whether outputs vary by themselves; then so do answers, whatever the attack."""
    return e.varied > _CHANGED * e.total


def _misses(e: Evidence) -> bool:
    return _surely(e.missed, e.total)


def _survives(e: Evidence) -> bool:
    if e.large_withstood is None:
        return False
    return Score(e.large_withstood, e.total).interval[0] > e.commonest


# What is broken comes before what is weak.
_CHECKS = (
    _Check(
        "not finite",
        lambda e: bool(e.bad_logits or e.bad_images or e.bad_gradients),
        "There are NaNs or infinities in the logits of {e.bad_logits} of {e.total} "
        "examples, in {e.bad_images} attacked images and in {e.bad_gradients} "
        "gradients; predictions and steps mean nothing there. Likely causes are "
        "divisions by zero, and roots or logarithms at 0.",
    ),
    _Check(
        "outside the ball",
        lambda e: e.largest > e.epsilon + e.rounding,
        "A perturbation has {e.norm} norm {e.largest:g} in a ball of radius "
        "{e.epsilon:g}: the attack solved an easier task. Its projection is missing, "
        "in another norm, or around the last image instead of the first.",
    ),
    _Check(
        "outside the box",
        lambda e: e.outside > _BOX,
        "Attacked pixels are up to {e.outside:g} outside of [0, 1], which no image "
        "is. Clip to [0, 1] after every step, and normalise images inside of the "
        "model.",
    ),
    _Check(
        "changes nothing",
        lambda e: e.largest == 0 and not (_misses(e) or e.bad_images),
        "All {e.total} attacked images are the images themselves, though gradients "
        "are not 0: the attack takes no steps, or returns where it started.",
    ),
    _Check(
        "short steps",
        lambda e: e.crossings is not None and e.crossings < 1 - 1e-6,
        "All steps together are {e.crossings:g} times epsilon long, too short to "
        "reach the edge of the ball. Take more or longer steps; 2 times epsilon "
        "crosses the whole ball.",
    ),
    _Check(
        "probabilities",
        lambda e: e.probabilities > _PROBABILITIES * e.total,
        "The logits of {share.probabilities} of the examples are not negative and sum "
        "to 1: they are probabilities. Cross-entropy takes a second softmax of them, "
        "whose gradients are small. Return the input of the softmax instead.",
    ),
    _Check(
        "vanishing gradient",
        _misses,
        "{share.missed} of the examples withstood where the gradient that the attack "
        "climbs is 0 or lost in float32, though the logits have one that fools them "
        "in one step, or have none at all (it is lost in {share.vanishing} of all "
        "examples, exactly 0 in {share.zero}). Either the logits are too large for "
        "cross-entropy (climb losses.margin), or something in the model rounds.",
    ),
    _Check(
        "not deterministic",
        _varies,
        "{share.varied} of the images gave other logits the second time: gradients "
        "and predictions are those of different networks. Remove the noise, or attack "
        "and score the mean of many draws.",
    ),
    _Check(
        "depends on the batch",
        lambda e: e.mixed > _CHANGED * e.total and not _varies(e),
        "{share.mixed} of the images gave other logits beside other images: BatchNorm "
        "uses the statistics of the batch, as in training. Use the running statistics.",
    ),
    _Check(
        "huge epsilon",
        lambda e: max(e.grey / e.total, e.others) > _CONTRADICTION,
        "Balls of radius {e.epsilon:g} hold the mid-grey image for {share.grey} of "
        "the examples, and {share.others} of images of other classes: no classifier "
        "can be right on all of these. Epsilon is in [0, 1] pixels; divide one in "
        "grey levels by 255.",
    ),
    _Check(
        "no better than chance",
        lambda e: Score(e.correct, e.total).interval[0] <= e.chance,
        "Without attack {share.correct} are right, and {share.chance} would be with "
        "shuffled labels: there is no accuracy to be robust. Labels are in another "
        "order than images or names, or the network is not trained.",
    ),
    _Check(
        "stops early",
        lambda e: not _varies(e) and _surely(e.lost_to_more_steps, e.total),
        "More steps fool {e.lost_to_more_steps} of {e.total} examples that withstood "
        "this attack: the robust accuracy is at most {most[lost_to_more_steps]}, not "
        "{share.withstood}. Take more steps, until doubling them changes nothing.",
    ),
    _Check(
        "beaten by another attack",
        lambda e: not _varies(e) and _surely(e.lost_to_other, e.total),
        "Another attack fools {e.lost_to_other} of {e.total} examples that withstood "
        "this attack: the robust accuracy is at most {most[lost_to_other]}, not "
        "{share.withstood}. If that one needs no gradient of this network, the "
        "gradient misleads; else report the worst of both.",
    ),
    _Check(
        "gradients mislead",
        lambda e: not _varies(e) and _surely(e.only_blind, e.total),
        "{e.only_blind} of {e.total} examples withstood every attack that follows "
        "gradients, and random search fools them: others may have withstood only for "
        "want of queries. Something in the model has no useful gradient; attack it "
        "through a smooth replacement.",
    ),
    _Check(
        "survives any epsilon",
        _survives,
        "At {e.norm} radius {e.large_epsilon:g} every image can become mid-grey, "
        "which has one class, but {share.large_withstood} withstood (the commonest "
        "class has {share.commonest}): the attack fails.",
    ),
)


def _surely(count: int | None, total: int) -> bool:
    """Whether the share of such examples is above `_ERROR`, at 95 %."""
    return count is not None and Score(count, total).interval[0] > _ERROR


class _Shares(NamedTuple):
    """Numbers of the evidence as percentages: of a count, that of all examples."""

    of: Evidence

    def __getattr__(self, name: str) -> str:
        value = getattr(self.of, name)
        return _percent(value / self.of.total if isinstance(value, int) else value)


def _fill(sentence: str, e: Evidence) -> str:
    """The sentence with the numbers of `e`.

    {most[x]} is the accuracy that remains when the x examples are fooled as well.
    """
    most = {
        name: _percent((e.withstood - (getattr(e, name) or 0)) / e.total)
        for name in ("lost_to_more_steps", "lost_to_other")
    }
    return sentence.format(e=e, share=_Shares(e), most=most)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
