"""Projected gradient ascent, the one loop behind every attack and data set here."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from nrf.attacks.threat import Threat, land, uphill
from nrf.types import Attack, Images, Key, Keys, Loss, check_images, is_traced


def example_keys(key: Key, indices: jax.Array) -> Keys:
    """[B] keys for the examples at `indices` [B] of a data set; `key` is consumed."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)


def pgd(
    loss: Loss,
    threat: Threat,
    *,
    steps: int,
    step_size: float | jax.Array,
    random_start: bool = False,
    restarts: int = 1,
    keep_best: bool = False,
    momentum: float | jax.Array = 0.0,
) -> Attack:
    """Projected gradient ascent on `loss` (https://arxiv.org/abs/1706.06083).

    Every step moves each image by `step_size` along `threat.steepest` of its gradient,
    projects the perturbation onto the threat and clips the image to [0, 1].

    Args:
      loss: One value per example, to be climbed.
      threat: Where the perturbation may go.
      steps: Gradient steps, at least 1.
      step_size: In the threat's norm and [0, 1] pixels.
      random_start: Start at a random allowed perturbation instead of at x.
      restarts: Random starts per example, run as one batch of `restarts * B` images;
        the one with the highest loss is returned. Needs `random_start`.
      keep_best: Return the visited image with the highest loss, instead of the last.
      momentum: Steps follow g ← momentum g + ∇ / ‖∇‖₁ instead of the gradient ∇
        (MI-FGSM, https://arxiv.org/abs/1710.06081); 1 there, and 0 for none.

    Returns:
      attack(keys, params, x, y) -> x_adv: keys [B], used only by random starts; x
      [B, H, W, C] in [0, 1]; y as `loss` wants it, with leading axis B.

    Raises:
      ValueError: a bad option here; bad images when the attack is called.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    check_restarts(random_start, restarts)
    if not is_traced(step_size) and not step_size > 0:
        raise ValueError(f"step_size must be positive, got {step_size}.")
    with_momentum = is_traced(momentum) or momentum != 0
    if not is_traced(momentum) and not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be in [0, 1], got {momentum}.")

    def climb(keys, params, x, y):
        def total(x):
            values = loss(params, x, y)
            chex.assert_shape(values, (len(x),))
            # The sum keeps an example's gradient independent of its batch.
            return jnp.sum(values), values

        gradient = jax.grad(total, has_aux=True)

        def step(carry, _):
            x_adv, best, speed = carry
            slope, values = gradient(x_adv)
            if keep_best:
                best = better(best, x_adv, values)
            if with_momentum:
                size = jnp.sum(jnp.abs(slope), (1, 2, 3), keepdims=True)
                # The floor makes a zero gradient add nothing rather than NaN.
                slope = speed = momentum * speed + slope / jnp.maximum(size, 1e-12)
            d = x_adv - x + step_size * uphill(threat, x_adv, slope)
            return (land(threat, x, d), best, speed), None

        x_adv = jnp.clip(x + threat.sample(keys, x), 0, 1) if random_start else x
        lowest = jnp.full_like(x[:, 0, 0, 0], -jnp.inf)
        carry = x_adv, (x, lowest), jnp.zeros_like(x) if with_momentum else None
        (x_adv, best, _), _ = jax.lax.scan(step, carry, length=steps)
        if not keep_best and restarts == 1:
            return x_adv, lowest
        values = loss(params, x_adv, y)
        return better(best, x_adv, values) if keep_best else (x_adv, values)

    return restarted(climb, random_start=random_start, restarts=restarts)


def better(
    best: tuple[Images, jax.Array], x: Images, values: jax.Array
) -> tuple[Images, jax.Array]:
    """The better of two images for every example, and its value [B]; ties: `best`."""
    improved = values > best[1]
    kept = jnp.where(improved[:, None, None, None], x, best[0])
    return kept, jnp.where(improved, values, best[1])


def two_values(found: Any) -> tuple[jax.Array, jax.Array]:
    """What to climb and what to choose by, of a `Loss` or a `losses.Judged`."""
    return found if isinstance(found, tuple) else (found, found)


def check_restarts(random_start: bool, restarts: int) -> None:
    """Raises ValueError for fewer than one restart, or for several equal ones."""
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}.")
    if restarts > 1 and not random_start:
        raise ValueError(
            f"restarts={restarts} without random_start would repeat one run "
            f"{restarts} times; set random_start=True."
        )


def restarted(
    climb: Callable[..., tuple[Images, jax.Array]], *, random_start: bool, restarts: int
) -> Attack:
    """The attack that runs `climb` `restarts` times, and keeps the highest value.

    `climb(keys, params, x, y) -> (x_adv, values [B])`; all runs are one batch. Restart
    r of an example draws from fold_in(its key, r): asking for more restarts keeps the
    earlier ones.
    """

    def attack(keys, params, x, y):
        check_images(x)
        chex.assert_equal_shape_prefix([keys, x, *jax.tree.leaves(y)], 1)
        if random_start:
            fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
            keys = jnp.concatenate([fold(keys, r) for r in range(restarts)])
        if restarts == 1:
            return jax.lax.stop_gradient(climb(keys, params, x, y)[0])

        def repeat(a):
            return jnp.concatenate([a] * restarts)

        x_adv, values = climb(keys, params, repeat(x), jax.tree.map(repeat, y))
        worst = jnp.argmax(values.reshape(restarts, len(x)), axis=0)
        x_adv = x_adv.reshape(restarts, *x.shape)[worst, jnp.arange(len(x))]
        return jax.lax.stop_gradient(x_adv)

    return attack
