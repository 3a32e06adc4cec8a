"""How far points that are known only roughly go together."""

from collections.abc import Sequence

import numpy as np

_DRAWN = 20_000  # Covariances.


def interval(
    x: Sequence[float],
    y: Sequence[float],
    errors: tuple[Sequence[float], Sequence[float]] | None = None,
) -> tuple[float, float]:
    """The 95 % interval of the correlation of what the points (x, y) are estimates of.

    It takes what they are estimates of for a sample of a normal distribution, of which
    less than three points say nothing. Without errors it is the exact one of Fisher
    (1930): n normal pairs of unit covariance have a scatter A Aᵀ of known distribution
    (Bartlett 1933), so that pairs of scatter L Lᵀ may be of any covariance
    Σ = L (AᵀA)⁻¹ Lᵀ. Points with errors vary by these, too: their mean squares are
    taken away from Σ. Where nothing is left the correlation may be any.

    Args:
      x, y: Of the points, three or more and not all the same.
      errors: Standard errors of each of x, and of y; of none by default.
    """
    n, generator = len(x), np.random.default_rng(0)
    u, v = (np.asarray(a, float) - np.mean(a) for a in (x, y))
    # L is lower: its first row is (first, 0), its second (both, second).
    first = np.sqrt(u @ u)
    both = u @ v / first
    second = np.sqrt(max(0.0, float(v @ v - both**2)))
    a = np.sqrt(generator.chisquare(n - 1, _DRAWN))
    b = np.sqrt(generator.chisquare(n - 2, _DRAWN))
    below = generator.normal(size=_DRAWN)
    side, across, own = first / a, both / a - second * below / (a * b), second / b
    unsure = [np.mean(np.square(of)) for of in errors] if errors else [0.0, 0.0]
    of_x, of_y = side**2 - unsure[0], across**2 + own**2 - unsure[1]
    left = (of_x > 0) & (of_y > 0)
    scale = np.sqrt(np.where(left, of_x * of_y, 1))
    drawn = np.where(left, side * across / scale, generator.uniform(-1, 1, _DRAWN))
    # Errors may be larger than all that separates the points from a line. Then the
    # correlation is 1, or the errors were small by luck: the interval has both.
    possible = drawn[np.abs(drawn) <= 1]
    if len(possible) < _DRAWN // 50:
        possible = np.array([-1.0, 1.0])
    ends = [np.quantile(a, (0.025, 0.975)) for a in (np.clip(drawn, -1, 1), possible)]
    low, high = np.min(ends, 0)[0], np.max(ends, 0)[1]
    return float(low), float(high)
