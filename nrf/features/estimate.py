"""From values of features to their usefulness, with 95 % intervals."""

import math
from typing import NamedTuple

import jax
import numpy as np

from nrf.features.jackknife import interval
from nrf.types import check_labels

Array = jax.Array | np.ndarray
_LEAST = 3  # Examples of a sign, without which no interval covers.


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
      ValueError: labels are out of range, or fewer than three are of a class.
    """
    check_labels(labels, num_classes)
    if num_classes < 2:
        raise ValueError(f"a label needs two classes or more, got {num_classes}.")
    rare = np.flatnonzero(np.bincount(labels, minlength=num_classes) < _LEAST)
    if len(rare):
        raise ValueError(
            f"there are fewer than {_LEAST} examples of class {_list(rare)}; a "
            "feature's usefulness for a class needs them; take more images."
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


def rho(
    values: Array, y: Array, sign: Array | None = None
) -> tuple[Estimate, np.ndarray]:
    """Usefulness E[y f] of features, and the signs [D, K] that make it positive.

    Where E[y f] is negative, −f is the feature, as in the paper: the estimate is of the
    feature times its sign, and never negative.

    Expectations, and with them the zero mean and unit variance of the features, are
    over the data with both signs of y made equally frequent, as y is in the paper's
    theory. This matters for one class against the rest: over the data as it is, the
    letter of the paper's section 2, a class of share p has a rho of at most
    2 √(p (1 − p)), 0.6 for one of ten, while an attack takes as much from gamma as
    ever: few features of few classes could be robust.

    The interval is that of `gamma`, on the scale of arctanh rho, the inverse hyperbolic
    sine of the classes' distance in standard deviations: there its width depends little
    on rho. It is 95 % for one feature and class, not for all of them at once.

    Args:
      values: [N, D] of the features.
      y: [N, K] of ±1, three of each sign at least.
      sign: [D, K] where they are known beforehand; the estimate may then be negative.

    Raises:
      ValueError: the shapes do not fit, y is not ±1 or has too few of a sign, or
        features are constant or not finite.
    """
    _check(values, y)
    shape = values.shape[1], y.shape[1]
    known = np.ones(shape, np.float32) if sign is None else np.asarray(sign)
    _check_sign(known, shape)
    found = Estimate(*interval(values, values, values, y, known, scale=True))
    if sign is not None:
        return found, known
    known = np.where(found.value < 0, -1, 1).astype(np.float32)
    ends = known * found.low, known * found.high
    return Estimate(known * found.value, np.minimum(*ends), np.maximum(*ends)), known


def gamma(values: Array, extremes: Extremes, y: Array, sign: Array) -> Estimate:
    """Robust usefulness E[inf of y f] of the features times their signs.

    The least of y f in reach of an image is the least of f, or minus the most: two
    searches for each feature serve all classes. Extremes that were reached give an
    upper bound of gamma, extremes that are certain a lower one. Expectations are those
    of `rho`.

    The interval is that of `nrf.features.jackknife`, which knows that mean and variance
    of the feature are estimated from the same data. It covers 94 % or more of what
    tests/coverage_test.py draws.

    Args:
      values: [N, D] of the features.
      extremes: Of the same features and images.
      y: [N, K] of ±1, three of each sign at least.
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
    _check_sign(sign, (values.shape[1], y.shape[1]))
    return Estimate(*interval(values, *extremes, y, sign, scale=False))


def _check(values, y):
    if values.ndim != 2 or y.ndim != 2 or len(values) != len(y):
        raise ValueError(
            "features must be [N, D] and y [N, K], "
            f"got {tuple(values.shape)} and {tuple(y.shape)}."
        )
    known = np.asarray(y)
    if not np.isin(known, (-1, 1)).all():
        raise ValueError(
            f"y must be −1 or +1, got {np.unique(known)[:5]}; "
            "for class labels see one_against_rest."
        )
    fewest = np.minimum((known > 0).sum(0), (known < 0).sum(0))
    rare = np.flatnonzero(fewest < _LEAST)
    if len(rare):
        raise ValueError(
            f"y must have {_LEAST} of each sign at least, and has fewer in column "
            f"{_list(rare)}."
        )
    if not np.isfinite(np.asarray(values)).all():
        raise ValueError("features must be finite, got NaN or infinity.")
    refuse_constant(constant_units(values), values.shape[1])


def _check_sign(sign, shape):
    if sign.shape != shape:
        raise ValueError(f"sign must be [D, K] = {shape}, got {tuple(sign.shape)}.")


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
