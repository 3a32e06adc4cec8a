"""The study of transferability: which networks are fooled, and which learn D_det."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from nrf.config.parts import (
    PGD,
    Precision,
    Training,
    Work,
    require,
    require_name,
    require_precision,
    require_seeds,
    require_storage,
)


@dataclass(frozen=True)
class Learner:
    """An architecture of the study, and how it is trained on either set."""

    name: str  # Of its steps and in the report.
    network: Any  # The architecture: a frozen dataclass with build(num_classes).
    on_D: Training  # On the images that are its own.
    on_D_det: Training  # On D_det.


@dataclass(frozen=True)
class Transfer:
    """Section 3.2's last experiment (figures 3 and 13): attacks on one network, the
    source, tried on others, and these others trained on the source's D_det."""

    name: str  # Of the study; said in the report.
    data: str  # "digits", a TFDS data set, or a folder.
    source: Any  # The source's architecture.
    source_training: Training  # How the source is trained.
    learners: tuple[Learner, ...]  # The others.
    attack: PGD  # On test images, away from the label and towards the next class.
    D_det: Callable[..., Any]  # The recipe of D_det.
    # The source is trained on a random half of the training images, which D_det is made
    # of; the others' D is the other half. False: everything is made of all of them.
    halves: bool = True
    seeds: tuple[int, ...] = (0,)  # Everything is repeated for each.
    data_note: str = ""  # Said in the report, e.g. which copy of the data this is.
    train_examples: int | None = None  # The first so many; None for all.
    test_examples: int | None = None  # The first so many; None for all.
    data_dir: str | None = None  # TFDS's own folder where it is not given.
    storage: Literal["float32", "float16"] = "float32"  # Of the attacked images.
    # Of products and convolutions of float32 numbers, as JAX names it. GPUs and TPUs
    # would take less by themselves; on CPUs all are the same. What a network computes
    # in bfloat16 stays so.
    precision: Precision = "float32"
    work: Work = field(default_factory=Work)  # What changes no result.

    def __post_init__(self):
        names = tuple(learner.name for learner in self.learners)
        require(
            len(names) >= 3 and len(set(names)) == len(names),
            "learners must be three or more with different names, for a line through "
            f"two points says nothing; got {names}.",
        )
        taken = ("source", "attacks", "D_det")
        for name in names:
            require_name(name)
            require(
                name not in taken,
                f"{name!r} is the name of another step; a learner needs its own.",
            )
        require_seeds(self.seeds)
        require_storage(self.storage)
        require_precision(self.precision)
