"""Every number that an experiment depends on, checked when it is written down.

Frozen dataclasses without JAX; a variant of an experiment is
`dataclasses.replace(config, ...)`. Files in `configs/` hold one `config` each.
Architectures are in `nrf.models`, objectives of trainings in `nrf.losses`, recipes of
sets in `nrf.experiments.recipes`.
"""

from nrf.config.experiment import Experiment, Features
from nrf.config.given import Given
from nrf.config.optional import (
    AutoAttack,
    Closeness,
    Controls,
    Leakage,
    Plane,
    Student,
    Tables,
)
from nrf.config.parts import PGD, Evaluation, Norm, Training, Work, evenly_spaced
from nrf.config.sets import Set
from nrf.config.theory import Ellipses, Theory
from nrf.config.transfer import Learner, Transfer
from nrf.config.verify import Verify

__all__ = [
    "PGD",
    "AutoAttack",
    "Closeness",
    "Controls",
    "Ellipses",
    "Evaluation",
    "Experiment",
    "Features",
    "Given",
    "Leakage",
    "Learner",
    "Norm",
    "Plane",
    "Set",
    "Student",
    "Tables",
    "Theory",
    "Training",
    "Transfer",
    "Verify",
    "Work",
    "evenly_spaced",
]
