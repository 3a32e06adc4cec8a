"""Averages of the weights that a training passes through, as a part of its optimizer.

    optimizer = optax.chain(optax.sgd(0.1), averaging(0.99))
    …
    params = averaged(state)

The average is in the optimizer's state, so that it is kept and resumed with it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from nrf.train import State
from nrf.types import Params


class Average(NamedTuple):
    """Of the weights after every update so far: wₜ has the weight decayᵀ⁻ᵗ."""

    total: jax.Array  # Scalar: (1 - decay) times the sum of these.
    mean: Params


def averaging(decay: float) -> optax.GradientTransformation:
    """Keeps an exponential average of the weights; the last of a chain of updates.

    Divided by the sum of its weights it is an average from the first update on, without
    a part of the weights that training began with.
    """

    def init(params):
        return Average(jnp.zeros(()), params)

    def update(updates, state, params=None):
        total = decay * state.total + (1 - decay)
        weights = optax.apply_updates(params, updates)
        share = (1 - decay) / total
        return updates, Average(
            total, optax.incremental_update(weights, state.mean, share)
        )

    return optax.GradientTransformation(init, update)


def averaged(state: State) -> Params:
    """The parameters, with the average of the weights where the optimizer has one.

    Running statistics are those of the last update: they hardly depend on more than
    the last few, as the average does where the learning rate has gone to zero.
    """
    average = optax.tree_utils.tree_get(state.opt_state, Average.__name__)
    return {**state.params, "params": average.mean} if average else state.params
