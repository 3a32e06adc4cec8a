"""The paper's figures 3 and 13 with this run's points: a scatter and its line."""

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nrf.report.charts import INK, STYLE, svg
from nrf.report.results import Measure, Results, percent
from nrf.report.transfer.claims import Line, line, measured_line
from nrf.report.transfer.results import PAPER, label, learners

# Okabe and Ito's palette; architectures differ by marker as well.
_LOOKS = dict(
    zip(
        PAPER,
        (
            ("#d55e00", "v"),
            ("#cc79a7", "P"),
            ("#56b4e9", "D"),
            ("#009e73", "s"),
            ("#0072b2", "o"),
        ),
        strict=True,
    )
)
_OTHER = (("#8c8c8c", "X"), ("#e69f00", "^"), ("#8a6bd1", "<"), ("#a5694f", "h"))


def look(name: str) -> tuple[str, str]:
    """The colour and marker of an architecture."""
    # From its letters, so that it does not depend on which others there are.
    return _LOOKS.get(name) or _OTHER[sum(map(ord, name)) % len(_OTHER)]


@rc_context(STYLE)
def scatter(name: str, study: Results, way: str, beside: bool) -> str:
    """Transfer rate against accuracy after D_det; `beside` draws the paper's too."""
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.add_subplot(
        title=way,
        xlabel="test accuracy, trained on D_det",
        ylabel="transfer rate",
        ylim=(0, 1),
    )
    told, accuracies = [], []
    for network, point in learners(study).items():
        x, y = point.on_D_det, getattr(point, way)
        if x is None or y is None:
            continue
        color, marker = look(network)
        axes.errorbar(
            x.mean,
            y.mean,
            xerr=_bars(x),
            yerr=_bars(y),
            color=color,
            marker=marker,
            markersize=8,
            linestyle="none",
            linewidth=1.2,
            label=label(network),
            clip_on=False,
        )
        told.append(f"{label(network)} {percent(x.mean)}, {percent(y.mean)}")
        accuracies.append(x.mean)
    of = measured_line(study, way)
    if of is not None:
        _draw(axes, of, accuracies, "solid")
    if beside:
        _paper(axes, way)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2)
    return svg(figure, name, f"Points of {way} transfer rate: {'; '.join(told)}.")


def _paper(axes: Axes, way: str) -> None:
    x = [point.on_D_det for point in PAPER.values()]
    y = [getattr(point, way) for point in PAPER.values()]
    for network, *at in zip(PAPER, x, y, strict=True):
        color, marker = look(network)
        axes.plot(*at, marker, mec=color, mfc="none", markersize=8, clip_on=False)
    of = line(x, y)
    if of is not None:
        _draw(axes, of, x, (0, (4, 2)))


def _bars(measure: Measure) -> list[list[float]]:
    low, high = measure.interval
    return [[max(0, measure.mean - low)], [max(0, high - measure.mean)]]


def _draw(axes: Axes, of: Line, x: list[float], dash) -> None:
    ends = [min(x), max(x)]
    axes.plot(
        ends,
        [of.intercept + of.slope * end for end in ends],
        color=INK,
        linewidth=1.2,
        linestyle=dash,
    )
