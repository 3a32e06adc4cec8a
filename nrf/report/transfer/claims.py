"""Transfer rate against accuracy on D_det: the line, its correlation, the verdicts."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import scipy.stats

from nrf.report.claims import NOT_MEASURED, Claim, above, judge
from nrf.report.results import Measure, Results, bracket, percent
from nrf.report.transfer.results import label, learners

WAYS = {
    "untargeted": "fool more",
    "targeted": "lead to the target more",
}
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
    interval = (-1.0, 1.0)
    if len(x) >= _LEAST:
        low, high = pearson.confidence_interval(0.95)
        interval = (float(low), float(high))

    def rank(order: Sequence[float]) -> float:
        return scipy.stats.spearmanr(order, y).statistic

    permuted = scipy.stats.permutation_test(
        (x,),
        rank,
        permutation_type="pairings",
        alternative="greater",
        vectorized=False,
    )
    return Line(
        float(fitted.slope),
        float(fitted.intercept),
        float(pearson.statistic),
        interval,
        float(permuted.statistic),
        float(permuted.pvalue),
        len(x),
    )


def least_shown(points: int) -> float:
    """The correlation from which on the interval of so many points is above 0."""
    return math.tanh(scipy.stats.norm.ppf(0.975) / math.sqrt(points - 3))


def measured_line(study: Results, way: str) -> Line | None:
    """Of transfer rate (`way` of WAYS) on accuracy, over architectures."""
    pairs = [
        (point.on_D_det.mean, rate.mean)
        for point in learners(study).values()
        if point.on_D_det and (rate := getattr(point, way))
    ]
    return line(*zip(*pairs, strict=True)) if pairs else None


def said(of: Line) -> str:
    """r = 0.98 [0.72, 1.00], rank correlation 1.00 (p = 0.008); rate = ..."""
    sign = "+" if of.intercept >= 0 else "−"
    return (
        f"r = {number(of.pearson)} [{number(of.interval[0])}, "
        f"{number(of.interval[1])}], rank correlation {number(of.spearman)} "
        f"(p = {of.chance:.3f}); rate = {number(of.slope)} × accuracy {sign} "
        f"{percent(abs(of.intercept))}"
    )


def number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def claims(study: Results) -> list[Claim]:
    chance = 1 / len(study["classes"])
    return [_learned(study, chance), *(_related(study, way) for way in WAYS)]


def _learned(study: Results, chance: float) -> Claim:
    title = "Every architecture learns the true classes from the source's D_det"
    rule = (
        "the 95 % interval of each one's accuracy on unchanged test images is above "
        "chance, and every seed is"
    )
    found: dict[str, Measure] = {
        name: point.on_D_det
        for name, point in learners(study).items()
        if point.on_D_det
    }
    told = [
        f"{label(name)} {percent(measure.mean)} {bracket(measure)}"
        for name, measure in found.items()
    ]
    good = all(above(measure, chance) for measure in found.values())
    told_chance = f" (chance {percent(chance)})."
    return Claim(title, judge(good), "; ".join(told) + told_chance, rule)


def _related(study: Results, way: str) -> Claim:
    title = (
        f"Architectures that the source's {way} attacks {WAYS[way]} learn more from "
        "its D_det"
    )
    rule = (
        "over the architectures, the 95 % interval (Fisher's z) of Pearson's "
        "correlation r of transfer rate and accuracy is above 0"
    )
    of = measured_line(study, way)
    if of is None or of.points < _LEAST:
        needs = (
            f"Needs {_LEAST} architectures with different rates and accuracies, for a "
            "correlation of fewer has no interval."
        )
        return Claim(title, NOT_MEASURED, needs, rule)
    measured = f"{of.points} architectures: {said(of)}."
    return Claim(title, judge(of.interval[0] > 0), measured, rule)


def power(study: Results) -> str:
    """What so few architectures can show."""
    count = len(learners(study))
    needed = (
        f"r has to be above {number(least_shown(count))}"
        if count >= _LEAST
        else "no r is enough"
    )
    return (
        f"With {count} architectures {needed} to be shown, so that “not shown” is no "
        "evidence against; and the interval takes architectures for a random sample, "
        "which they are not. p: how many of all orders of the architectures have as "
        f"high a rank correlation; the least possible is 1 in {math.factorial(count)}. "
        "By the same rule the paper's own five points show the relation for "
        "untargeted attacks (r = 0.98 [0.72, 1.00]) and not for targeted ones "
        "(r = 0.82 [−0.23, 0.99]), though both have its order."
    )
