"""What is measured beside the main experiment: students, other tables, controls."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nrf.config.parts import (
    Training,
    check_epsilon,
    require,
    require_builder,
    require_counts,
)
from nrf.config.sets import Set


@dataclass(frozen=True)
class Student:
    """A learner of another kind, trained on D and on the sets of the figure."""

    network: Any  # Its architecture: a frozen dataclass with build(num_classes).
    training: Training  # On every one of these sets.

    def __post_init__(self):
        require_builder(self.network)


@dataclass(frozen=True)
class Closeness:
    """How large pushes are beside the distance of classes, and how far matching got.

    On evenly spaced images of D and of the sets made of it.
    """

    images: int = 500  # Whose neighbours in D are looked for.
    matched: int = 100  # Matched once more, from the same starts; 0 for none,
    steps: int = 1000  # in so many steps, which shrink to zero.

    def __post_init__(self):
        require_counts(self, "images", "steps")
        require_counts(self, "matched", least=0)


@dataclass(frozen=True)
class Tables:
    """The other rows of the paper's tables, from the main experiment's networks."""

    # Such as D_rand by the robust network (tables 9 and 10), D_R from noise (table 7).
    sets: tuple[Set, ...] = ()
    # Networks asked for the class after the true one, D_det's label (tables 9, 10).
    relabelled: tuple[str, ...] = ()
    # Pairs of a network and the set it is tested on, beside the test set (table 8).
    elsewhere: tuple[tuple[str, str], ...] = ()
    strength: tuple[int, ...] = ()  # Steps of the attack (figure 8); () for none,
    strength_of: str = "on_D_R"  # on this network.
    # A TFDS data set with the same classes, e.g. "cifar10_1/v6" (appendix D.7).
    second_test: str | None = None

    def __post_init__(self):
        require(
            all(steps >= 1 for steps in self.strength)
            and len(set(self.strength)) == len(self.strength),
            f"strength must be different numbers of steps, got {self.strength}.",
        )

    def check_names(
        self,
        networks: set[str],
        datasets: set[str],
        need: Callable[[set[str], Iterable[str], str], None],
    ) -> None:
        """Calls need(there, names, what for) for the names of networks and sets."""
        need(networks, self.relabelled, "tables ask for the next class")
        need(networks, [network for network, _ in self.elsewhere], "tables test")
        more = {"relabelled"} if self.relabelled else set()
        more |= {"second_test"} if self.second_test else set()
        on = [dataset for _, dataset in self.elsewhere]
        need(datasets | more, on, "tables test networks on")
        if self.strength:
            need(networks, [self.strength_of], "tables ask for the strength on")


@dataclass(frozen=True)
class Leakage:
    """What robust linear features alone know of the true classes (Goh).

    The features are the outputs of a linear classifier, trained adversarially on D.
    """

    linear: Training  # Of this classifier; with an attack.
    epsilon: float  # Where they have to be robustly useful, in the norm of the attack.
    after: tuple[str, ...] = ("D_rand", "D_det")  # The sets whose lesson is measured.

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

    classes: tuple[int, int]  # Their numbers.
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

    networks: Mapping[str, Training] = field(default_factory=dict)  # More, on D.
    sets: tuple[Set, ...] = ()  # Whose networks are tested without attack.
    # Networks that are asked for the labels of sets: (networks, sets).
    asked: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    leakage: Leakage | None = None  # Robust linear features alone.
    plane: Plane | None = None  # Linear features of two classes.


@dataclass(frozen=True)
class AutoAttack:
    """AutoAttack's standard sequence beside PGD, and what it says of PGD's accuracy.

    At the reported radius, of the networks of the figure. The published numbers are
    the defaults.
    """

    images: int  # Test images, evenly spaced.
    steps: int = 100  # Of Auto-PGD and FAB.
    targets: int = 9  # Of the targeted attacks.
    queries: int = 5000  # Of Square.

    def __post_init__(self):
        require_counts(self, "images", "steps", "targets", "queries")
