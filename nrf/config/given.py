"""A network of the experiment that was trained elsewhere."""

from dataclasses import dataclass

from nrf.config.parts import PGD, require


@dataclass(frozen=True)
class Given:
    """A network of another run, or one that `nrf import` read, with its architecture.

    It stands where a training on D would: `networks={"robust": Given("runs/madry")}`.
    Every seed of the experiment has the same.
    """

    run: str  # The folder of the run.
    network: str | None = None  # Its name there; the only one where it is not given.
    seed: int | None = None  # Of that run; its first where it is not given.
    # What it was trained against, for the reports and the radius that they judge at;
    # None for a network that was trained in the standard way.
    attack: PGD | None = None

    def __post_init__(self):
        require(bool(self.run), "run must be the folder of a run, got ''.")
