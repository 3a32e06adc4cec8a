"""Projected gradient ascent, the one loop behind every attack and data set here."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf.attacks.inputs import (
    batch_images,
    batch_keys,
    check_count,
    check_positive,
    judging,
    make_gradient,
    two_values,
)
from nrf.attacks.threat import Threat, land, scaled, uphill
from nrf.losses import Judged
from nrf.types import Attack, Images, Loss, is_traced


def pgd(
    loss: Loss | Judged,
    threat: Threat,
    *,
    steps: int,
    step_size: float | jax.Array,
    random_start: bool = False,
    restarts: int = 1,
    keep_best: bool = False,
    momentum: float | jax.Array = 0.0,
    decay: bool = False,
) -> Attack:
    """Projected gradient ascent on `loss` (https://arxiv.org/abs/1706.06083).

    Every step moves each image by `step_size` along `threat.steepest` of its gradient,
    projects the perturbation onto the threat and clips the image to [0, 1].

    Args:
      loss: One value per example, to climb. A loss of logits, and `losses.judged`,
        says what fools, too: that is best, and then what has the highest loss.
      threat: Where the perturbation may go.
      steps: At least 1. May be traced, without `decay`: one program for any number.
      step_size: In the threat's norm and [0, 1] pixels.
      random_start: Start at a random allowed perturbation, not at x.
      restarts: Random starts per example, run as one batch of `restarts * B` images;
        the best is returned. Needs `random_start`.
      keep_best: Return the best image visited, instead of the last.
      momentum: Steps follow g ← momentum g + ∇ / ‖∇‖₁, not the gradient ∇ (MI-FGSM,
        https://arxiv.org/abs/1710.06081); 1 there, and 0 for none.
      decay: Steps shrink linearly, to nothing after the last: step t of T, from 0 on,
        has `step_size` (1 − t / T). Equal steps end up to that far from their goal.

    Returns:
      attack(keys, params, x, y) -> x_adv, like x [B, H, W, C] in [0, 1], in float32 or
      more: [B] keys for random starts, or one key; y as `loss` wants it, with leading
      axis B.

    Raises:
      ValueError: a bad option here; a bad batch when the attack is called.
    """
    with_momentum = _check_steps(steps, step_size, momentum, decay)
    check_restarts(random_start, restarts)
    loss = judging(loss)

    def climb(keys, params, x, y):
        gradient = make_gradient(loss, params, y)

        def step(carry, share):
            x_adv, best, speed = carry
            slope, values = gradient(x_adv)
            best = better(best, rank(x_adv, values)) if keep_best else best
            if with_momentum:
                slope = speed = momentum * speed + _unit_sum(slope)
            size = step_size * share if decay else step_size
            d = x_adv - x + size * uphill(threat, x_adv, slope)
            return (land(threat, x, d), best, speed), None

        x_adv = jnp.clip(x + threat.sample(keys, x), 0, 1) if random_start else x
        carry = x_adv, unranked(x), jnp.zeros_like(x) if with_momentum else None
        shares = (1 - np.arange(steps) / steps).astype(x.dtype) if decay else None
        if is_traced(steps):
            carry = jax.lax.fori_loop(0, steps, lambda _, c: step(c, None)[0], carry)
        else:
            carry, _ = jax.lax.scan(step, carry, shares, steps)
        x_adv, best, _ = carry
        if not keep_best and restarts == 1:
            return unranked(x_adv)
        last = rank(x_adv, two_values(loss(params, x_adv, y), x))
        return better(best, last)

    return restarted(climb, random_start=random_start, restarts=restarts)


class Ranked(NamedTuple):
    """Images, and what they are chosen by."""

    x: Images
    fools: jax.Array  # [B] bool
    value: jax.Array  # [B]


def rank(x: Images, values: tuple[jax.Array, jax.Array]) -> Ranked:
    """Images with a loss's two values there."""
    value, judged = values
    return Ranked(x, judged > 0, value)


def unranked(x: Images) -> Ranked:
    """Images that any other is better than, but one of NaN, which exceeds nothing."""
    lowest = jnp.full_like(x[:, 0, 0, 0], -jnp.inf)
    return Ranked(x, lowest > 0, lowest)


def better(best: Ranked, other: Ranked) -> Ranked:
    """For every example what fools, or else has the higher value; ties: `best`."""
    first = other.fools & ~best.fools
    equal = other.fools == best.fools
    return choose(first | equal & (other.value > best.value), other, best)


def choose(chosen: jax.Array, a: Any, b: Any) -> Any:
    """a for the chosen [B] examples, else b; of trees."""

    def one(p, q):
        return jnp.where(chosen.reshape(-1, *[1] * (p.ndim - 1)), p, q)

    return jax.tree.map(one, a, b)


def check_restarts(random_start: bool, restarts: int) -> None:
    """Raises ValueError for fewer than one restart, or for several equal ones."""
    check_count("restarts", restarts)
    if restarts > 1 and not random_start:
        raise ValueError(
            f"restarts={restarts} without random_start would repeat one run "
            f"{restarts} times; set random_start=True."
        )


def restarted(
    climb: Callable[..., Ranked], *, random_start: bool, restarts: int
) -> Attack:
    """The attack that runs `climb` `restarts` times, and keeps the best.

    `climb(keys, params, x, y) -> Ranked`; all runs are one batch, those of an example
    side by side, so that they stay on its device. Restart r of an example draws from
    fold_in(its key, r): asking for more restarts keeps the earlier ones.
    """

    def attack(keys, params, x, y):
        x = batch_images(x, y)
        keys = batch_keys(keys, x)
        if random_start:
            fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
            keys = jax.vmap(fold, in_axes=(0, None))(keys, jnp.arange(restarts))
            keys = keys.reshape(-1)
        if restarts == 1:
            return jax.lax.stop_gradient(climb(keys, params, x, y).x)

        def repeat(a):
            return jnp.repeat(a, restarts, 0)

        def run(number):
            return jax.tree.map(
                lambda a: a.reshape(len(x), restarts, *a.shape[1:])[:, number], runs
            )

        runs = climb(keys, params, repeat(x), jax.tree.map(repeat, y))
        return jax.lax.stop_gradient(
            functools.reduce(better, map(run, range(restarts))).x
        )

    return attack


def _check_steps(steps, step_size, momentum, decay):
    """Whether there is momentum; ValueError if an option is bad."""
    if not is_traced(steps):
        check_count("steps", steps)
    elif decay:
        raise ValueError(
            "decay needs steps that are known, to shrink by; got traced ones."
        )
    check_positive("step_size", step_size)
    if not is_traced(momentum) and not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be in [0, 1], got {momentum}.")
    return is_traced(momentum) or momentum != 0


def _unit_sum(slope):
    """∇ / ‖∇‖₁; of a zero gradient, zero."""
    slope = scaled(slope)
    return slope / jnp.maximum(jnp.sum(jnp.abs(slope), (1, 2, 3), keepdims=True), 1)
