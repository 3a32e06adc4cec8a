"""What experiments are put together from: attacks, networks, trainings."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Norm = Literal["l2", "linf"]
Architecture = Literal[
    "small", "mlp", "resnet18", "resnet50", "vgg16", "inception_v3", "densenet121"
]


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def require_companions(batch_size: int) -> None:
    require(
        batch_size >= 2,
        f"batch_size must be at least 2, got {batch_size}: one image alone can not "
        "show whether a network looks at others in its batch.",
    )


def evenly(count: int, total: int) -> list[int]:
    """Which `count` of `total` examples are used, evenly spaced; all, if no more."""
    count = min(count, total)
    return [i * total // count for i in range(count)]


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


@dataclass(frozen=True)
class PGD:
    """A projected gradient attack; lengths in [0, 1] pixels."""

    norm: Norm
    epsilon: float
    steps: int
    step_size: float
    random_start: bool = False
    restarts: int = 1
    keep_best: bool = False

    def __post_init__(self):
        check_epsilon(self.norm, self.epsilon)
        require(self.steps >= 1, f"steps must be at least 1, got {self.steps}.")
        require(
            self.step_size > 0, f"step_size must be positive, got {self.step_size}."
        )
        require(
            self.restarts == 1 or (self.restarts > 1 and self.random_start),
            f"restarts={self.restarts} needs to be 1, or more with random_start=True.",
        )


@dataclass(frozen=True)
class Network:
    """An architecture; `widths` belongs to small and mlp (which is a linear classifier
    without any), `width` to all others (64 as published), `patch` to small (the side of
    its first layer's squares of pixels)."""

    name: Architecture
    mean: tuple[float, ...]  # Per channel, in [0, 1] pixels.
    std: tuple[float, ...]
    widths: tuple[int, ...] = (32, 64, 128)
    width: int = 64
    patch: int = 1
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        names = get_args(Architecture)
        require(self.name in names, f"network {self.name!r} is none of {names}.")
        require(
            (len(self.widths) > 0 or self.name == "mlp")
            and min(*self.widths, self.width, self.patch) > 0,
            "widths, width and patch must be positive, got "
            f"{self.widths}, {self.width} and {self.patch}.",
        )
        require(min(self.std) > 0, f"std must be positive, got {self.std}; it divides.")
        require(
            self.dtype in ("float32", "bfloat16"),
            f"dtype must be 'float32' or 'bfloat16', got {self.dtype!r}; "
            "parameters stay float32.",
        )


@dataclass(frozen=True)
class Training:
    """Stochastic gradient descent with Nesterov momentum, on `attack`'s images."""

    epochs: int
    batch_size: int
    learning_rate: float
    # "steps" divides the rate by 10 after the fractions `drops` of all steps; "cosine"
    # and "triangle" warm up over `warmup` of them and go to zero.
    schedule: Literal["steps", "cosine", "triangle"] = "cosine"
    drops: tuple[float, ...] = (0.5, 0.75)
    warmup: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    pad: int = 0  # Pixels by which random crops may be shifted; 0 for none.
    flip: bool = False  # Random left-right mirroring.
    attack: PGD | None = None  # Adversarial training when given.
    # This part of the training examples is held out, and the parameters of the epoch
    # with the best accuracy on it (robust, with an attack) are kept; 0: the last epoch.
    holdout: float = 0.0

    def __post_init__(self):
        require(self.epochs >= 1, f"epochs must be at least 1, got {self.epochs}.")
        require(
            self.batch_size >= 1,
            f"batch_size must be at least 1, got {self.batch_size}.",
        )
        require(
            self.learning_rate > 0,
            f"learning_rate must be positive, got {self.learning_rate}.",
        )
        require(
            self.schedule in ("steps", "cosine", "triangle"),
            f"schedule must be 'steps', 'cosine' or 'triangle', got {self.schedule!r}.",
        )
        require(
            all(0 < drop < 1 for drop in self.drops),
            f"drops are fractions of the training in (0, 1), got {self.drops}.",
        )
        require(0 <= self.warmup < 1, f"warmup must be in [0, 1), got {self.warmup}.")
        require(self.pad >= 0, f"pad must not be negative, got {self.pad}.")
        require(
            0 <= self.holdout < 1, f"holdout must be in [0, 1), got {self.holdout}."
        )


@dataclass(frozen=True)
class Matching:
    """How D_R and D_NR are made (paper, section 3.1 and appendix C.4)."""

    steps: int
    step_size: float
    start: Literal["image", "noise"] = "image"
    # Back-propagate the last ReLU as identity, as the authors' library does.
    identity_relu: bool = False
    # Every training image is matched this many times, from different starts.
    copies: int = 1

    def __post_init__(self):
        require(self.steps >= 1, f"steps must be at least 1, got {self.steps}.")
        require(
            self.step_size > 0, f"step_size must be positive, got {self.step_size}."
        )
        require(
            self.start in ("image", "noise"),
            f"start must be 'image' or 'noise', got {self.start!r}.",
        )
        require(self.copies >= 1, f"copies must be at least 1, got {self.copies}.")


@dataclass(frozen=True)
class Mislabelling:
    """How D_rand and D_det are made (paper, section 3.2 and appendix C.5)."""

    attack: PGD  # Towards the new label.
    identity_relu: bool = False  # As in Matching.


@dataclass(frozen=True)
class Evaluation:
    """Robust accuracy at every radius of `epsilons`, by PGD from the image itself.

    In the main experiment each comes with its evidence: see `nrf.evaluate`.
    """

    norm: Norm
    epsilons: tuple[float, ...]
    steps: int
    # Steps have length epsilon * crossings / steps: 2.5 as in the authors' library.
    crossings: float = 2.5
    restarts: int = 1  # Runs per image; with more than one all start at random points.
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"  # What attacks climb.
    # Of Square, on what withstood, to see whether gradients mislead; 0 for none.
    queries: int = 100
    refuse: bool = False  # End the run where an accuracy is not believable.
    batch_size: int = 500

    def __post_init__(self):
        for epsilon in self.epsilons:
            check_epsilon(self.norm, epsilon)
        require(self.queries >= 0, f"queries must not be negative, got {self.queries}.")
        require_companions(self.batch_size)
        require(self.steps >= 1, f"steps must be at least 1, got {self.steps}.")
        require(
            self.crossings > 0, f"crossings must be positive, got {self.crossings}."
        )
        require(
            self.restarts >= 1, f"restarts must be at least 1, got {self.restarts}."
        )
        require(
            self.loss in ("cross_entropy", "margin"),
            f"loss must be 'cross_entropy' or 'margin', got {self.loss!r}.",
        )
