"""Projected gradient ascent, the one loop behind every attack and data set here."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nrf.attacks.inputs import (
    batch_keys,
    check_batch,
    check_count,
    check_positive,
    make_gradient,
    two_values,
)
from nrf.attacks.threat import Threat, land, uphill
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
) -> Attack:
    """Projected gradient ascent on `loss` (https://arxiv.org/abs/1706.06083).

    Every step moves each image by `step_size` along `threat.steepest` of its gradient,
    projects the perturbation onto the threat and clips the image to [0, 1].

    Args:
      loss: One value per example, to climb; `losses.judged`: and another to choose by.
      threat: Where the perturbation may go.
      steps: At least 1.
      step_size: In the threat's norm and [0, 1] pixels.
      random_start: Start at a random allowed perturbation, not at x.
      restarts: Random starts per example, run as one batch of `restarts * B` images;
        the one with the highest loss is returned. Needs `random_start`.
      keep_best: Return the visited image with the highest loss, instead of the last.
      momentum: Steps follow g ← momentum g + ∇ / ‖∇‖₁, not the gradient ∇ (MI-FGSM,
        https://arxiv.org/abs/1710.06081); 1 there, and 0 for none.

    Returns:
      attack(keys, params, x, y) -> x_adv, like x [B, H, W, C] in [0, 1]: [B] keys for
      random starts, or one key; y as `loss` wants it, with leading axis B.

    Raises:
      ValueError: a bad option here; a bad batch when the attack is called.
    """
    with_momentum = _check_steps(steps, step_size, momentum)
    check_restarts(random_start, restarts)

    def climb(keys, params, x, y):
        gradient = make_gradient(loss, params, y)

        def step(carry, _):
            x_adv, best, speed = carry
            slope, (_, judged) = gradient(x_adv)
            best = better(best, x_adv, judged) if keep_best else best
            if with_momentum:
                slope = speed = momentum * speed + _unit_sum(slope)
            d = x_adv - x + step_size * uphill(threat, x_adv, slope)
            return (land(threat, x, d), best, speed), None

        x_adv = jnp.clip(x + threat.sample(keys, x), 0, 1) if random_start else x
        lowest = jnp.full_like(x[:, 0, 0, 0], -jnp.inf)
        carry = x_adv, (x, lowest), jnp.zeros_like(x) if with_momentum else None
        (x_adv, best, _), _ = jax.lax.scan(step, carry, length=steps)
        if not keep_best and restarts == 1:
            return x_adv, lowest
        last = x_adv, two_values(loss(params, x_adv, y))[1]
        return better(best, *last) if keep_best else last

    return restarted(climb, random_start=random_start, restarts=restarts)


def better(
    best: tuple[Images, jax.Array], x: Images, values: jax.Array
) -> tuple[Images, jax.Array]:
    """The better of two images for every example, and its value [B]; ties: `best`."""
    improved = values > best[1]
    kept = jnp.where(improved[:, None, None, None], x, best[0])
    return kept, jnp.where(improved, values, best[1])


def check_restarts(random_start: bool, restarts: int) -> None:
    """Raises ValueError for fewer than one restart, or for several equal ones."""
    check_count("restarts", restarts)
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
        check_batch(x, y)
        keys = batch_keys(keys, x)
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


def _check_steps(steps, step_size, momentum):
    """Whether there is momentum; ValueError if an option is bad."""
    check_count("steps", steps)
    check_positive("step_size", step_size)
    if not is_traced(momentum) and not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be in [0, 1], got {momentum}.")
    return is_traced(momentum) or momentum != 0


def _unit_sum(slope):
    """∇ / ‖∇‖₁."""
    size = jnp.sum(jnp.abs(slope), (1, 2, 3), keepdims=True)
    # The floor makes a zero gradient add nothing rather than NaN.
    return slope / jnp.maximum(size, 1e-12)
