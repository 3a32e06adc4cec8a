"""The theory's experiment, and its two ellipses."""

from dataclasses import dataclass, field
from typing import Any

from nrf.config.parts import (
    Evaluation,
    Precision,
    Training,
    Work,
    require,
    require_precision,
    require_seeds,
)


@dataclass(frozen=True)
class Ellipses:
    """Two classes that a line separates perfectly, even under attack (appendix D.10).

    Lengths are in [0, 1] pixels; a point is an image of one pixel with two channels.
    The classes fill ellipses around 0.5 + centre and 0.5 - centre.
    """

    centre: tuple[float, float]  # Of the classes, from the middle of the pixels.
    axes: tuple[float, float]  # Half the lengths of the ellipses' axes.
    examples: int  # Of the training set, and of the test set.
    network: Any  # The architecture: a frozen dataclass with build(num_classes).
    standard: Training  # Of the standard network.
    robust: Training  # Its attack's radius is also that of the evaluation.
    evaluation: Evaluation  # Of both networks.

    def __post_init__(self):
        reach = [c + a for c, a in zip(self.centre, self.axes, strict=True)]
        require(
            min(self.axes) > 0 and max(reach) <= 0.5,
            "ellipses need axes above 0 and must lie in [0, 1] around 0.5, "
            f"got centre {self.centre} and axes {self.axes}.",
        )
        require(
            self.robust.attack is not None and len(self.evaluation.epsilons) == 1,
            "ellipses need an attack in robust, and one radius in evaluation.epsilons.",
        )


@dataclass(frozen=True)
class Theory:
    """The Gaussian model (section 4): x ~ N(y mean, diag(variances)), l2 attacks."""

    name: str  # Of the experiment; said in the report.
    mean: tuple[float, ...]  # Of the class y = 1.
    variances: tuple[float, ...]  # Of both classes.
    panels: tuple[float, ...]  # Radii of robust training that are drawn as figure 4.
    radius: float  # Of the perturbations drawn there.
    ellipses: Ellipses  # Two networks on two ellipses (appendix D.10).
    samples: int = 5_000  # Of x and y that models are fitted to.
    fit_samples: int = 1_000  # For the comparison of inner maximisers.
    fit_epsilons: tuple[float, ...] = (1.0, 10.0)  # Radii of that comparison.
    # The PGDs compared: steps, and their length as a part of epsilon.
    pgd: tuple[tuple[int, float], ...] = ((7, 0.2), (20, 0.125), (100, 0.1))
    dimensions: tuple[int, ...] = (2, 10, 30, 100)  # Relaxed and exact compared.
    dimension_samples: int = 4_000  # Of that comparison.
    penalty: float = 5.0  # C of Theorem 1.
    eigenvalues: tuple[float, ...] = (0.3, 0.7, 2.0, 5.0)  # Of Theorem 1's Σ.
    draws: int = 1_000_000  # Of Theorem 1's Monte Carlo estimate.
    spectrum: tuple[float, ...] = (0.05, 1.0, 20.0)  # Theorem 3's example.
    problems: int = 5_000  # Random ones on which Theorem 3 is tried.
    seed: int = 0  # Of all samples and networks.
    precision: Precision = "float32"  # Of products of float32 numbers on GPUs and TPUs.
    work: Work = field(default_factory=Work)  # What changes no result.

    def __post_init__(self):
        require_seeds((self.seed,))
        require_precision(self.precision)
        require(
            len(self.mean) == len(self.variances) == 2,
            "mean and variances must be pairs, for they are drawn, "
            f"got {self.mean} and {self.variances}.",
        )
        require(len(self.panels) > 0, "panels must have one radius or more, got ().")
        require(
            len(self.spectrum) == 3,
            f"spectrum must be three variances, got {self.spectrum}.",
        )
        variances = (*self.variances, *self.eigenvalues, *self.spectrum)
        require(min(variances) > 0, f"variances must be positive, got {variances}.")
        require(
            self.penalty * min(self.eigenvalues) > 1,
            f"penalty must be above 1 / {min(self.eigenvalues)}, the smallest of "
            f"eigenvalues, got {self.penalty}; Theorem 1 has no maximum below.",
        )
        radii = (*self.panels, *self.fit_epsilons, self.radius)
        require(min(radii) >= 0, f"radii must not be negative, got {radii}.")
        require(
            all(steps >= 1 and size > 0 for steps, size in self.pgd),
            f"pgd needs at least one step of positive size, got {self.pgd}.",
        )
        require(
            min(self.samples, self.fit_samples) >= 8,
            "samples and fit_samples must be 8 or more, "
            f"got {self.samples} and {self.fit_samples}.",
        )
        require(
            2 <= min(self.dimensions) <= max(self.dimensions) < self.dimension_samples,
            f"dimensions must be 2 to {self.dimension_samples - 1}, one less than "
            f"dimension_samples, got {self.dimensions}.",
        )
