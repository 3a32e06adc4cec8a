"""Robust feature leakage: how much of what D_rand teaches is taught by robust features.

    sets = {"D_rand": D_rand, "D_det": D_det}
    leaked = features.leakage(key, a, D, sets, test, norm="l2", epsilon=0.25)
    leaked["D_rand"]  # {"correct", "total", "shuffled"} on test images, or None

The labels of D_rand are the targets of small attacks. If robust features, too, go along
with these labels a little, a network trained on D_rand may owe its accuracy to them.
Goh's response (https://distill.pub/2019/advex-bugs-discussion/response-2/) takes the K
logits of a robust linear classifier for features, keeps those that are robustly useful,
which is exactly known of linear features, and trains a linear classifier on them alone.
It is right for 23.5 % of CIFAR-10's test images after D_rand, and for 6.8 % after
D_det, whose labels robust features contradict. This is what leaks at least: other
robust features may leak more.

A binomial interval does not tell what can happen by chance. A classifier that is
trained on meaningless labels still sends most images of a class to one label, which by
chance may be the right one; on digits its accuracy has a standard deviation of 5 points
around 10 %, and more training images do not reduce it. So the classifier is also
trained on the same labels in random order, 39 times: if labels mean nothing, its
accuracy is outside of the range of these one time in 20.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from nrf.config import Norm
from nrf.features.estimate import Array, constant_units, gamma, one_against_rest, rho
from nrf.features.extremes import linear, linear_extremes
from nrf.features.measure import VERDICTS, judge
from nrf.types import Dataset, Key, check_images, check_labels


def robustly_useful(
    a: np.ndarray,
    dataset: Dataset,
    *,
    norm: Norm,
    epsilon: float,
    useful: float = 0.1,
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the features a [F, H·W·C] are robustly useful for any class: [F] bool.

    And [F], the largest gamma of each over the classes, NaN where the feature does not
    vary. Exactly so, as `linear_extremes` are; at 95 % per feature and class.

    Raises:
      ValueError: bad images, labels, norm or epsilon; a class without examples.
    """
    y = one_against_rest(dataset.labels, dataset.num_classes)
    values = linear(a, dataset.images)
    varying = np.setdiff1d(np.arange(len(a)), constant_units(values))
    robust, best = np.zeros(len(a), bool), np.full(len(a), np.nan)
    if len(varying):
        a, values = a[varying], values[:, varying]
        extremes = linear_extremes(a, dataset.images, epsilon, norm)
        usefulness, sign = rho(values, y)
        exact = gamma(values, extremes, y, sign)
        verdict = judge(usefulness, exact, exact, useful=useful)
        robust[varying] = (verdict == VERDICTS.index("robustly useful")).any(1)
        best[varying] = np.max(exact.value, 1)
    return robust, best


def leakage(
    key: Key,
    a: np.ndarray,
    dataset: Dataset,
    sets: Mapping[str, Dataset],
    test: Dataset,
    *,
    norm: Norm,
    epsilon: float,
    useful: float = 0.1,
    shuffles: int = 39,
) -> dict[str, Any]:
    """What each of the sets teaches of true labels by robust linear features alone.

    The classifier is scikit-learn's logistic regression, on the kept features at zero
    mean and unit variance, with its slight ℓ2 penalty (C = 1): without one, labels that
    a line separates have no best fit.

    Args:
      key: Of the random orders.
      a: [F, H·W·C] of features aᵀx of pixels. The weights of a robust linear
        classifier, for Goh's; those of a network that normalises its input, over the
        normalisation's standard deviations.
      dataset: Images with true labels, by which features are kept.
      sets: To learn from, by name: images like these with labels of their own.
      test: Images with true labels, of the same classes.
      norm, epsilon: The radius at which features have to be robust.
      useful: As in `nrf.features.judge`.
      shuffles: How many random orders of the labels are learned from.

    Returns:
      What JSON can hold: norm, epsilon, features (how many vary), robust (how many are
      kept), gammas (of those that vary, the largest over the classes) and for every
      name of `sets` {"correct", "total", "shuffled": [correct after each order]} of the
      test images; None if no feature is robustly useful, so that nothing can leak.

    Raises:
      ValueError: bad images, labels, norm or epsilon; features that do not fit the
        images; a class of `dataset` without examples; a set of one label only.
    """
    a = np.asarray(a)
    _check(a, dataset, sets, test)
    robust, best = robustly_useful(
        a, dataset, norm=norm, epsilon=epsilon, useful=useful
    )
    summary = {
        "norm": norm,
        "epsilon": epsilon,
        "features": int(np.isfinite(best).sum()),
        "robust": int(robust.sum()),
        "gammas": best[np.isfinite(best)].tolist(),
    }
    if not robust.any():
        return summary | dict.fromkeys(sets)
    # By name, so that no other set changes a set's random orders.
    keys = {name: jax.random.fold_in(key, zlib.crc32(name.encode())) for name in sets}
    return summary | {
        name: _learned(keys[name], a[robust], one, test, shuffles)
        for name, one in sets.items()
    }


def _check(
    a: np.ndarray, dataset: Dataset, sets: Mapping[str, Dataset], test: Dataset
) -> None:
    """Raises ValueError unless features, images and labels fit together."""
    for name, one in {"dataset": dataset, **sets, "test": test}.items():
        check_images(one.images)
        check_labels(one.labels, dataset.num_classes, len(one.images))
        if a.ndim != 2 or one.images[0].size != a.shape[1]:
            raise ValueError(
                f"features must be [F, {one.images[0].size}] for images of {name}, "
                f"got {tuple(a.shape)}."
            )
    for name, one in sets.items():
        if len(np.unique(one.labels)) < 2:
            raise ValueError(
                f"all labels of {name} are {one.labels[0]}; a classifier needs two."
            )


def _learned(
    key: Key, a: np.ndarray, train: Dataset, test: Dataset, shuffles: int
) -> dict[str, Any]:
    """Test images right after learning the labels, and after learning them shuffled."""
    values = linear(a, train.images), linear(a, test.images)
    orders = [
        jax.random.permutation(k, len(train.labels))
        for k in jax.random.split(key, shuffles)
    ]
    return {
        "correct": _right(*values, train.labels, test.labels),
        "total": len(test.labels),
        "shuffled": [
            _right(*values, train.labels[np.asarray(order)], test.labels)
            for order in orders
        ],
    }


def _right(
    train: Array, test: Array, labels: np.ndarray, test_labels: np.ndarray
) -> int:
    """How many test labels a linear classifier of values [N, F] gets right."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    # float64, for in float32 rounding may keep it from converging.
    classifier.fit(np.float64(train), labels)
    return int((classifier.predict(np.float64(test)) == test_labels).sum())
