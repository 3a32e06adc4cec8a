"""Attacks: where a perturbation may go (threat.py), and how it is found.

    loss = losses.cross_entropy(model.apply)
    attack = jax.jit(attacks.pgd(loss, attacks.l2(0.5), steps=7, step_size=0.1))
    x_adv = attack(keys, params, x, y)

Attacks climb `loss(params, x, y)`, one value per example. A targeted attack climbs
`losses.negate(loss)` with the target as y; feature matching climbs
`losses.negate(losses.feature_distance(model.apply))` in `attacks.free()`.

`pgd` is the paper's attack. `apgd`, `fab` and `square` have no step size to be wrong
about, and `standard` is AutoAttack's sequence of them, which `nrf.suite` runs; `eot`
and `transfer` make attacks of others.

Pixels are in [0, 1], and so are `epsilon` and `step_size`: the common linf ball is
8 / 255, not 8.
"""

from nrf.attacks.apgd import apgd
from nrf.attacks.autoattack import Component, standard, targeted, worst_case
from nrf.attacks.eot import eot, transfer
from nrf.attacks.fab import fab, smallest
from nrf.attacks.pgd import example_keys, pgd
from nrf.attacks.square import square
from nrf.attacks.threat import Threat, free, l1, l2, linf

__all__ = [
    "Component",
    "Threat",
    "apgd",
    "eot",
    "example_keys",
    "fab",
    "free",
    "l1",
    "l2",
    "linf",
    "pgd",
    "smallest",
    "square",
    "standard",
    "targeted",
    "transfer",
    "worst_case",
]
