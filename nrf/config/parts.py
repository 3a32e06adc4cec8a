"""What experiments are put together from: attacks, trainings, evaluations, the work."""

import math
import numbers
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

Norm = Literal["l2", "linf"]
Precision = Literal["float32", "tensorfloat32", "bfloat16"]


def require(condition: bool, message: str) -> None:
    """Raises ValueError with `message` unless the condition holds."""
    if not condition:
        raise ValueError(message)


def require_counts(settings: Any, *names: str, least: int = 1) -> None:
    """Raises ValueError unless these fields are whole numbers and large enough."""
    for name in names:
        value = getattr(settings, name)
        require(
            _is_whole(value) and value >= least,
            f"{name} must be a whole number of at least {least}, got {value!r}.",
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def require_positive(settings: Any, *names: str) -> None:
    """Raises ValueError unless these fields are finite and above zero."""
    for name in names:
        value = getattr(settings, name)
        require(
            0 < value < math.inf, f"{name} must be positive and finite, got {value}."
        )


def require_seeds(seeds: tuple[int, ...]) -> None:
    require(
        len(seeds) > 0 and len(set(seeds)) == len(seeds),
        f"seeds must be one or more different numbers, got {seeds}.",
    )
    # JAX keeps the lower 32 bits only: two seeds could be the same one.
    require(
        all(_is_whole(seed) and 0 <= seed < 2**32 for seed in seeds),
        f"seeds must be whole numbers from 0 to 2**32 - 1, got {seeds}.",
    )


def require_name(name: str) -> None:
    """Raises ValueError where the steps' folders cannot be called so."""
    require(
        bool(re.fullmatch(r"\w[\w.+-]*", name)),
        f"{name!r} is no name for a folder; use letters, digits and _ . + - only.",
    )


def require_builder(network: Any) -> None:
    """Raises ValueError unless this is an architecture."""
    require(
        callable(getattr(network, "build", None)) and network.__hash__ is not None,
        "network must be a frozen dataclass, @dataclass(frozen=True), with a method "
        f"build(num_classes), got {network!r}; nrf.models has nine.",
    )


def require_storage(storage: str) -> None:
    require(
        storage in ("float32", "float16"),
        f"storage must be 'float32' or 'float16', got {storage!r}; 8 bits would lose "
        "part of what was constructed.",
    )


def require_precision(precision: str) -> None:
    require(
        precision in get_args(Precision),
        "precision, of products of float32 numbers, must be 'float32', 'tensorfloat32' "
        f"or 'bfloat16', got {precision!r}; networks in half precision are what "
        "network.dtype is for.",
    )


def check_epsilon(norm: str, epsilon: float) -> None:
    require(norm in ("l2", "linf"), f"norm must be 'l2' or 'linf', got {norm!r}.")
    if norm == "linf":
        require(
            0 < epsilon <= 1,
            f"linf epsilon must be in (0, 1], got {epsilon}; for k grey levels out of "
            "255 write k / 255.",
        )
    require(
        0 < epsilon < math.inf,
        f"epsilon must be positive and finite, got {epsilon}; "
        "a network without attack is what attack=None means.",
    )


def evenly_spaced(count: int, total: int) -> list[int]:
    """Which `count` of `total` examples are used, evenly spaced; all, if no more."""
    count = min(count, total)
    return [i * total // count for i in range(count)]


@dataclass(frozen=True)
class PGD:
    """A projected gradient attack; lengths in [0, 1] pixels."""

    norm: Norm  # The ball of the perturbations: l2 or linf.
    epsilon: float  # Its radius.
    steps: int  # Gradient steps.
    step_size: float  # Length of each.
    random_start: bool = False  # Start anywhere in the ball instead of at the image.
    restarts: int = 1  # Runs per image, of which the best counts.
    keep_best: bool = False  # Return the best image visited instead of the last.

    def __post_init__(self):
        check_epsilon(self.norm, self.epsilon)
        require_counts(self, "steps", "restarts")
        require_positive(self, "step_size")
        require(
            self.restarts == 1 or self.random_start,
            f"restarts={self.restarts} needs random_start=True; without it every run "
            "is the same.",
        )


@dataclass(frozen=True)
class Training:
    """Stochastic gradient descent with momentum, on `attack`'s images."""

    epochs: int  # Times that every training example is seen.
    batch_size: int  # Examples of an update.
    learning_rate: float  # The largest; the schedule says when.
    # "steps" divides the rate by 10 at `drops`; "cosine" and "triangle" warm up and
    # then go to zero.
    schedule: Literal["steps", "cosine", "triangle"] = "cosine"
    drops: tuple[float, ...] = (0.5, 0.75)  # Of "steps": fractions of the training.
    warmup: float = 0.1  # Of "cosine" and "triangle": fraction of the training.
    momentum: float = 0.9  # 0 for none.
    nesterov: bool = True  # Look ahead along the momentum; the paper's does not.
    weight_decay: float = 5e-4  # On all parameters, as the paper's.
    pad: int = 0  # Pixels by which random crops may be shifted; 0 for none.
    flip: bool = False  # Mirror random images left to right.
    # Brightness, contrast and saturation are changed by up to this part.
    jitter: float = 0.0
    rotation: float = 0.0  # Degrees by which images are turned at most.
    # The least part of an image that a random crop of it shows, enlarged to the image's
    # size; 0 for no such crops.
    crop: float = field(default=0.0, metadata={"later": True}, kw_only=True)
    # The part of a label's weight that is spread over all classes evenly.
    label_smoothing: float = field(default=0.0, metadata={"later": True}, kw_only=True)
    # Decay, for each update, of an average of the weights, which is what is tested and
    # kept instead of the last ones; 0 for none.
    averaging: float = field(default=0.0, metadata={"later": True}, kw_only=True)
    attack: PGD | None = None  # Adversarial training when given.
    # What the attack climbs and the update descends, made of a Model: see `nrf.losses`.
    # None is cross-entropy for both (Madry et al.).
    objective: Callable[[Any], Any] | None = None
    # The part of the training examples held out, on which the best epoch is chosen
    # (by robust accuracy, with an attack); 0 keeps the last epoch.
    holdout: float = 0.0

    def __post_init__(self):
        require_counts(self, "epochs", "batch_size")
        require_counts(self, "pad", least=0)
        require_positive(self, "learning_rate")
        require(
            self.schedule in ("steps", "cosine", "triangle"),
            f"schedule must be 'steps', 'cosine' or 'triangle', got {self.schedule!r}.",
        )
        require(
            all(0 < drop < 1 for drop in self.drops),
            f"drops are fractions of the training in (0, 1), got {self.drops}.",
        )
        require(0 <= self.warmup < 1, f"warmup must be in [0, 1), got {self.warmup}.")
        require(
            0 <= self.momentum < 1, f"momentum must be in [0, 1), got {self.momentum}."
        )
        require(
            0 <= self.weight_decay < math.inf,
            f"weight_decay must be finite and not negative, got {self.weight_decay}.",
        )
        require(0 <= self.jitter <= 1, f"jitter must be in [0, 1], got {self.jitter}.")
        require(
            0 <= self.rotation <= 180,
            f"rotation must be in [0, 180] degrees, got {self.rotation}.",
        )
        require(0 <= self.crop <= 1, f"crop must be in [0, 1], got {self.crop}.")
        require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing must be in [0, 1), got {self.label_smoothing}; 0.1 "
            "leaves nine tenths of the weight to the label.",
        )
        require(
            not (self.label_smoothing and self.objective),
            f"label_smoothing={self.label_smoothing} is of the cross-entropy, and "
            f"{self.objective} says itself what is descended; smooth the labels there.",
        )
        require(
            0 <= self.averaging < 1,
            f"averaging must be in [0, 1), got {self.averaging}; it is a decay: 0.99 "
            "averages about the last hundred updates.",
        )
        starts_still = self.attack is not None and not self.attack.random_start
        require(
            not (starts_still and getattr(self.objective, "needs_random_start", False)),
            f"{self.objective} is flat at the image itself, so that its attack would "
            "not move from there; give the attack random_start=True.",
        )
        require(
            0 <= self.holdout < 1, f"holdout must be in [0, 1), got {self.holdout}."
        )


@dataclass(frozen=True)
class Evaluation:
    """Robust accuracy at every radius of `epsilons`, by PGD from the image itself.

    Each comes with its evidence: see `nrf.evaluate`.
    """

    norm: Norm  # The ball of the perturbations: l2 or linf.
    epsilons: tuple[float, ...]  # Its radii; () for accuracy without attack alone.
    steps: int  # Gradient steps of the attack.
    # Steps have length epsilon * crossings / steps: 2.5 as in the authors' library.
    crossings: float = 2.5
    restarts: int = 1  # Runs per image; with more than one all start at random points.
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"  # What attacks climb.
    # Of Square, on what withstood, to see whether gradients mislead; 0 for none.
    queries: int = 100
    # The radii at which what withstood is attacked again; None: all of them.
    thorough: tuple[float, ...] | None = field(
        default=None, metadata={"later": True}, kw_only=True
    )

    def __post_init__(self):
        for epsilon in self.epsilons:
            check_epsilon(self.norm, epsilon)
        require(
            len(set(self.epsilons)) == len(self.epsilons),
            f"epsilons must be different, got {self.epsilons}.",
        )
        require(
            set(self.thorough or ()) <= set(self.epsilons),
            f"thorough must be some of the radii {self.epsilons}, got {self.thorough}.",
        )
        require_counts(self, "steps", "restarts")
        require_counts(self, "queries", least=0)
        require_positive(self, "crossings")
        require(
            self.loss in ("cross_entropy", "margin"),
            f"loss must be 'cross_entropy' or 'margin', got {self.loss!r}.",
        )

    def at(self, *epsilons: float) -> "Evaluation":
        """The same at other radii, or without attack alone; thorough at all of them."""
        return replace(self, epsilons=epsilons, thorough=None)


@dataclass(frozen=True)
class Work:
    """How a run works: nothing here changes a result, up to rounding.

    Batch sizes are in images, and are limited by the memory of the devices.
    """

    devices: int | None = None  # The first so many; None for all.
    synthesis_batch: int = 500  # Of the construction of data sets.
    evaluation_batch: int = 500  # Of accuracies and their evidence.
    # Of AutoAttack: smaller ones waste less where few images withstand.
    autoattack_batch: int = 100
    feature_batch: int = 64  # Of the attacks on features,
    feature_units: int = 16  # of which so many are attacked at once.
    refuse: bool = False  # End the run at the first accuracy that is not believable.
    # Results inside a step are kept on disk at least so often; 0: after every batch.
    checkpoint_minutes: float = 5.0
    # Bytes: sets that are no larger lie on every device while a network is trained, and
    # larger ones are streamed to them.
    resident: int = 2**31
    # Updates of a training in one call of the devices; None: one on CPUs, 50 on others.
    updates: int | None = None

    def __post_init__(self):
        require_counts(self, "synthesis_batch", "feature_batch", "feature_units")
        # One image alone cannot show whether a network looks at others in its batch.
        require_counts(self, "evaluation_batch", "autoattack_batch", least=2)
        require_counts(self, "resident", least=0)
        if self.updates is not None:
            require_counts(self, "updates")
        require(
            0 <= self.checkpoint_minutes < math.inf,
            "checkpoint_minutes must be finite and not negative, got "
            f"{self.checkpoint_minutes}.",
        )
