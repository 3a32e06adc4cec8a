"""The 95 % interval of a mean of features that are scaled on the same data.

It is the jackknife's (Efron and Stein, 1981) over examples, a side of y at a time, with
Student's t of Welch's degrees of freedom, and with Hall's (1992) correction of skewness
where that makes it wider. A side on which all images but a few have the same value, as
that of a unit that is off has, tells little about how often they do not: there it is
wider by what one image more, at the far end of the feature, would change.

A normal interval covers 88 to 95 % with 25 images of a class among 250, and 60 % where
a class has units that are mostly off; see tests/coverage_test.py.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import stdtrit

Array = jax.Array | np.ndarray
_FEW = 5  # So many examples must differ for a side to be known.
_CLOSE = 1 - 1e-6  # As near to 1 as single precision lets a correlation be.
_SAME = 1e-5  # Values as close as this, in standard deviations, differ by rounding.


def interval(
    values: Array, least: Array, most: Array, y: Array, sign: Array, *, scale: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[D, K] each: the mean of what is reached of y f, and the ends of its interval.

    Args:
      values: [N, D] of the features.
      least, most: [N, D] of what is reached of them where y f is to be small.
      y: [N, K] of ±1, two of each sign at least.
      sign: [D, K] that the features are multiplied by.
      scale: Whether the interval is made on the scale of arctanh of the mean.
    """
    arrays = map(jnp.asarray, (values, least, most, y, sign))
    value, found = jax.device_get(_jackknife(*arrays, scale=scale))
    below, above = _quantiles(found)
    centre = np.arctanh(np.clip(value, -_CLOSE, _CLOSE)) if scale else value
    low, high = centre - below - found.rare, centre + above + found.rare
    if scale:
        low, high = np.tanh(low), np.tanh(high)
    return value, low.astype(value.dtype), high.astype(value.dtype)


class _Jackknife(NamedTuple):
    """[D, K] each, on the scale of the interval."""

    variance: Array  # Of the estimate.
    third: Array  # Its third central moment.
    welch: Array  # Squared variances of the sides, over their degrees of freedom.
    rare: Array  # What an image of a kind hardly seen might change.


@functools.partial(jax.jit, static_argnames="scale")
def _jackknife(values, least, most, y, sign, *, scale):
    def one_class(args):
        y, sign = args
        sides = [(y * one > 0).astype(values.dtype) for one in (1, -1)]

        def own(side, a):
            return jnp.einsum("n,nd->d", side / jnp.sum(side), a)[None]

        mean = sum(own(side, values) for side in sides) / 2
        centred = values - mean
        std = jnp.sqrt(sum(own(side, centred**2) for side in sides) / 2)
        z, low, high = (a / std for a in (centred, least - mean, most - mean))
        towards = y[:, None] * sign[None]
        reached = jnp.where(towards > 0, low, -high)
        value = sum(own(side, reached) for side in sides) / 2
        at = jnp.clip(value, -_CLOSE, _CLOSE) if scale else value
        slope = 1 / (1 - at**2) if scale else jnp.ones_like(at)
        found = _Jackknife(*(jnp.zeros_like(at[0]) for _ in range(4)))
        reach = (jnp.max(z, 0) - jnp.min(z, 0)) * slope[0] / 2
        for side in sides:
            found = _add(found, side, own, z, reached, at, reach, scale)
        return value[0], found

    # Class by class: [N, D, K] at once would not fit.
    columns = jax.lax.map(one_class, (y.astype(values.dtype).T, sign.T))
    return jax.tree.map(jnp.transpose, columns)


def _add(found, side, own, z, reached, at, reach, scale):
    """The jackknife's sums with those of one side of y."""
    count, inside = jnp.sum(side), side[:, None] > 0

    def change(a):
        # Of the mean of this side, if one of its examples is left out.
        return (own(side, a) - a) / (count - 1)

    # Of the variance, which was 1, and of the standard deviation. Differences are not
    # taken after the fact: in single precision nothing would be left of them.
    variance = change(z**2) / 2 - change(z) ** 2 / 4
    std = jnp.expm1(jnp.log1p(jnp.maximum(variance, -_CLOSE)) / 2)
    moved = (change(reached) / 2 - at * std) / (1 + std)
    if scale:
        apart = moved / (1 - at * (at + moved))
        moved = jnp.arctanh(jnp.clip(apart, -_CLOSE, _CLOSE))
    influence = -(count - 1) * moved
    centred = influence - own(side, influence)
    second, third = (own(side, centred**k)[0] for k in (2, 3))
    squared = second / (count - 1)
    ends = (
        jnp.min(jnp.where(inside, reached, jnp.inf), 0, keepdims=True),
        jnp.max(jnp.where(inside, reached, -jnp.inf), 0, keepdims=True),
    )
    same = [jnp.sum(inside & (jnp.abs(reached - end) <= _SAME), 0) for end in ends]
    few = count - jnp.maximum(*same).astype(z.dtype) < _FEW
    return _Jackknife(
        found.variance + squared,
        found.third + third / count**2,
        found.welch + squared**2 / (count - 1),
        jnp.maximum(found.rare, jnp.where(few, reach / count, 0)),
    )


def _quantiles(of: _Jackknife) -> tuple[np.ndarray, np.ndarray]:
    """How far the interval goes below and above its centre."""
    varies = of.welch > 0  # Beyond rounding.
    variance = np.where(varies, of.variance, 1).astype(float)
    t = stdtrit(variance**2 / np.where(varies, of.welch, 1), 0.975)
    error = np.sqrt(variance)
    skewness = np.where(varies, of.third, 0) / error**3
    # Its limit at zero is t itself.
    skewness = np.where(np.abs(skewness) < 1e-4, 1e-4, skewness)

    def hall(t):
        return 3 * (np.cbrt(1 + skewness * (t - skewness / 6)) - 1) / skewness

    below, above = np.maximum(hall(t), t), np.maximum(-hall(-t), t)
    return np.where(varies, below * error, 0), np.where(varies, above * error, 0)
