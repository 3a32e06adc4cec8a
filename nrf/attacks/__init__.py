"""Gradient attacks: where a perturbation may go (threat.py), how it walks (pgd.py).

    loss = losses.cross_entropy(model.apply)
    attack = jax.jit(attacks.pgd(loss, attacks.l2(0.5), steps=7, step_size=0.1))
    x_adv = attack(keys, params, x, y)

Attacks climb `loss(params, x, y)`, one value per example. A targeted attack climbs
`losses.negate(loss)` with the target as y; feature matching climbs
`losses.negate(losses.feature_distance(model.apply))` in `attacks.free()`.

Pixels are in [0, 1], and so are `epsilon` and `step_size`: the common linf ball is
8 / 255, not 8.
"""

from nrf.attacks.pgd import example_keys, pgd
from nrf.attacks.threat import Threat, free, l2, linf

__all__ = ["Threat", "example_keys", "free", "l2", "linf", "pgd"]
