"""Attacks on what is random, and attacks crafted on another network.

loss(keys, params, x, y)  # A stochastic loss: [B] keys, one per example.
attack = attacks.eot(
    loss, lambda loss: attacks.apgd(loss, attacks.l2(0.5), steps=100), samples=32
)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nrf.attacks.inputs import batch_keys, check_count, fold_each
from nrf.types import Attack, Images, Keys, Loss, Params

# loss(keys, params, x, y) -> [B], random by its keys [B].
StochasticLoss = Callable[[Keys, Params, Images, Any], jax.Array]


def eot(
    loss: StochasticLoss, attack_on: Callable[[Loss], Attack], *, samples: int
) -> Attack:
    """Expectation over transformation: climbs the mean of `loss` over several draws.

    As in https://arxiv.org/abs/1707.07397, but with the same draws at every step, so
    that what is climbed is one function: attacks that compare values, as APGD does,
    compare like with like. The mean over few draws can be climbed without the
    expectation; more `samples` prevent that.

    Args:
      loss: One value per example, random by its keys.
      attack_on: Makes the attack from the loss it climbs.
      samples: Draws for each example, at least 1; each costs one gradient a step.

    Raises:
      ValueError: there are no samples.
    """
    check_count("samples", samples)

    def on_expectation(keys, params, x, y):
        keys = batch_keys(keys, x)
        keys, own = jnp.unstack(jax.vmap(jax.random.split)(keys), axis=1)

        def mean(params, x, y):
            data, labels = y
            drawn = jax.random.wrap_key_data(data, impl=jax.random.key_impl(keys))

            def one(sample):
                return loss(fold_each(drawn, sample), params, x, labels)

            # One after the other, so that a sample costs time and not memory.
            return jnp.mean(jax.lax.map(one, jnp.arange(samples)), 0)

        # As numbers, since restarts repeat them: all are to climb the same mean.
        return attack_on(mean)(keys, params, x, (jax.random.key_data(own), y))

    return on_expectation


def transfer(attack: Attack) -> Attack:
    """The attack crafted on another network, whose params it never sees otherwise.

    Params are {"source", "target"}; the source's are attacked. With
    `lambda params, x: apply(params["target"], x)` as apply, what fools the target.
    """

    def crafted(keys, params, x, y):
        return attack(keys, params["source"], x, y)

    return crafted
