"""Transfer rate against accuracy on D_det: the line, its correlation, the verdicts."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import scipy.stats

from nrf.report.claims import Claim, claim
from nrf.report.results import Measure, Results
from nrf.report.transfer.correlation import interval
from nrf.report.transfer.points import learners, lucky, titles

WAYS = ("untargeted", "targeted")
_LEAST = 4  # Points without which a correlation has no interval.


class Line(NamedTuple):
    """Least squares of y on x, and how far they go together."""

    slope: float
    intercept: float
    pearson: float
    interval: tuple[float, float]  # 95 %, of the points without their errors.
    spearman: float
    chance: float  # Of a rank correlation as high, were all orders as likely.
    points: int


def line(
    x: Sequence[float],
    y: Sequence[float],
    errors: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Line | None:
    """Through points (x, y); None if there are fewer than three, or no spread.

    The interval is that of `correlation.interval`, and says nothing of three points:
    [-1, 1]. `chance` goes through all orders of up to seven points.
    """
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    fitted = scipy.stats.linregress(x, y)
    ends = interval(x, y, errors) if len(x) >= _LEAST else (-1.0, 1.0)
    permuted = scipy.stats.permutation_test(
        (x,),
        lambda order: scipy.stats.spearmanr(order, y).statistic,
        permutation_type="pairings",
        alternative="greater",
        vectorized=False,
    )
    fit = float(fitted.slope), float(fitted.intercept), float(fitted.rvalue)
    orders = float(permuted.statistic), float(permuted.pvalue)
    return Line(*fit, ends, *orders, len(x))


def measured_line(study: Results, way: str) -> Line | None:
    """Of transfer rate (`way` of WAYS) on accuracy, over architectures."""
    pairs = [
        (point.on_D_det, rate)
        for point in learners(study).values()
        if point.on_D_det and (rate := getattr(point, way))
    ]
    if not pairs:
        return None
    measures = list(zip(*pairs, strict=True))
    x, y = ([measure.mean for measure in of] for of in measures)
    of_x, of_y = ([_error(measure) for measure in of] for of in measures)
    return line(x, y, (of_x, of_y))


def _error(measure: Measure) -> float:
    """Standard error of a mean: by the images, and by the seeds where there are two."""
    of_images = measure.mean * (1 - measure.mean) / measure.images
    of_seeds = (measure.spread or 0.0) ** 2 / len(measure.by_seed)
    return math.sqrt(of_images + of_seeds)


def least_shown(points: int) -> float | None:
    """The correlation from which on the interval of so many points is above 0.

    For points without errors; those of a study need more.
    """
    if points < _LEAST:
        return None
    t = scipy.stats.t.ppf(0.975, points - 2)
    return float(t / math.sqrt(points - 2 + t**2))


def claims(study: Results) -> list[Claim]:
    """Whether every network learns from D_det, and more so where it is fooled more."""
    names, chance = titles(study), lucky(study)
    learned = [
        (names[name], of.on_D_det, chance[name])
        for name, of in learners(study).items()
        if of.on_D_det
    ]
    good = all(measure.interval[0] > most for _, measure, (_, most) in learned)
    say = functools.partial(claim, "transfer.txt", "#table-transfer")
    judged = [say("learned", good, learned=learned)]
    for way in WAYS:
        of = measured_line(study, way)
        enough = of is not None and of.points >= _LEAST
        related = of.interval[0] > 0 if of and enough else None
        values = {"way": way, "of": of if enough else None, "least": _LEAST}
        judged.append(say("related", related, **values))
    return judged
