"""Robust accuracies that can be believed: AutoAttack beside PGD, with its evidence.

Of the six networks of one seed, at the radius that D_R is judged at.
"""

from dataclasses import asdict, replace
from typing import Any

import jax
import numpy as np

from nrf import evaluate
from nrf.config import Suite
from nrf.evaluate import sequence
from nrf.experiments.seeds import Tick
from nrf.experiments.stages import NETWORKS, Stages, without_work
from nrf.runs.formats import ARRAYS, JSON
from nrf.types import Key


def run(of: Stages, settings: Suite) -> list[dict[str, Any]]:
    """Makes the stages of one seed, after those of the main experiment.

    Returns, for every network, how many of the same images withstand each component of
    AutoAttack and all before it, and the evidence of both PGD's accuracy on them and of
    AutoAttack's.

    Raises:
      ValueError: AutoAttack's accuracy is not believable, and the evaluation refuses.
    """
    found, norm = [], of.config.evaluation.norm
    for epsilon in of.config.headline:
        for name in NETWORKS:
            result = attack(of, name, epsilon, settings)
            scores = sequence.score(result, of.programs.suite(settings, norm))
            seen = judge(of, name, epsilon, settings, result)
            if of.config.evaluation.refuse:
                evaluate.Evidence.from_dict(seen["autoattack"]).refuse()
            found.append(
                {
                    **of.network(name),
                    "norm": norm,
                    "epsilon": epsilon,
                    "total": len(result.images),
                    "withstood": {part: n.correct for part, n in scores.items()},
                    "evidence": seen,
                }
            )
    return found


def attack(of: Stages, name: str, epsilon: float, settings: Suite) -> sequence.Result:
    """What AutoAttack's sequence does to the network `name`.

    A stage for each component, which keeps the adversarial images that it found.
    """
    images = of.some(settings.images)
    norm = of.config.evaluation.norm
    # How many images a batch holds changes no result.
    about = {
        "norm": norm,
        "epsilon": epsilon,
        "suite": {**asdict(settings), "batch_size": 1},
    }
    found: list[sequence.Found] = []
    inputs = [name, "test"]
    for program in of.programs.suite(settings, norm):
        left = sequence.withstood(images, found)

        def make(key: Key, tick: Tick) -> dict[str, np.ndarray]:
            return sequence.attack(
                key,
                program,  # noqa: B023
                of.done[name].params,
                images,
                left=left,  # noqa: B023
                epsilon=epsilon,
                batch_size=settings.batch_size,
                mesh=of.work.mesh,
                tick=tick,
            )._asdict()

        component = f"suite_{name}_{program.component.name}"
        made = of.stage(
            component,
            program.component.rounds * len(left),
            of.config.network,
            about,
            inputs,
            make,
            ARRAYS,
        )
        found.append(sequence.Found(**made))
        inputs = [*inputs, component]
    return sequence.collect(images, found)


def judge(
    of: Stages, name: str, epsilon: float, settings: Suite, result: sequence.Result
) -> dict[str, dict[str, Any]]:
    """The evidence, as `Evidence.as_dict`: of "pgd" and of "autoattack".

    PGD is the experiment's, on the same images; what AutoAttack fools is known of them.
    """
    evaluation = of.config.evaluation
    images = of.some(settings.images)
    checks = of.programs.checks(evaluation)
    programs = of.programs.suite(settings, evaluation.norm)
    shared: Any = {
        "epsilon": epsilon,
        "batch_size": settings.batch_size,
        "mesh": of.work.mesh,
    }

    def make(key: Key, tick: Tick) -> dict[str, dict[str, Any]]:
        def gather(**options: Any) -> evaluate.Evidence:
            return evaluate.gather(
                jax.random.clone(key),
                checks,
                of.done[name].params,
                images,
                tick=tick,
                **shared,
                **options,
            )

        pgd = gather(thorough=True, fooled=result.broken_by >= 0)
        blind = [i for i, p in enumerate(programs) if p.component.name == "square"]
        strongest = gather(made=result.images)._replace(
            only_blind=int(np.isin(result.broken_by, blind).sum())
        )
        return {"pgd": pgd.as_dict(), "autoattack": strongest.as_dict()}

    about = {
        "epsilon": epsilon,
        "evaluation": without_work(replace(evaluation, epsilons=())),
    }
    inputs = [f"suite_{name}_{program.component.name}" for program in programs]
    return of.stage(
        f"evidence_{name}",
        (checks.passes(True) + 1) * len(images.labels),
        of.config.network,
        about,
        [name, "test", *inputs],
        make,
        JSON,
    )
