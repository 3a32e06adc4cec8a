"""From values of features to their usefulness, with 95 % intervals."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf.types import check_labels

Array = jax.Array | np.ndarray
_Z = 1.959963984540054  # The 97.5 % point of the standard normal.


class Estimate(NamedTuple):
    """[D, K] each: a mean over the data, and its 95 % interval."""

    value: Array
    low: Array
    high: Array


class Extremes(NamedTuple):
    """[N, D] each: the least and the most of a feature in reach of every image."""

    least: Array
    most: Array


def one_against_rest(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """[N, K] of ±1: +1 in the column of the label; [N, 1] for two classes.

    Two classes are the paper's binary case: one column, +1 for class 1. More, which its
    footnote calls straightforward, are one such problem per class.

    Raises:
      ValueError: labels are out of range, or none are of a class.
    """
    check_labels(labels, num_classes)
    if num_classes < 2:
        raise ValueError(f"a label needs two classes or more, got {num_classes}.")
    absent = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
    if len(absent):
        raise ValueError(
            f"no example is of class {_list(absent)}; a feature's usefulness for a "
            "class needs examples of it."
        )
    y = np.where(labels[:, None] == np.arange(num_classes), 1, -1).astype(np.float32)
    return y[:, 1:] if num_classes == 2 else y


def constant_units(values: Array) -> np.ndarray:
    """Indices of the columns of values [N, D] that do not vary, up to rounding.

    A network's dead ReLU units are such columns: they have no variance to be scaled to.
    """
    known = np.asarray(values)
    rounding = 16 * np.finfo(known.dtype).eps * np.abs(known).max(0)
    return np.flatnonzero(np.ptp(known, axis=0) <= rounding)


def rho(values: Array, y: Array) -> tuple[Estimate, Array]:
    """Usefulness E[y f] of features, and the signs [D, K] that make it positive.

    Where E[y f] is negative, −f is the feature, as in the paper: the estimate is of the
    feature times its sign, and never negative.

    Expectations, and with them the zero mean and unit variance of the features, are
    over the data with both signs of y made equally frequent, as y is in the paper's
    theory. This matters for one class against the rest: over the data as it is, the
    letter of the paper's section 2, a class of share p has a rho of at most
    2 √(p (1 − p)), 0.6 for one of ten, while an attack takes as much from gamma as
    ever: few features of few classes could be robust.

    The interval is the normal one, by the influence function of E[y f]: it knows that
    mean and variance of the feature are estimated from the same data. That matters: at
    rho = 0.9 of Gaussian features the plain standard error of y f is three times too
    large. It is 95 % for one feature and class, not for all of them at once.

    Args:
      values: [N, D] of the features, N at least 2.
      y: [N, K] of ±1.

    Raises:
      ValueError: the shapes do not fit, y is not ±1 or of one sign only, or features
        are constant or not finite.
    """
    _check(values, y)
    signs = np.ones((values.shape[1], y.shape[1]), np.asarray(values).dtype)
    arrays = map(jnp.asarray, (values, values, values, y, signs))
    plain = _estimate(*arrays)
    sign = jnp.where(plain.value < 0, -1, 1).astype(plain.value.dtype)
    half = plain.high - plain.value
    value = sign * plain.value
    return Estimate(value, value - half, value + half), sign


def gamma(values: Array, extremes: Extremes, y: Array, sign: Array) -> Estimate:
    """Robust usefulness E[inf of y f] of the features times their signs.

    The least of y f in reach of an image is the least of f, or minus the most: two
    searches for each feature serve all classes. Extremes that were reached give an
    upper bound of gamma, extremes that are certain a lower one. Expectations and the
    interval are those of `rho`.

    Args:
      values: [N, D] of the features, N at least 2.
      extremes: Of the same features and images.
      y: [N, K] of ±1.
      sign: [D, K], from `rho`.

    Raises:
      ValueError: as `rho`, or extremes that do not fit.
    """
    _check(values, y)
    for a in extremes:
        if a.shape != values.shape:
            raise ValueError(
                f"extremes must be {tuple(values.shape)} like the values, "
                f"got {tuple(a.shape)}."
            )
    if sign.shape != (values.shape[1], y.shape[1]):
        raise ValueError(
            f"sign must be [D, K] = {(values.shape[1], y.shape[1])}, "
            f"got {tuple(sign.shape)}."
        )
    arrays = map(jnp.asarray, (values, *extremes, y, sign))
    return _estimate(*arrays)


@jax.jit
def _estimate(values, least, most, y, sign):
    def one_class(args):
        y, sign = args
        positive = y > 0
        sides = positive, ~positive
        # [N] of how many examples share a side's weight of 1/2.
        share = sum(jnp.where(side, jnp.sum(side), 0) for side in sides)
        share = share.astype(values.dtype)
        weight = 1 / (2 * share)

        def expect(a):
            return jnp.einsum("n,nd->d", weight, a)

        mean = expect(values)
        std = jnp.sqrt(expect((values - mean[None]) ** 2))
        z, low, high = ((a - mean[None]) / std[None] for a in (values, least, most))
        towards = y[:, None] * sign[None]
        reached = jnp.where(towards > 0, low, -high)
        value = expect(reached)
        # The influence of an example: its own term, and what it does to all others
        # through the mean and the standard deviation that they are scaled by.
        influence = reached - value[None] - expect(towards)[None] * z
        influence -= value[None] * (z**2 - 1) / 2
        # Weights that sum to one on a side by themselves keep the sides' own means.
        for side in sides:
            inside = jnp.where(side, 2 * weight, 0)
            own = jnp.einsum("n,nd->d", inside, influence)
            influence -= jnp.where(side[:, None], own[None], 0)
        spread = weight**2 * share / jnp.maximum(share - 1, 1)
        half = _Z * jnp.sqrt(jnp.einsum("n,nd->d", spread, influence**2))
        return Estimate(value, value - half, value + half)

    # Class by class: [N, D, K] at once would not fit.
    columns = jax.lax.map(one_class, (y.astype(values.dtype).T, sign.T))
    return Estimate(*(a.T for a in columns))


def _check(values, y):
    if values.ndim != 2 or y.ndim != 2 or len(values) != len(y) or len(y) < 2:
        raise ValueError(
            "features must be [N, D] and y [N, K] with N at least 2, "
            f"got {tuple(values.shape)} and {tuple(y.shape)}."
        )
    known = np.asarray(y)
    if not np.isin(known, (-1, 1)).all():
        raise ValueError(
            f"y must be −1 or +1, got {np.unique(known)[:5]}; "
            "for class labels see one_against_rest."
        )
    absent = np.flatnonzero(np.abs(known.sum(0)) == len(known))
    if len(absent):
        raise ValueError(f"y has one sign only in column {_list(absent)}.")
    if not np.isfinite(np.asarray(values)).all():
        raise ValueError("features must be finite, got NaN or infinity.")
    refuse_constant(constant_units(values), values.shape[1])


def refuse_constant(constant: np.ndarray, count: int) -> None:
    """Raises ValueError, naming them, if any of `count` features are constant."""
    if len(constant):
        raise ValueError(
            f"feature {_list(constant)} of {count} has zero variance on this data and "
            "cannot be scaled to unit variance; leave such features out "
            "(constant_units finds them)."
        )


def check_epsilon(epsilon: float, norm: str) -> None:
    """Raises ValueError unless `epsilon` is a radius in [0, 1] pixels; 0 is one."""
    if norm not in ("l2", "linf"):
        raise ValueError(f"norm must be 'l2' or 'linf', got {norm!r}.")
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon must be at least 0 and finite, got {epsilon}.")
    if norm == "linf" and epsilon > 1:
        raise ValueError(
            f"linf epsilon must be in [0, 1] pixels, got {epsilon}; for k grey levels "
            "out of 255 write k / 255."
        )


def _list(indices):
    shown = ", ".join(str(i) for i in indices[:8])
    return shown if len(indices) <= 8 else f"{shown}, … ({len(indices)} in all)"
