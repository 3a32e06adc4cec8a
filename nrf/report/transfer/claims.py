"""Transfer rate against accuracy on D_det: the line, its correlation, the verdicts."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import scipy.stats

from nrf.report.claims import Claim, above, claim
from nrf.report.results import Results
from nrf.report.transfer.points import learners, titles

WAYS = ("untargeted", "targeted")
_LEAST = 4  # Points without which a correlation has no interval.


class Line(NamedTuple):
    """Least squares of y on x, and how far they go together."""

    slope: float
    intercept: float
    pearson: float
    interval: tuple[float, float]  # 95 %, by Fisher's z.
    spearman: float
    chance: float  # Of a rank correlation as high, were all orders as likely.
    points: int


def line(x: Sequence[float], y: Sequence[float]) -> Line | None:
    """Through points (x, y); None if there are fewer than three, or no spread.

    The interval is of Fisher (1921) and takes the points for a normal sample, of which
    three say nothing: [-1, 1]. `chance` goes through all orders of up to seven points.
    """
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    fitted = scipy.stats.linregress(x, y)
    pearson = scipy.stats.pearsonr(x, y)
    low, high = pearson.confidence_interval(0.95) if len(x) >= _LEAST else (-1, 1)
    permuted = scipy.stats.permutation_test(
        (x,),
        lambda order: scipy.stats.spearmanr(order, y).statistic,
        permutation_type="pairings",
        alternative="greater",
        vectorized=False,
    )
    fit = float(fitted.slope), float(fitted.intercept)
    orders = float(permuted.statistic), float(permuted.pvalue)
    r, interval = float(pearson.statistic), (float(low), float(high))
    return Line(*fit, r, interval, *orders, len(x))


def measured_line(study: Results, way: str) -> Line | None:
    """Of transfer rate (`way` of WAYS) on accuracy, over architectures."""
    pairs = [
        (point.on_D_det.mean, rate.mean)
        for point in learners(study).values()
        if point.on_D_det and (rate := getattr(point, way))
    ]
    return line(*zip(*pairs, strict=True)) if pairs else None


def least_shown(points: int) -> float | None:
    """The correlation from which on the interval of so many points is above 0."""
    if points < _LEAST:
        return None
    return math.tanh(scipy.stats.norm.ppf(0.975) / math.sqrt(points - 3))


def claims(study: Results) -> list[Claim]:
    """Whether every network learns from D_det, and more so where it is fooled more."""
    chance, names = 1 / len(study["classes"]), titles(study)
    taught = [(names[name], of.on_D_det) for name, of in learners(study).items()]
    learned = [(title, measure) for title, measure in taught if measure]
    good = all(above(measure, chance) for _, measure in learned)
    values = {"learned": learned, "chance": chance}
    judged = [claim("transfer.txt", "learned", good, **values)]
    for way in WAYS:
        of = measured_line(study, way)
        enough = of is not None and of.points >= _LEAST
        related = of.interval[0] > 0 if of and enough else None
        values = {"way": way, "of": of if enough else None, "least": _LEAST}
        judged.append(claim("transfer.txt", "related", related, **values))
    return judged
