"""Tables of the study, for the page and in Markdown for a terminal."""

from nrf.report.results import Measure, Results, percent
from nrf.report.table import cell, markdown
from nrf.report.transfer.claims import WAYS, measured_line, said
from nrf.report.transfer.results import PAPER, SOURCE, label, points

HEAD = ("architecture", "trained on D", "trained on D_det", "fooled", "at the target")
HEAD_ALL = (
    *("architecture", "wrong without attack", "wrong, attacked"),
    *("the target without attack", "the target, attacked"),
)
HEAD_PAPER = (
    *("architecture", "trained on D_det, here", "paper", "fooled, here", "paper"),
    *("at the target, here", "paper"),
)


def table(study: Results) -> str:
    """One row per network; the lines and what the columns mean below."""
    found = []
    for way in WAYS:
        of = measured_line(study, way)
        found.append(f"{way}: {said(of) if of else 'no line'}")
    return (
        f"{markdown(HEAD, rows(study, ' '))}\n\n{caption(study)}\n\n"
        + "\n".join(found)
        + "\n"
    )


def rows(study: Results, separator: str) -> list[list[str]]:
    return [
        [
            _name(study, name),
            *(
                cell(measure, separator)
                for measure in (
                    *(point.on_D, point.on_D_det),
                    *(point.untargeted, point.targeted),
                )
            ),
        ]
        for name, point in points(study).items()
    ]


def of_all_images(study: Results) -> list[list[str]]:
    """Rows under HEAD_ALL: without leaving out the images that are wrong anyway."""
    return [
        [
            _name(study, name),
            cell(_rest(point.on_D), "|"),
            *(cell(m, "|") for m in (point.wrong, point.said_before, point.said)),
        ]
        for name, point in points(study).items()
    ]


def beside_paper(study: Results) -> list[list[str]]:
    """Rows under HEAD_PAPER, of the architectures that the paper has too."""
    return [
        [
            label(name),
            *_pair(point.on_D_det, PAPER[name].on_D_det),
            *_pair(point.untargeted, PAPER[name].untargeted),
            *_pair(point.targeted, PAPER[name].targeted),
        ]
        for name, point in points(study).items()
        if name in PAPER
    ]


def caption(study: Results) -> str:
    """What the numbers are: of which images, of how many seeds."""
    first = points(study)[SOURCE].on_D
    seeds = len(first.by_seed)
    of_seeds = (
        "One seed."
        if seeds == 1
        else f"Mean over {seeds} seeds; after ±: their standard deviation."
    )
    return (
        f"Accuracies are on D's {first.images:,} test images. Fooled: of those that "
        "the network, trained on D, gets right, how many it gets wrong when they are "
        "attacked to fool the source; at the target: how many of the same it takes "
        f"for the next class when the source is attacked towards it. {of_seeds} In "
        "brackets: Wilson's 95 % interval, of other test images and not of other "
        "trainings."
    )


def _name(study: Results, name: str) -> str:
    if name != SOURCE:
        return label(name)
    return f"source: {label(study['config']['source']['name'])}"


def _rest(measure: Measure) -> Measure:
    by_seed = {seed: 1 - value for seed, value in measure.by_seed.items()}
    return Measure(by_seed, measure.images)


def _pair(ours: Measure | None, theirs: float) -> list[str]:
    return ["–" if ours is None else percent(ours.mean), percent(theirs)]
