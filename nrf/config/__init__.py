"""Every number that an experiment depends on, checked when it is written down.

Frozen dataclasses without JAX: `--help` answers at once, and a variant of an experiment
is `dataclasses.replace(config, ...)`. Files in `configs/` hold one `config` each.
"""

from nrf.config.experiment import SETS, Experiment, Features, Students
from nrf.config.optional import (
    Appendix,
    Bugs,
    Controls,
    Errors,
    Leakage,
    Plane,
    Suite,
)
from nrf.config.parts import (
    PGD,
    Evaluation,
    Matching,
    Mislabelling,
    Network,
    Norm,
    Training,
    evenly,
)
from nrf.config.theory import Ellipses, Theory
from nrf.config.transfer import Learner, Transfer

__all__ = [
    "PGD",
    "SETS",
    "Appendix",
    "Bugs",
    "Controls",
    "Ellipses",
    "Errors",
    "Evaluation",
    "Experiment",
    "Features",
    "Leakage",
    "Learner",
    "Matching",
    "Mislabelling",
    "Network",
    "Norm",
    "Plane",
    "Students",
    "Suite",
    "Theory",
    "Training",
    "Transfer",
    "evenly",
]
