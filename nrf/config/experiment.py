"""The main experiment."""

from dataclasses import dataclass
from typing import Literal

from nrf.config.parts import (
    Evaluation,
    Matching,
    Mislabelling,
    Network,
    Training,
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
