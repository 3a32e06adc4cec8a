"""The numbers behind a robust accuracy, and what they say of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from nrf.evaluate.causes import CAUSES

BELIEVABLE = "believable"


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
    vanishing: int  # It is, or it is lost in float32, there or beside the image.
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

    # Withstood the attack, but not one step along the gradient of the logits.
    behind: int | None = None
    lowered: int | None = None  # Right, and after the attack more surely so.
    # Withstood; the attack moved it and raised its wrong logits hardly, and one step
    # raises them ten times more.
    aimless: int | None = None
    # Beside the image, less than a grey level away: logits that differ between two such
    # places; or not there, but from the image's, or whose gradient is gone.
    erratic: int | None = None
    detected: int | None = None
    # Where a step along the gradient of the logits does not give what it promises: a
    # much shorter one does; it lowers what it should raise; it does neither.
    shattered: int | None = None
    reversed: int | None = None
    replaced: int | None = None
    astray: int | None = None  # A step along the loss's gradient gives nothing.
    grain: float | None = None  # What rounding to 8-bit pixels changes.
    # Of an active test: adversarial examples that are there, and those that it found.
    planted: int | None = None
    found: int | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that is wrong; empty if the accuracy is believable."""
        return tuple(
            Finding(cause.name, _fill(cause.sentence, self))
            for cause in CAUSES
            if cause.fails(self)
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
            "whether gradients are those of the logits": self.shattered,
            "whether the attack finds what is planted (an active test)": self.planted,
        }
        if self.only_blind is not None:
            # Of several attacks, whose steps adapt.
            del optional["whether the steps can cross the ball"]
            del optional["another attack"]
        missing = ", ".join(name for name, value in optional.items() if value is None)
        sentences = [f"Not checked: {missing}."] if missing else []
        if self.planted == 0:
            sentences.append(
                "The active test could plant nothing: in these balls, logits change by "
                "no more than rounding, or random points change them as much as any."
            )
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
