"""The study of transferability: which networks are fooled, and which learn D_det."""

from dataclasses import dataclass
from typing import Literal

from nrf.config.parts import PGD, Mislabelling, Network, Training, require


@dataclass(frozen=True)
class Learner:
    """An architecture of the study, and how it is trained on either set."""

    network: Network
    on_D: Training
    on_D_det: Training


@dataclass(frozen=True)
class Transfer:
    """Section 3.2's last experiment (figures 3 and 13): attacks on one network, the
    source, tried on others, and these others trained on the source's D_det."""

    name: str
    data: str  # "digits" or the name of a TFDS data set.
    source: Network
    source_training: Training
    learners: tuple[Learner, ...]
    attack: PGD  # On test images, away from the label and towards the next class.
    mislabelling: Mislabelling  # Makes D_det.
    # The source is trained on a random half of the training images, which D_det is made
    # of; the others' D is the other half. False: everything is made of all of them.
    halves: bool = True
    seeds: tuple[int, ...] = (0,)
    data_note: str = ""  # Said in the report, e.g. which copy of the data this is.
    train_examples: int | None = None  # The first so many; None for all.
    test_examples: int | None = None
    data_dir: str | None = None  # TFDS's own folder where it is not given.
    storage: Literal["float32", "float16"] = "float32"  # Of the attacked images.
    evaluation_batch: int = 500
    synthesis_batch: int = 500
    devices: int | None = None  # The first so many; None for all.

    def __post_init__(self):
        names = self.names
        require(
            len(names) >= 3 and len(set(names)) == len(names),
            "learners must be three or more different architectures, for a line "
            f"through two points says nothing; got {names}.",
        )
        require(
            len(self.seeds) > 0 and len(set(self.seeds)) == len(self.seeds),
            f"seeds must be one or more different numbers, got {self.seeds}.",
        )
        require(
            min(self.evaluation_batch, self.synthesis_batch) >= 1,
            "evaluation_batch and synthesis_batch must be at least 1, got "
            f"{self.evaluation_batch} and {self.synthesis_batch}.",
        )
        require(
            self.storage in ("float32", "float16"),
            f"storage must be 'float32' or 'float16', got {self.storage!r}; 8 bits "
            "would lose part of the attacks.",
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the learners' architectures."""
        return tuple(learner.network.name for learner in self.learners)
