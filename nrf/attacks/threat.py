"""The perturbations an attacker may use, and the steepest steps among them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nrf.types import Images, Keys, is_traced


class Threat(NamedTuple):
    """A set of perturbations `d` of images, both [B, H, W, C], as three functions.

    The valid pixels [0, 1] are not part of it: `pgd` keeps to them in every threat.
    """

    steepest: Callable[[Images], Images]  # Gradient -> unit step that climbs fastest.
    project: Callable[[Images], Images]  # Perturbation -> the nearest allowed one.
    sample: Callable[[Keys, Images], Images]  # A random allowed one for every image.


def linf(epsilon: float | jax.Array) -> Threat:
    """Every pixel may move by up to `epsilon`, in [0, 1] pixels.

    `epsilon` may be a scalar under `jax.jit`, so that one compiled attack serves many
    radii; its caller has then to check it.

    Raises:
      ValueError: `epsilon` is not in (0, 1].
    """
    if not is_traced(epsilon) and not 0 < epsilon <= 1:
        raise ValueError(
            f"linf epsilon must be in (0, 1], got {epsilon}; for k grey levels out of "
            "255 write k / 255."
        )

    def sample(keys, x):
        def draw(key):
            return jax.random.uniform(key, x.shape[1:], x.dtype, -1, 1)

        return epsilon * jax.vmap(draw)(keys)

    return Threat(
        steepest=jnp.sign,
        project=lambda d: jnp.clip(d, -epsilon, epsilon),
        sample=sample,
    )


def l2(epsilon: float | jax.Array) -> Threat:
    """Each image may move by up to `epsilon` in Euclidean norm, in [0, 1] pixels.

    `epsilon` may be a scalar under `jax.jit`, as for `linf`.

    Raises:
      ValueError: `epsilon` is not positive and finite.
    """
    if not is_traced(epsilon) and not 0 < epsilon < math.inf:
        raise ValueError(f"l2 epsilon must be positive and finite, got {epsilon}.")

    def project(d):
        return d * jnp.minimum(1, epsilon / _norm(d))

    def sample(keys, x):
        def draw(key):
            key_direction, key_radius = jax.random.split(key)
            direction = jax.random.normal(key_direction, x.shape[1:], x.dtype)
            radius = jax.random.uniform(key_radius, (1, 1, 1), x.dtype)
            # Volume grows as radius^size: the root makes the ball uniformly filled.
            return direction, radius ** (1 / direction.size)

        direction, radius = jax.vmap(draw)(keys)
        return epsilon * radius * _unit(direction)

    return Threat(_unit, project, sample)


def free() -> Threat:
    """Any valid image may be reached; steps are normalised as for `l2`."""
    return Threat(_unit, lambda d: d, lambda keys, x: jnp.zeros_like(x))


def _norm(d):
    # The floor makes a zero gradient a zero step rather than NaN.
    return jnp.maximum(jnp.sqrt(jnp.sum(d**2, (1, 2, 3), keepdims=True)), 1e-12)


def _unit(d):
    return d / _norm(d)
