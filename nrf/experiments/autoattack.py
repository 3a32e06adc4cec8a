"""Robust accuracies that can be believed: AutoAttack beside PGD, with their evidence.

Of the networks of the figure, at the reported radius.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from nrf import evaluate
from nrf.config import AutoAttack, Evaluation, Experiment, Norm
from nrf.evaluate import Evidence, sequence, statistics
from nrf.experiments import build, climbs
from nrf.experiments.networks import Row, spaced
from nrf.runs import Cost, Env, Made, Steps, costs
from nrf.types import Dataset, Key, Network


def run(
    config: Experiment, step: Steps, made: Mapping[str, Made], networks: list[str]
) -> list[Row]:
    """For each network, how many images withstand each component and all before it.

    With the evidence of PGD's accuracy on the same images, and of AutoAttack's; and
    which images withstood: "right" all of AutoAttack, "pgd_right" PGD.

    Raises:
      ValueError: AutoAttack's accuracy is not believable, and the run refuses it.
    """
    settings, epsilon = config.autoattack, config.reported_epsilon
    if settings is None or epsilon is None:
        return []
    rows, norm = [], config.evaluation.norm
    for name in networks:
        broken = attack(step, made[name], made["test"], norm, epsilon, settings)
        judged = step(
            f"evidence_{name}",
            _judge,
            made[name],
            made["test"],
            *broken,
            evaluation=config.evaluation.at(),
            epsilon=epsilon,
            settings=settings,
        )
        if config.work.refuse:
            Evidence.from_dict(judged.value["evidence"]["autoattack"]).refuse()
        rows.append({"network": name, "norm": norm, "epsilon": epsilon, **judged.value})
    return rows


def attack(
    step: Steps,
    network: Made,
    test: Made,
    norm: Norm,
    epsilon: float,
    settings: AutoAttack,
) -> list[Made]:
    """A step for each component of the sequence, with the images that it breaks.

    Each is given what those before it broke: an interrupted sequence goes on.
    """
    broken: list[Made] = []
    classes = test.value.num_classes
    for program in build.autoattack(network.value.model, norm, classes, settings):
        component = program.component.name
        broken.append(
            step(
                f"autoattack_{network.name}_{component}",
                _component,
                network,
                test,
                *broken,
                component=component,
                norm=norm,
                epsilon=epsilon,
                settings=settings,
                # Not the step's own name: the numbers published with this code were
                # drawn under this one.
                draws=f"suite_{network.name}_{component}",
            )
        )
    return broken


def _programs(network: Network, test: Dataset, norm: Norm, settings: AutoAttack):
    return build.autoattack(network.model, norm, test.num_classes, settings)


def _component_cost(network, test, *broken, component, norm, epsilon, settings) -> Cost:
    images = min(settings.images, len(test.labels))
    # A query of Square is a forward pass alone, about a third of one with its gradient.
    steps = {"clean": 1, "square": -(-settings.queries // 3)}.get(
        component, settings.steps
    )
    for program in _programs(network, test, norm, settings):
        if program.component.name == component:
            rounds = program.component.rounds
    # At most: only what withstood the components before is attacked.
    return Cost(rounds * images, rounds * images * steps)


@costs(_component_cost)
def _component(
    key: Key,
    network: Network,
    test: Dataset,
    *broken: dict[str, np.ndarray],
    component: str,
    norm: Norm,
    epsilon: float,
    settings: AutoAttack,
    env: Env,
) -> dict[str, np.ndarray]:
    images = spaced(test, settings.images)
    left = sequence.withstood(images, [sequence.Found(**one) for one in broken])
    programs = _programs(network, test, norm, settings)
    (program,) = (p for p in programs if p.component.name == component)
    env.tick(program.component.rounds * (len(images.labels) - len(left)))
    return sequence.attack(
        key,
        program,
        network.params,
        images,
        left=left,
        epsilon=epsilon,
        batch_size=env.work.autoattack_batch,
        mesh=env.mesh,
        tick=env.tick,
        shards=env.shards,
    )._asdict()


def _judge_cost(network, test, *broken, evaluation, epsilon, settings) -> Cost:
    passes = climbs.checks(network.model, evaluation).passes(True) + 1
    images = min(settings.images, len(test.labels))
    return Cost(passes * images, 4 * images * evaluation.steps)


@costs(_judge_cost)
def _judge(
    key: Key,
    network: Network,
    test: Dataset,
    *broken: dict[str, np.ndarray],
    evaluation: Evaluation,
    epsilon: float,
    settings: AutoAttack,
    env: Env,
) -> dict[str, Any]:
    """The counts, and the evidence of "pgd" and of "autoattack".

    PGD is the experiment's, on the same images; it is told which AutoAttack breaks.
    """
    images = spaced(test, settings.images)
    parts = [sequence.Found(**one) for one in broken]
    result = sequence.collect(images, parts)
    programs = _programs(network, test, evaluation.norm, settings)
    scores = sequence.score(result, programs)

    def gather(**options: Any) -> evaluate.Gathered:
        return evaluate.gather(
            jax.random.clone(key),
            climbs.checks(network.model, evaluation),
            network.params,
            images,
            epsilon=epsilon,
            batch_size=env.work.autoattack_batch,
            mesh=env.mesh,
            tick=env.tick,
            shards=env.shards,
            **options,
        )

    left = result.broken_by < 0
    pgd = gather(thorough=True, fooled=~left)
    blind = [i for i, p in enumerate(programs) if p.component.name == "square"]
    strongest = gather(made=result.images).evidence._replace(
        only_blind=int(np.isin(result.broken_by, blind).sum())
    )
    return {
        "total": len(images.labels),
        "withstood": {name: score.correct for name, score in scores.items()},
        "right": statistics.pack(left),
        "pgd_right": statistics.pack(pgd.withstood),
        "evidence": {
            "pgd": pgd.evidence.as_dict(),
            "autoattack": strongest.as_dict(),
        },
    }
