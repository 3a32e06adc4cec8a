"""Robust accuracies that can be believed: AutoAttack and evidence beside PGD.

Of the six networks of one seed, at the radius that D_R is judged at.
"""

from dataclasses import asdict, replace
from typing import Any

import jax
import numpy as np

from nrf import evidence, suite
from nrf.config import Suite
from nrf.kinds import ARRAYS, JSON
from nrf.seeds import Tick
from nrf.stages import NETWORKS, Stages
from nrf.types import Key


def run(of: Stages, settings: Suite) -> list[dict[str, Any]]:
    """Makes the stages of one seed, after those of the main experiment.

    Returns, for every network, how many of the same images withstand each component of
    AutoAttack and all before it, and the evidence of PGD's accuracy on them.

    Raises:
      ValueError: an accuracy is not believable, and `settings.refuse`.
    """
    found = []
    for epsilon in of.config.headline:
        for name in NETWORKS:
            seen = gather(of, name, epsilon, settings)
            judged = evidence.Evidence.from_dict(seen)
            if settings.refuse:
                judged.refuse()
            found.append(
                {
                    **of.network(name),
                    "norm": of.config.evaluation.norm,
                    "epsilon": epsilon,
                    "total": judged.total,
                    "withstood": attack(of, name, epsilon, settings),
                    "evidence": seen,
                }
            )
    return found


def attack(of: Stages, name: str, epsilon: float, settings: Suite) -> dict[str, int]:
    """How many images withstand each component and all before it, "clean" first.

    The stage keeps every adversarial image, and which component found it.
    """
    images = of.some(settings.images)
    norm = of.config.evaluation.norm
    programs = of.programs.suite(settings, norm)

    def make(key: Key, tick: Tick) -> dict[str, np.ndarray]:
        return suite.run(
            key,
            programs,
            of.done[name].params,
            images,
            epsilon=epsilon,
            batch_size=settings.batch_size,
            mesh=of.work.mesh,
            tick=tick,
        )._asdict()

    about = {
        "norm": norm,
        "epsilon": epsilon,
        # Neither how it is packed, nor what else is asked of the network.
        "suite": asdict(replace(settings, batch_size=1, blind_queries=1, refuse=False)),
    }
    rounds = sum(program.component.rounds for program in programs)
    made = of.stage(
        f"suite_{name}",
        rounds * len(images.labels),
        of.config.network,
        about,
        [name, "test"],
        make,
        ARRAYS,
    )
    scores = suite.score(suite.Result(**made), programs)
    return {component: score.correct for component, score in scores.items()}


def gather(of: Stages, name: str, epsilon: float, settings: Suite) -> dict[str, Any]:
    """The evidence of PGD's accuracy on the same images, as `Evidence.as_dict`."""
    evaluation = of.config.evaluation
    checks = of.programs.checks(
        replace(evaluation, epsilons=(), batch_size=1), settings.blind_queries
    )
    images = of.some(settings.images)

    def make(key: Key, tick: Tick) -> dict[str, Any]:
        return evidence.gather(
            jax.random.clone(key),
            checks,
            of.done[name].params,
            images,
            epsilon=epsilon,
            batch_size=settings.batch_size,
            mesh=of.work.mesh,
            large=True,
            tick=tick,
        ).as_dict()

    about = {
        "epsilon": epsilon,
        "evaluation": asdict(replace(evaluation, epsilons=(), batch_size=1)),
        "images": settings.images,
        "blind_queries": settings.blind_queries,
    }
    attacks = 4  # PGD, at a large radius, with more steps; Square.
    return of.stage(
        f"evidence_{name}",
        attacks * len(images.labels),
        of.config.network,
        about,
        [name, "test"],
        make,
        JSON,
    )
