"""The principal directions of two classes' images, and features made of them.

A feature aᵀx is given by its coordinates c [P] in these directions: a = Σᵢ cᵢ aᵢ. See
plane.py for where such features lie, and why.
"""

from typing import NamedTuple

import numpy as np

from nrf.features.extremes import linear

# Pixels are float32 in [0, 1]: what varies less than this is their rounding.
_ROUNDING = 1e-6


class Directions(NamedTuple):
    """P principal directions of two classes' images, by falling variance."""

    centre: np.ndarray  # [D] the middle of the two mean images.
    a: np.ndarray  # [P, D] orthonormal, each of the sign that makes it useful.
    mean: np.ndarray  # [P] E[y aᵀx], at least 0: m in these coordinates.
    variance: np.ndarray  # [P] E[(aᵀx)²], above 0: Σ is diagonal in them.

    def coordinates(self, images: np.ndarray) -> np.ndarray:
        """[N, P] aᵀx of images, in float64."""
        x = images.reshape(len(images), -1) - self.centre
        return np.asarray(linear(self.a, x))


def principal(images: np.ndarray, y: np.ndarray) -> Directions:
    """The directions in which `images` [N, H, W, C] with y [N] of ±1 vary.

    P is at most D and at most N − 1. For 10,000 images of CIFAR-10 this takes 20 s on
    two CPU cores and 1 GB: two copies of the images and four [D, D], in float64.

    Raises:
      ValueError: all pixels are constant, or both classes have the same mean image, so
        that no linear feature is useful.
    """
    x = images.reshape(len(images), -1).astype(np.float64)
    weight = 0.5 / np.where(y > 0, (y > 0).sum(), (y < 0).sum())
    centre = weight @ x
    x -= centre
    signal = (weight * y) @ x
    x *= np.sqrt(weight)[:, None]
    variance, a = np.linalg.eigh(x.T @ x)
    kept = np.flatnonzero(variance > _ROUNDING**2)[::-1]
    if not len(kept):
        raise ValueError("all pixels are constant; there is no direction to measure.")
    if np.linalg.norm(signal) <= _ROUNDING:
        raise ValueError(
            "both classes have the same mean image; no linear feature is useful."
        )
    a = a.T[kept]
    mean = a @ signal
    return Directions(
        centre, a * np.where(mean < 0, -1, 1)[:, None], np.abs(mean), variance[kept]
    )


def ensemble(directions: Directions, epsilon: float) -> np.ndarray:
    """c [P] of Σ aᵢ over the directions of robustness ε or less, each of its sign.

    ε is the threshold that needs no choice: in their span r ≤ ε for all features, so
    that none is robust at ε, the sum included, however useful it becomes. Of directions
    with γ(ε) ≤ 0 alone this is not true: two of r > ε can add up to a robust one.
    """
    return (np.sqrt(directions.variance) <= epsilon).astype(float)


def containment(
    directions: Directions, nonrobust: int, robust: int, alpha: float
) -> np.ndarray:
    """c [P] of (1 − α) a_nonrobust + α a_robust, of the directions so numbered.

    Where a_nonrobust is useless, this is useful because of a_robust and not robust
    because of a_nonrobust: a useful non-robust feature, made of none.

    Raises:
      ValueError: alpha is not in 0 .. 1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in 0 .. 1, got {alpha}.")
    numbers = np.arange(len(directions.mean))
    return (1 - alpha) * (numbers == nonrobust) + alpha * (numbers == robust)


def frontier(directions: Directions, points: int = 30) -> np.ndarray:
    """c [2 points + 2, P]: the most useful of all features as robust, by rising r.

    These are a = (Σ + τI)⁻¹m. At τ = 0 it is the most useful feature of all; at τ = ∞
    it is m. More robust ones come after m, and have τ from −∞ to minus the largest
    variance, where a is the first direction, the most robust of all.

    Why: let M = (1 − w)Σ + w s I with w > 0 and s the largest variance, so that M is
    positive definite, and let a = M⁻¹m, of robustness r. With κ = w s / (w s + r²(1 −
    w)), which is positive, M ∝ Σ − κ(Σ − r²I). Among all b of bᵀm = aᵀm, a has the
    least bᵀMb, and b as robust as r have bᵀ(Σ − r²I)b ≥ 0 = aᵀ(Σ − r²I)a. So
    bᵀΣb ≥ aᵀΣa: b is no more useful. τ is w s / (1 − w).
    """
    share = directions.variance / directions.variance[0]
    to_m = np.geomspace(share[-1] / 100, 1, points)
    beyond = 1 + np.geomspace(0.01, 1e3, points)
    w = np.concatenate([[0], to_m, beyond])[:, None]
    first = np.arange(len(share)) == 0
    return np.vstack([directions.mean / (share + w * (1 - share)), first])
