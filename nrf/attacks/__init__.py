"""Attacks: where a perturbation may go (threat.py), and how it is found.

    loss = losses.cross_entropy(model.apply)
    attack = jax.jit(attacks.pgd(loss, attacks.l2(0.5), steps=7, step_size=0.1))
    x_adv = attack(key, params, x, y)

With one key, random draws depend on an example's place in its batch. Keys for each
example, `attacks.example_keys(key, indices)`, make them independent of batches.

Attacks climb `loss(params, x, y)`, one value per example. A targeted attack climbs
`losses.negate(loss)` with the target as y; feature matching climbs
`losses.negate(losses.feature_distance(model.apply))` in `attacks.free()`.

`pgd` is the paper's attack. `apgd`, `fab` and `square` have no step size to be wrong
about, and `autoattack` is the published sequence of them, which
`nrf.evaluate.sequence` runs; `eot` and `transfer` make attacks of others.

Pixels are in [0, 1], and so are `epsilon` and `step_size`: the common linf ball is
8 / 255, not 8.
"""

from nrf.attacks.apgd import apgd
from nrf.attacks.autoattack import Component, autoattack, targeted, worst_case
from nrf.attacks.eot import eot, transfer
from nrf.attacks.fab import fab, smallest
from nrf.attacks.inputs import example_keys
from nrf.attacks.pgd import pgd
from nrf.attacks.square import square
from nrf.attacks.threat import Threat, free, l1, l2, linf

__all__ = [
    "Component",
    "Threat",
    "apgd",
    "autoattack",
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
    "targeted",
    "transfer",
    "worst_case",
]
