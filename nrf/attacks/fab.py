"""FAB: the smallest perturbation that is wrong, without a step size or a radius.

    loss = losses.targeted_margin(model.apply)
    find = jax.jit(attacks.smallest(loss, attacks.l2(0.5), steps=100))
    x_adv, distance = find(params, x, (targets, y))

https://arxiv.org/abs/1907.02044, in the targeted form of
https://arxiv.org/abs/2003.01690: the boundary is that of one difference of logits.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nrf.attacks.inputs import (
    batch_images,
    check_count,
    flat,
    make_gradient,
    two_values,
)
from nrf.attacks.threat import Threat, bracket, length
from nrf.losses import Judged
from nrf.types import Attack, Images, Loss, Params

_OVERSHOOT = 1.05  # η: steps go this much further than to the linear boundary.
_BACK = 0.9  # β: wrong images are moved towards x, to this share of their distance.
# Of Newton's method, each of which takes what is missing times the rate at which it is
# filled to a quarter at most: in the end to 2e-10 of it. A loop until nothing is
# missing would have all devices ask each other in every pass.
_PASSES = 16
_BIAS = 0.1  # α_max: how much a step may start from x, rather than from where it is.

# find(params, x, y) -> x_adv [B, H, W, C] and distances [B]
Find = Callable[[Params, Images, Any], tuple[Images, jax.Array]]


def smallest(
    loss: Loss | Judged,
    threat: Threat,
    *,
    steps: int,
    halvings: int = 10,
) -> Find:
    """Finds near images where `loss` is above 0, and how near they are.

    At every step `loss` is replaced by its tangent, and the image is moved to the
    nearest valid image where the tangent is 0, and a little further. One gradient a
    step: an image found wrong is moved back along the way to x before its step, and
    the tangent is still that of where it was found, which is nearer to the boundary.
    (Published is a second evaluation, at the image that was moved back.)

    Args:
      loss: Climbed from below 0 to above it: `losses.targeted_margin(apply)` for
        one target, `losses.margin(apply)` for whichever class is nearest in logits. It
        may be two values, of `losses.judged`: images are then found where the second is
        above 0.
      threat: Its norm is what is made small; its radius has no part in it.
      steps: At least 1; `loss` and its gradient are computed steps + 1 times.
      halvings: Of the way between x and the image found, in the final search: the
        distance exceeds that of the boundary on this way by up to 2^−halvings of it.

    Returns:
      find(params, x, y) -> (x_adv, distance): where x is wrong, x and 0; where nothing
      was found, x and infinity. No random numbers are used.

    Raises:
      ValueError: a bad option here; a bad batch when it is called.
    """
    check_count("steps", steps)
    check_count("halvings", halvings, least=0)
    if threat.norm is None:
        raise ValueError("a smallest perturbation needs a norm: use linf, l2 or l1.")

    def find(params, x, y):
        x = batch_images(x, y)
        shape, x = x.shape, flat(x)
        gradient = make_gradient(loss, params, y, shape)
        step = functools.partial(_step, gradient, threat, x)
        infinite = jnp.full_like(x[:, 0, 0, 0], jnp.inf)
        (_, kept, distance), _ = jax.lax.scan(step, (x, x, infinite), length=steps + 1)
        x, kept = x.reshape(shape), kept.reshape(shape)
        kept = _search(loss, params, x, y, kept, halvings)
        near = length(threat, kept - x)
        return kept, jnp.where(jnp.isfinite(distance), near, jnp.inf)

    return find


def fab(
    loss: Loss | Judged,
    threat: Threat,
    *,
    steps: int,
    halvings: int = 10,
) -> Attack:
    """`smallest` as an attack: what it finds within the ball, and x where it does not.

    Options and errors are those of `smallest`; keys are not used.
    """
    find = smallest(loss, threat, steps=steps, halvings=halvings)

    def attack(keys, params, x, y):
        x_adv, distance = find(params, x, y)
        x = batch_images(x, y)
        return jax.lax.stop_gradient(
            jnp.where(_images(distance <= threat.epsilon), x_adv, x)
        )

    return attack


def _step(gradient, threat, x, carry, _):
    x_adv, kept, distance = carry
    slope, (value, judged) = gradient(x_adv)
    wrong = judged > 0
    nearer = wrong & (length(threat, x_adv - x) < distance)
    kept = jnp.where(_images(nearer), x_adv, kept)
    distance = jnp.where(nearer, length(threat, x_adv - x), distance)
    here = jnp.where(_images(wrong), x + _BACK * (x_adv - x), x_adv)

    # Both at once, from `here` and from x, to the tangent at x_adv.
    def to_tangent(start):
        tangent = value + jnp.sum(slope * (start - x_adv), (1, 2, 3))
        return _OVERSHOOT * cross(threat.norm, start, slope, -tangent)

    # Along a new axis: along that of the batch, images would change their devices.
    d_here, d_x = jax.vmap(to_tangent)(jnp.stack([here, x]))
    near, far = length(threat, d_here), length(threat, d_x)
    bias = _images(jnp.minimum(near / jnp.maximum(near + far, 1e-12), _BIAS))
    to = (1 - bias) * (here + d_here) + bias * (x + d_x)
    return (jnp.clip(to, 0, 1), kept, distance), None


def cross(norm: str, x: Images, slope: Images, change: jax.Array) -> Images:
    """The smallest d in `norm` with ⟨slope, d⟩ = change [B] and x + d in [0, 1].

    Where the pixels end before, the d that comes nearest.
    """
    slope = slope * _images(jnp.sign(change))
    weight = jnp.abs(slope)
    # In units of the largest slope, so that its size cannot over- or underflow.
    unit = jnp.max(weight, (1, 2, 3), keepdims=True)
    unit = jnp.where(unit > 0, unit, 1)
    weight, need = weight / unit, _images(jnp.abs(change)) / unit
    room = jnp.where(slope > 0, 1 - x, x)
    # Where all pixels together are not enough, there is no equation to be solved.
    enough = _sum(weight * room) > need
    need = jnp.where(enough, need, 0)
    if norm == "l1":
        d = _fill_steepest(weight, room, need)
    else:
        # In l2 a pixel moves by its weight, in linf all move alike.
        pace = weight if norm == "l2" else jnp.sign(weight)
        d = _fill_evenly(weight, room, pace, need)
    return jnp.sign(slope) * jnp.where(enough, d, room)


def _fill_evenly(weight, room, pace, need):
    """min(room, t pace), with the t for which the sum of weight times it is `need`.

    Newton's method from t = 0: the sum is concave in t, so that t only grows, and t is
    exact when no further pixel reaches its end. That takes a few passes; sorting the
    pixels takes longer than a network on CPUs.
    """

    def improve(_, t):
        full = room <= t * pace
        missing = need - _sum(jnp.where(full, weight * room, 0))
        rate = _sum(jnp.where(full, 0, weight * pace))
        # Never smaller, or rounding could make it go around in circles.
        return jnp.maximum(t, missing / jnp.maximum(rate, _tiny(rate)))

    t = jax.lax.fori_loop(0, _PASSES, improve, jnp.zeros_like(need))
    return jnp.minimum(room, t * pace)


def _fill_steepest(weight, room, need):
    """Pixels to their ends, largest weights first, until the weighted sum is `need`.

    The weight of the last pixel is bracketed to the last bit; the pixels within the
    bracket (equal ones, up to rounding) share what is left.
    """

    def enough(above):
        return _sum(jnp.where(weight > above, weight * room, 0)) >= need

    top = jnp.max(weight, (1, 2, 3), keepdims=True)
    low, high = bracket(enough, jnp.zeros_like(top), top)
    last = (weight > low) & (weight <= high)
    left = need - _sum(jnp.where(weight > high, weight * room, 0))
    held = _sum(jnp.where(last, weight * room, 0))
    share = jnp.clip(left / jnp.maximum(held, _tiny(held)), 0, 1)
    return jnp.where(weight > high, room, jnp.where(last, share * room, 0))


def _search(loss, params, x, y, x_adv, halvings):
    """The nearest to x of the wrong images between it and x_adv, by bisection."""

    def halve(_, state):
        low, high, kept = state
        middle = (low + high) / 2
        here = jnp.clip(x + middle * (x_adv - x), 0, 1)
        wrong = _images(two_values(loss(params, here, y), x)[1] > 0)
        low, high = jnp.where(wrong, low, middle), jnp.where(wrong, middle, high)
        return low, high, jnp.where(wrong, here, kept)

    one = jnp.ones_like(x[:, :1, :1, :1])
    return jax.lax.fori_loop(0, halvings, halve, (0 * one, one, x_adv))[2]


def _images(values):
    """[B] beside images: [B, 1, 1, 1]."""
    return values[:, None, None, None]


def _sum(a):
    return jnp.sum(a, (1, 2, 3), keepdims=True)


def _tiny(a):
    return jnp.finfo(a.dtype).tiny
