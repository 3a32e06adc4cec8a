"""The main experiment."""

from dataclasses import dataclass
from typing import Literal

from nrf.config.optional import Appendix, Controls, Suite
from nrf.config.parts import (
    Evaluation,
    Matching,
    Mislabelling,
    Network,
    Norm,
    Training,
    check_epsilon,
    require,
)

SETS = ("D_R", "D_NR", "D_rand", "D_det")  # The constructed data sets, in order.


@dataclass(frozen=True)
class Students:
    """How a fresh network is trained on each constructed set."""

    D_R: Training
    D_NR: Training
    D_rand: Training
    D_det: Training


@dataclass(frozen=True)
class Features:
    """How the features of the standard and the robust network are measured (section 2).

    On so many of the test images, evenly spaced; each unit is attacked by itself.
    `certificate` bounds features for every perturbation, where networks have few layers
    and images few pixels: see `nrf.features.certify`.
    """

    norm: Norm
    epsilon: float
    images: int
    steps: int = 20
    step_size: float = 0.125  # As a part of epsilon.
    useful: float = 0.1  # What rho must be above, with its interval.
    certificate: Literal["linear", "intervals"] | None = None
    chunk: int = 16  # Units, and
    batch_size: int = 64  # images, that are attacked at once.

    def __post_init__(self):
        check_epsilon(self.norm, self.epsilon)
        require(self.images >= 2, f"images must be at least 2, got {self.images}.")
        require(self.steps >= 1, f"steps must be at least 1, got {self.steps}.")
        require(
            self.step_size > 0, f"step_size must be positive, got {self.step_size}."
        )
        require(0 <= self.useful <= 1, f"useful must be in 0 .. 1, got {self.useful}.")
        require(
            min(self.chunk, self.batch_size) >= 1,
            "chunk and batch_size must be at least 1, "
            f"got {self.chunk} and {self.batch_size}.",
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
    features: Features | None = None  # Each of these is measured when given.
    appendix: Appendix | None = None
    controls: Controls | None = None
    suite: Suite | None = None
    seeds: tuple[int, ...] = (0,)
    data_note: str = ""  # Said in the report, e.g. which copy of the data this is.
    train_examples: int | None = None  # The first so many; None for all.
    test_examples: int | None = None
    data_dir: str | None = None  # TFDS's own folder where it is not given.
    storage: Literal["float32", "float16"] = "float32"  # Of the constructed images.
    synthesis_batch: int = 500
    devices: int | None = None  # The first so many; None for all.

    def __post_init__(self):
        require(
            len(self.seeds) > 0 and len(set(self.seeds)) == len(self.seeds),
            f"seeds must be one or more different numbers, got {self.seeds}.",
        )
        require(
            self.synthesis_batch >= 1,
            f"synthesis_batch must be at least 1, got {self.synthesis_batch}.",
        )
        require(
            self.storage in ("float32", "float16"),
            f"storage must be 'float32' or 'float16', got {self.storage!r}; 8 bits "
            "would lose part of what was constructed.",
        )

    @property
    def headline(self) -> tuple[float, ...]:
        """The radius tested that is nearest to half that of adversarial training.

        The paper judges D_R there; () where nothing is tested under attack.
        """
        attack = self.robust.attack
        half = attack.epsilon / 2 if attack else 0
        tested = sorted(self.evaluation.epsilons, key=lambda e: abs(e - half))
        return tuple(tested[:1])
