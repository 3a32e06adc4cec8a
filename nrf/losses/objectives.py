"""Objectives: what the attack of a training climbs, and what the update descends.

    objective = Trades(beta=6.0)(model)
    attack = attacks.pgd(objective.climb, attacks.l2(0.5), …, random_start=True)
    step = train.make_step(model, optimizer, attack=attack, objective=objective)

The ones here are settings: callable frozen dataclasses that make an `Objective` of a
model. One of your own is a function of a model too:

    def smoothed(model):
        def descend(train, params, x, x_adv, y):
            output, params = train(params, x_adv)
            labels = optax.smooth_labels(jax.nn.one_hot(y, 10), 0.1)
            loss = optax.softmax_cross_entropy(output.logits, labels)
            return loss, output, params

        return Objective(losses.cross_entropy(model.apply), descend)
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nrf.losses.per_example import cross_entropy
from nrf.types import Images, Labels, Loss, Model, Output, Params, outputs

# train(params, x) -> output, params with updated statistics: `train` of a `Model`.
Train = Callable[[Params, Images], tuple[Output, Params]]


def labels(params: Params, x: Images, y: Labels) -> Labels:
    """The labels themselves, as the target of an attack."""
    return y


class Objective(NamedTuple):
    """A training's two sides."""

    # climb(params, x_adv, target) -> [B], what the attack climbs.
    climb: Loss
    # descend(train, params, x, x_adv, y) -> losses [B], the output at the images that
    # accuracy is to be measured at, and the parameters that `train` returned last.
    # Without an attack x_adv is x. Gradients are taken through params["params"].
    descend: Callable[
        [Train, Params, Images, Images, Labels], tuple[jax.Array, Output, Params]
    ]
    # target(params, x, y) -> what `climb` gets as its third argument, [B, ...]. It is
    # computed once, at the images x that the attack starts from.
    target: Callable[[Params, Images, Labels], Any] = labels


@dataclass(frozen=True)
class Madry:
    """Cross-entropy at the attacked images (https://arxiv.org/abs/1706.06083).

    Without an attack it is standard training. Labels are smoothed in the descent alone:
    the attack climbs the cross-entropy with the labels themselves.
    """

    # The part of a label's weight that all K classes share evenly
    # (https://arxiv.org/abs/1512.00567).
    smoothing: float = field(default=0.0, metadata={"later": True})

    def __post_init__(self):
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must be in [0, 1), got {self.smoothing}.")

    def __call__(self, model: Model) -> Objective:
        def descend(train, params, x, x_adv, y):
            output, params = train(params, x_adv)
            return _cross_entropy(output, y, self.smoothing), output, params

        return Objective(cross_entropy(model.apply), descend)


@dataclass(frozen=True)
class Trades:
    """Cross-entropy at x, and how far the attack moves the predictions from there.

    ce(x, y) + β KL(p(x) ‖ p(x_adv)), where x_adv makes the divergence large
    (https://arxiv.org/abs/1901.08573). It is flat at x itself: the attack needs a
    random start. Gradients flow through both predictions, as published.

    BatchNorm: the attack uses the running statistics. The update passes x and x_adv
    through the network separately, so each batch is normalised by its own statistics,
    and both enter the running ones, x first.
    """

    # The weight of the divergence; 6 as published for CIFAR-10, 1 for less robustness.
    beta: float = 6.0

    # Read by whoever describes the attack too, to refuse one that would not move.
    needs_random_start: ClassVar[bool] = True

    def __post_init__(self):
        _check_weight("beta", self.beta)

    def __call__(self, model: Model) -> Objective:
        apply = outputs(model.apply)

        def climb(params, x_adv, logits):
            return divergence(logits, apply(params, x_adv).logits)

        def target(params, x, y):
            return apply(params, x).logits

        def descend(train, params, x, x_adv, y):
            clean, params = train(params, x)
            moved, params = train(params, x_adv)
            robust = divergence(clean.logits, moved.logits)
            return _cross_entropy(clean, y) + self.beta * robust, moved, params

        return Objective(climb, descend, target)


@dataclass(frozen=True)
class LogitPairing:
    """Cross-entropy at x and x_adv, and the distance of their logits.

    ½ (ce(x, y) + ce(x_adv, y)) + λ · mean over k of (z_k(x) − z_k(x_adv))²
    (https://arxiv.org/abs/1803.06373). The attack climbs the cross-entropy.

    BatchNorm: as for `Trades`.
    """

    # The weight λ of the squared distance.
    weight: float = 0.5

    def __post_init__(self):
        _check_weight("weight", self.weight)

    def __call__(self, model: Model) -> Objective:
        def descend(train, params, x, x_adv, y):
            clean, params = train(params, x)
            moved, params = train(params, x_adv)
            both = (_cross_entropy(clean, y) + _cross_entropy(moved, y)) / 2
            apart = jnp.mean((clean.logits - moved.logits) ** 2, -1)
            return both + self.weight * apart, moved, params

        return Objective(cross_entropy(model.apply), descend)


def divergence(z: jax.Array, other: jax.Array) -> jax.Array:
    """KL(softmax(z) ‖ softmax(other)) [B], of two arrays of logits [B, K]."""
    log_p, log_q = jax.nn.log_softmax(z), jax.nn.log_softmax(other)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), -1)


def _cross_entropy(output, y, smoothing=0.0):
    value = optax.softmax_cross_entropy_with_integer_labels(output.logits, y)
    if not smoothing:
        return value
    # To all classes alike: the mean over k of -log p_k.
    spread = -jnp.mean(jax.nn.log_softmax(output.logits), -1)
    return (1 - smoothing) * value + smoothing * spread


def _check_weight(name, value):
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
