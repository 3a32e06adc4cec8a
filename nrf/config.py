"""Every number that an experiment depends on, checked when it is written down.

Frozen dataclasses without JAX: `--help` answers at once, and a variant of an experiment
is `dataclasses.replace(config, ...)`. Files in `configs/` hold one `config` each.
"""

import math
from dataclasses import dataclass
from typing import Literal

Norm = Literal["l2", "linf"]
SETS = ("D_R", "D_NR", "D_rand", "D_det")  # The constructed data sets, in order.


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_epsilon(norm: str, epsilon: float) -> None:
    _require(norm in ("l2", "linf"), f"norm must be 'l2' or 'linf', got {norm!r}.")
    if norm == "linf":
        _require(
            0 < epsilon <= 1,
            f"linf epsilon must be in (0, 1], got {epsilon}; for k grey levels out of "
            "255 write k / 255.",
        )
    _require(
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
        _check_epsilon(self.norm, self.epsilon)
        _require(self.steps >= 1, f"steps must be at least 1, got {self.steps}.")
        _require(
            self.step_size > 0, f"step_size must be positive, got {self.step_size}."
        )
        _require(
            self.restarts == 1 or (self.restarts > 1 and self.random_start),
            f"restarts={self.restarts} needs to be 1, or more with random_start=True.",
        )


@dataclass(frozen=True)
class Network:
    """An architecture; `widths` belongs to small and mlp, `width` to the ResNets,
    `patch` to small (the side of its first layer's squares of pixels)."""

    name: Literal["small", "mlp", "resnet18", "resnet50"]
    mean: tuple[float, ...]  # Per channel, in [0, 1] pixels.
    std: tuple[float, ...]
    widths: tuple[int, ...] = (32, 64, 128)
    width: int = 64
    patch: int = 1
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        names = ("small", "mlp", "resnet18", "resnet50")
        _require(self.name in names, f"network {self.name!r} is none of {names}.")
        _require(
            len(self.widths) > 0 and min(*self.widths, self.width, self.patch) > 0,
            "widths, width and patch must be positive, got "
            f"{self.widths}, {self.width} and {self.patch}.",
        )
        _require(
            min(self.std) > 0, f"std must be positive, got {self.std}; it divides."
        )
        _require(
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
        _require(self.epochs >= 1, f"epochs must be at least 1, got {self.epochs}.")
        _require(
            self.batch_size >= 1,
            f"batch_size must be at least 1, got {self.batch_size}.",
        )
        _require(
            self.learning_rate > 0,
            f"learning_rate must be positive, got {self.learning_rate}.",
        )
        _require(
            self.schedule in ("steps", "cosine", "triangle"),
            f"schedule must be 'steps', 'cosine' or 'triangle', got {self.schedule!r}.",
        )
        _require(
            all(0 < drop < 1 for drop in self.drops),
            f"drops are fractions of the training in (0, 1), got {self.drops}.",
        )
        _require(0 <= self.warmup < 1, f"warmup must be in [0, 1), got {self.warmup}.")
        _require(self.pad >= 0, f"pad must not be negative, got {self.pad}.")
        _require(
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
        _require(self.steps >= 1, f"steps must be at least 1, got {self.steps}.")
        _require(
            self.step_size > 0, f"step_size must be positive, got {self.step_size}."
        )
        _require(
            self.start in ("image", "noise"),
            f"start must be 'image' or 'noise', got {self.start!r}.",
        )
        _require(self.copies >= 1, f"copies must be at least 1, got {self.copies}.")


@dataclass(frozen=True)
class Mislabelling:
    """How D_rand and D_det are made (paper, section 3.2 and appendix C.5)."""

    attack: PGD  # Towards the new label.
    identity_relu: bool = False  # As in Matching.


@dataclass(frozen=True)
class Evaluation:
    """Robust accuracy at every radius of `epsilons`, by PGD from the image itself."""

    norm: Norm
    epsilons: tuple[float, ...]
    steps: int
    # Steps have length epsilon * crossings / steps: 2.5 as in the authors' library.
    crossings: float = 2.5
    restarts: int = 1  # Runs per image; with more than one all start at random points.
    batch_size: int = 500

    def __post_init__(self):
        for epsilon in self.epsilons:
            _check_epsilon(self.norm, epsilon)
        _require(self.steps >= 1, f"steps must be at least 1, got {self.steps}.")
        _require(
            self.crossings > 0, f"crossings must be positive, got {self.crossings}."
        )
        _require(
            self.restarts >= 1, f"restarts must be at least 1, got {self.restarts}."
        )


@dataclass(frozen=True)
class Students:
    """How a fresh network is trained on each constructed set."""

    D_R: Training
    D_NR: Training
    D_rand: Training
    D_det: Training


@dataclass(frozen=True)
class Ellipses:
    """Two classes that a line separates perfectly, even under attack (appendix D.10).

    Lengths are in [0, 1] pixels; a point is an image of one pixel with two channels.
    The classes fill ellipses around 0.5 + centre and 0.5 - centre.
    """

    centre: tuple[float, float]
    axes: tuple[float, float]  # Half the lengths of the ellipses' axes.
    examples: int  # Of the training set, and of the test set.
    network: Network
    standard: Training
    robust: Training  # Its attack's radius is also that of the evaluation.
    evaluation: Evaluation

    def __post_init__(self):
        reach = [c + a for c, a in zip(self.centre, self.axes, strict=True)]
        _require(
            min(self.axes) > 0 and max(reach) <= 0.5,
            "ellipses need axes above 0 and must lie in [0, 1] around 0.5, "
            f"got centre {self.centre} and axes {self.axes}.",
        )
        _require(
            self.robust.attack is not None and len(self.evaluation.epsilons) == 1,
            "ellipses need an attack in robust, and one radius in evaluation.epsilons.",
        )


@dataclass(frozen=True)
class Theory:
    """The Gaussian model (section 4): x ~ N(y mean, diag(variances)), l2 attacks."""

    name: str
    mean: tuple[float, ...]
    variances: tuple[float, ...]
    panels: tuple[float, ...]  # Radii of robust training that are drawn as figure 4.
    radius: float  # Of the perturbations drawn there.
    ellipses: Ellipses
    samples: int = 5_000  # Of x and y that models are fitted to.
    fit_samples: int = 1_000  # For the comparison of inner maximisers.
    fit_epsilons: tuple[float, ...] = (1.0, 10.0)
    # The PGDs compared: steps, and their length as a part of epsilon.
    pgd: tuple[tuple[int, float], ...] = ((7, 0.2), (20, 0.125), (100, 0.1))
    dimensions: tuple[int, ...] = (2, 10, 30, 100)
    dimension_samples: int = 4_000
    penalty: float = 5.0  # C of Theorem 1, and the eigenvalues of its Σ.
    eigenvalues: tuple[float, ...] = (0.3, 0.7, 2.0, 5.0)
    draws: int = 1_000_000  # Of Theorem 1's Monte Carlo estimate.
    spectrum: tuple[float, ...] = (0.05, 1.0, 20.0)  # Theorem 3's example.
    problems: int = 5_000  # Random ones on which Theorem 3 is tried.
    seed: int = 0

    def __post_init__(self):
        _require(
            len(self.mean) == len(self.variances) == 2,
            "mean and variances must be pairs, for they are drawn, "
            f"got {self.mean} and {self.variances}.",
        )
        _require(
            len(self.spectrum) == 3,
            f"spectrum must be three variances, got {self.spectrum}.",
        )
        variances = (*self.variances, *self.eigenvalues, *self.spectrum)
        _require(min(variances) > 0, f"variances must be positive, got {variances}.")
        _require(
            self.penalty * min(self.eigenvalues) > 1,
            f"penalty must be above 1 / {min(self.eigenvalues)}, the smallest of "
            f"eigenvalues, got {self.penalty}; Theorem 1 has no maximum below.",
        )
        radii = (*self.panels, *self.fit_epsilons, self.radius)
        _require(min(radii) >= 0, f"radii must not be negative, got {radii}.")
        _require(
            all(steps >= 1 and size > 0 for steps, size in self.pgd),
            f"pgd needs at least one step of positive size, got {self.pgd}.",
        )
        _require(
            min(self.samples, self.fit_samples) >= 8,
            "samples and fit_samples must be 8 or more, "
            f"got {self.samples} and {self.fit_samples}.",
        )
        _require(
            2 <= min(self.dimensions) <= max(self.dimensions) < self.dimension_samples,
            f"dimensions must be 2 to {self.dimension_samples - 1}, one less than "
            f"dimension_samples, got {self.dimensions}.",
        )


@dataclass(frozen=True)
class Experiment:
    """The paper's main experiment (sections 3.1 and 3.2)."""

    name: str
    data: str  # "digits", "planted", or the name of a TFDS data set.
    network: Network
    standard: Training
    robust: Training
    matching: Matching
    mislabelling: Mislabelling
    on: Students
    evaluation: Evaluation
    seeds: tuple[int, ...] = (0,)
    data_note: str = ""  # Said in the report, e.g. which copy of the data this is.
    train_examples: int | None = None  # The first so many; None for all.
    test_examples: int | None = None
    data_dir: str | None = None  # TFDS's own folder where it is not given.
    storage: Literal["float32", "float16"] = "float32"  # Of the constructed images.
    synthesis_batch: int = 500
    devices: int | None = None  # The first so many; None for all.

    def __post_init__(self):
        _require(
            len(self.seeds) > 0 and len(set(self.seeds)) == len(self.seeds),
            f"seeds must be one or more different numbers, got {self.seeds}.",
        )
        _require(
            self.synthesis_batch >= 1,
            f"synthesis_batch must be at least 1, got {self.synthesis_batch}.",
        )
        _require(
            self.storage in ("float32", "float16"),
            f"storage must be 'float32' or 'float16', got {self.storage!r}; 8 bits "
            "would lose part of what was constructed.",
        )
