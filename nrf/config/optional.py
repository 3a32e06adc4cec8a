"""What is measured beside the main experiment: other tables, and controls."""

from dataclasses import dataclass

from nrf.config.parts import (
    PGD,
    Matching,
    Training,
    check_epsilon,
    require,
    require_companions,
)


@dataclass(frozen=True)
class Appendix:
    """The other rows of the paper's tables, each from the stages that are there."""

    # D_rand and D_det by the robust network (tables 9 and 10).
    robust_sources: bool = True
    # The network of D_R under attack on D_R, and on a D_R made of the test images
    # (table 8: where its robustness is lost).
    robustified_test: bool = True
    # Steps of the attack on the network of D_R (figure 8); () for none.
    strength: tuple[int, ...] = (20, 40, 80, 160, 320)
    noise_start: Matching | None = None  # D_R and D_NR from noise (table 7).
    # A TFDS data set with the same classes, e.g. "cifar10_1/v6" (appendix D.7).
    second_test: str | None = None

    def __post_init__(self):
        require(
            all(steps >= 1 for steps in self.strength)
            and len(set(self.strength)) == len(self.strength),
            f"strength must be different numbers of steps, got {self.strength}.",
        )
        start = self.noise_start
        require(
            start is None or start.start == "noise",
            "noise_start must start from 'noise', got 'image', which is what "
            "matching does.",
        )


@dataclass(frozen=True)
class Errors:
    """Images as they are, with the wrong labels that a network gives them (Wallace).

    A network is trained too little; what it gets wrong on D is all that another sees.
    """

    labeller: Training
    student: Training


@dataclass(frozen=True)
class Bugs:
    """Attacks that other networks are to withstand (Nakkiran).

    The attack goes to the next class on the source, and keeps the label on so many
    other networks, trained as the source was with other seeds.
    """

    attack: PGD
    others: int
    student: Training

    def __post_init__(self):
        require(self.others >= 1, f"others must be at least 1, got {self.others}.")


@dataclass(frozen=True)
class Leakage:
    """What robust linear features alone know of the true classes (Goh).

    The features are the outputs of a linear classifier, trained adversarially on D.
    """

    linear: Training
    epsilon: float  # Where they have to be robustly useful, in the norm of the attack.

    def __post_init__(self):
        require(
            self.linear.attack is not None,
            "the linear classifier must be trained with an attack; its features are to "
            "be robust.",
        )
        check_epsilon(self.linear.attack.norm, self.epsilon)


@dataclass(frozen=True)
class Plane:
    """All linear features of two classes, by robustness and usefulness (Goh)."""

    classes: tuple[int, int]
    epsilon: float  # In l2.

    def __post_init__(self):
        check_epsilon("l2", self.epsilon)
        require(
            len(set(self.classes)) == 2 and min(self.classes) >= 0,
            f"classes must be two different ones, got {self.classes}.",
        )


@dataclass(frozen=True)
class Controls:
    """What the discussion of the paper asked for, beside D_rand and D_det.

    https://distill.pub/2019/advex-bugs-discussion
    """

    # Random perturbations as long as those of D_rand and D_det, with the same labels.
    noise: bool = True
    errors: Errors | None = None
    bugs: Bugs | None = None
    leakage: Leakage | None = None
    plane: Plane | None = None

    @property
    def trainings(self) -> list[Training]:
        """On sets that are as large as D."""
        return [
            *([self.errors.labeller] if self.errors else []),
            *([self.bugs.student] if self.bugs else []),
            *([self.leakage.linear] if self.leakage else []),
        ]


@dataclass(frozen=True)
class Suite:
    """AutoAttack's standard sequence beside PGD, and what it says of PGD's accuracy.

    At the headline radius, of all six networks. The published numbers are the defaults.
    """

    images: int  # So many of the test images, evenly spaced.
    steps: int = 100
    targets: int = 9
    queries: int = 5000  # Of Square.
    batch_size: int = 100  # Smaller ones waste less when few images withstand.

    def __post_init__(self):
        for name in ("images", "steps", "targets", "queries"):
            value = getattr(self, name)
            require(value >= 1, f"{name} must be at least 1, got {value}.")
        require_companions(self.batch_size)
