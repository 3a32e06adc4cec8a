"""Attacks of the catalogue, as functions of the network, and what they climb."""

import helpers
import jax
import jax.numpy as jnp

from nrf import attacks, losses
from nrf.types import outputs


def setting(params, name):
    """What the case says; beside a planted readout, params are a pair."""
    return (params[0] if isinstance(params, tuple) else params)[name]


# Of logits z [B, K], images and labels.
_cross_entropy = losses.cross_entropy(lambda z, x: z)
LOSSES = {
    "cross_entropy": _cross_entropy,
    "margin": losses.margin(lambda z, x: z),
    "negated": lambda z, x, y: -_cross_entropy(z, x, y),
    "decoy": lambda z, x, y: jnp.sum(x * jnp.sin(7 * x + 1), (1, 2, 3)),
    "other labels": lambda z, x, y: _cross_entropy(z, x, (y + 1) % z.shape[1]),
}


def chosen(apply, name="loss"):
    """The loss that the case's parameters choose."""
    apply = outputs(apply)

    def loss(params, x, y):
        z = apply(params, x).logits
        return jax.lax.switch(setting(params, name), list(LOSSES.values()), z, x, y)

    return loss


def runs(apply, epsilon, steps):
    """By name, the ascent: attack(keys, params, x, y) -> x_adv."""
    loss = chosen(apply)

    def pgd(steps):
        def attack(keys, params, x, y):
            threat = attacks.l2(epsilon * setting(params, "radius"))
            size = epsilon * setting(params, "crossings") / steps
            ascent = attacks.pgd(loss, threat, steps=steps, step_size=size)
            return ascent(keys, params, x, y)

        return attack

    return {
        "from the image": pgd(steps),
        "in a tenth of the steps": pgd(steps // 10),
    }


def endings(apply, epsilon):
    """By name, what is then done: ending(keys, params, x, y, x_adv) -> x_adv."""
    loss = chosen(apply)

    def drawn(keys, params, x, y, x_adv):
        return jnp.clip(x + attacks.l2(epsilon).sample(keys, x), 0, 1)

    def worst(keys, params, x, y, x_adv):
        """The one with the lower loss."""
        random = drawn(keys, params, x, y, x_adv)
        found = x_adv, -loss(params, x_adv, y)
        return helpers.higher(found, random, -loss(params, random, y))[0]

    def half(keys, params, x, y, x_adv):
        d = (x_adv - x).astype(jnp.float16) * jnp.float16(1.01)
        return jnp.clip(x + d.astype(jnp.float32), 0, 1)

    return {
        "as found": lambda keys, params, x, y, x_adv: x_adv,
        "nothing": lambda keys, params, x, y, x_adv: x,
        "at random": drawn,
        "the worst": worst,
        "in linf": lambda keys, params, x, y, x_adv: jnp.clip(
            x + epsilon * jnp.sign(x_adv - x), 0, 1
        ),
        "out of the box": lambda keys, params, x, y, x_adv: (
            x_adv - jnp.where(x == 0, 1e-4, 0)
        ),
        "no number": lambda keys, params, x, y, x_adv: x_adv / jnp.where(x < 0.9, 1, 0),
        "half precision": half,
        # The step that was meant to be added is taken away.
        "mirrored": lambda keys, params, x, y, x_adv: jnp.clip(2 * x - x_adv, 0, 1),
    }


def attack_at(apply, steps):
    """Radius -> the attack that the case's parameters choose."""

    def at(epsilon):
        def attack(keys, params, x, y):
            batch = keys, _seen(params), x, y
            ways = list(runs(apply, epsilon, steps).values())
            x_adv = jax.lax.switch(setting(params, "run"), ways, *batch)
            ends = list(endings(apply, epsilon).values())
            return jax.lax.switch(setting(params, "ending"), ends, *batch, x_adv)

        return attack

    return at


def _seen(params):
    """The parameters with the weights that the attack sees."""
    if isinstance(params, tuple):
        return (_seen(params[0]), *params[1:])
    return {**params, "weights": params["seen"]}
