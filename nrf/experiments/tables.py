"""The other rows of the paper's tables, from the networks of the main experiment.

Robust sources (tables 9 and 10), where D_R's robustness is lost (table 8), sets made
from noise (table 7), the attack's strength (figure 8) and a second test set (D.7).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nrf.config import Experiment, Set
from nrf.experiments.networks import Row, score, score_attacked
from nrf.experiments.recipes import Match
from nrf.runs import Made, Steps


def by_robust(one: Set) -> Set:
    """The set, made with the robust network and tested without attack."""
    return replace(
        one,
        name=f"{one.name}_robust",
        title=f"{one.name}, robust source",
        source="robust",
        attacked=False,
    )


def other_sets(sets: Sequence[Set], noise: Match) -> tuple[Set, ...]:
    """The paper's other sets, as variants of its four: `sets` begins with these.

    D_rand and D_det by the robust network (tables 9 and 10), where these are not among
    `sets` too; D_R and D_NR from noise, matched as `noise` says (table 7); D_R of the
    test images (table 8).
    """
    D_R, D_NR, D_rand, D_det = sets[:4]
    there = {one.name for one in sets}
    twins = (by_robust(one) for one in (D_rand, D_det))
    return (
        *(one for one in twins if one.name not in there),
        *(
            replace(one, name=f"{one.name}_noise", title=f"{one.name}, from noise")
            for one in (replace(D_R, recipe=noise), replace(D_NR, recipe=noise))
        ),
        replace(D_R, name="D_R_test", of="test", train=None),
    )


def run(
    config: Experiment, step: Steps, made: Mapping[str, Made], figure: Mapping[str, str]
) -> list[Row]:
    """The rows of one seed; sets and networks of `config.tables` are made already.

    `figure` has the networks of the figure, and the sets that they learned.
    """
    settings, evaluation = config.tables, config.evaluation
    assert settings is not None
    count = len(made["test"].value.labels)
    clean = evaluation.at()
    rows: list[Row] = []
    for one in settings.sets:
        if one.train:
            network, how = made[f"on_{one.name}"], config.tested(one.name)
            rows += score(step, network, made["test"], how, count=count)
    # "relabelled" has the test images with the labels that D_det gives them.
    for name in settings.relabelled:
        rows += score(step, made[name], made["relabelled"], clean, count=count)
    for name, on in settings.elsewhere:
        rows += score(step, made[name], made[on], evaluation, count=count)
    reported = config.reported_epsilon
    radii = () if reported is None else (reported,)
    for steps in settings.strength:
        for loss in ("cross_entropy", "margin"):
            at = replace(evaluation.at(*radii), steps=steps, loss=loss)
            rows += score_attacked(
                step,
                made[settings.strength_of],
                made["test"],
                at,
                count=count,
                thorough=False,
            )
    if settings.second_test:
        second = made["second_test"]
        for name, on in figure.items():
            how, size = config.tested(on), len(second.value.labels)
            rows += score(step, made[name], second, how, count=size)
    return rows
