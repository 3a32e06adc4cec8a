"""Attacks whose numbers are data: evaluation and D_rand and D_det share one program.

What an attack is besides its numbers, a `Climb`, chooses the program; radius, steps and
their size, and whether it climbs or descends, are given to it.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf import attacks, evaluate, losses
from nrf.config import PGD, Evaluation, Norm
from nrf.experiments import build
from nrf.types import Apply, Attack, Model


@dataclass(frozen=True)
class Climb:
    """Of PGD what is no number, or changes the shape of a batch."""

    norm: Norm
    loss: str  # Of `nrf.losses`.
    random_start: bool
    restarts: int
    keep_best: bool = False
    identity_relu: bool = False  # Back-propagate the last ReLU as identity.

    def attack_on(self, apply: Apply) -> Callable[..., Attack]:
        """Numbers -> the attack on a network.

        Its steps have `step_size`, or where that is 0 epsilon * crossings / steps;
        with a `sign` of -1 it descends.
        """
        loss = getattr(losses, self.loss)(apply)

        def at(epsilon, *, steps, step_size, crossings, sign):
            # Rounded as XLA rounds epsilon * crossings / steps with known steps.
            by_radius = epsilon * (crossings * (1 / jnp.float32(steps)))
            return attacks.pgd(
                losses.signed(loss, sign),
                build.THREATS[self.norm](epsilon),
                steps=steps,
                step_size=jnp.where(step_size > 0, step_size, by_radius),
                random_start=self.random_start,
                restarts=self.restarts,
                keep_best=self.keep_best,
            )

        return at


@build.cached
def program(net: Model, climb: Climb) -> Callable:
    """The attack of `evaluate.make_attack` on the network that is `read`, compiled."""
    apply = build.identity_relu(net) if climb.identity_relu else net.apply
    return jax.jit(evaluate.make_attack(climb.attack_on(evaluate.read(apply))))


def numbers(*, step_size: float = 0, crossings: float = 0, sign: int = 1) -> dict:
    """What `program` is given beside radius and steps."""
    given = {"step_size": step_size, "crossings": crossings, "sign": sign}
    return {name: np.float32(value) for name, value in given.items()}


def _climb(settings: Evaluation) -> Climb:
    restarts = settings.restarts
    return Climb(settings.norm, settings.loss, restarts > 1, restarts)


def attack_at(settings: Evaluation, apply: Apply) -> Callable[[Any], Attack]:
    """Radius -> the attack that evaluates a network."""
    given = numbers(crossings=settings.crossings)
    at = _climb(settings).attack_on(apply)
    return functools.partial(at, steps=settings.steps, **given)


def checks(net: Model, settings: Evaluation) -> evaluate.Checks:
    """The attack that evaluates, and what tells whether it can be believed."""
    return _checks(net, settings.at())  # One program for all radii.


@build.cached
def _checks(net: Model, settings: Evaluation) -> evaluate.Checks:
    threat, climb = build.THREATS[settings.norm], _climb(settings)
    given = numbers(crossings=settings.crossings)

    def blind(epsilon):
        return attacks.square(
            losses.margin(net.apply), threat(epsilon), queries=settings.queries
        )

    return evaluate.make_checks(
        net.apply,
        getattr(losses, settings.loss)(net.apply),
        threat,
        attack_at(settings, net.apply),
        crossings=settings.crossings,
        steps=settings.steps,
        other=blind if settings.queries else None,
        on_changed=functools.partial(program(net, climb), **given),
        logits=build.logits(net),
    )


def mislabeller(
    net: Model, settings: PGD, identity_relu: bool = False, sign: int = -1
) -> Callable[..., Any]:
    """`synthesize.make_mislabel` as the settings say, by the programs of evaluation.

    With a `sign` of 1 its attack leads away from what are called targets.
    """
    restarts = settings.random_start, settings.restarts, settings.keep_best
    climb = Climb(settings.norm, "cross_entropy", *restarts, identity_relu)
    attack = evaluate.unchanged(program(net, climb), build.logits(net))
    steps = np.int32(settings.steps)
    given = numbers(step_size=settings.step_size, sign=sign)
    says = build.correct(net).test

    def perturb(key, params, indices, x, labels, targets):
        radius = jnp.float32(settings.epsilon)
        x_adv = attack(key, params, radius, indices, x, targets, steps=steps, **given)
        return x_adv, says(key, params, radius, indices, x_adv, targets)

    return perturb
