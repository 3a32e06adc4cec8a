"""From settings to functions: networks, attacks, optimizers, and all of them compiled.

Every function here is cached on its settings, which are frozen: seeds, and steps that
ask for the same, share one compiled program.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nrf import attacks, data, evaluate, features, losses, train
from nrf.config import PGD, AutoAttack, Features, Norm, Training
from nrf.evaluate import sequence
from nrf.experiments.averages import averaging
from nrf.types import Apply, Attack, Loss, Model, outputs

THREATS = {"l2": attacks.l2, "linf": attacks.linf}
# What the programs of trainings are given as numbers, or never see.
GIVEN = (
    "epochs",
    "batch_size",
    "learning_rate",
    "schedule",
    "drops",
    "warmup",
    "weight_decay",
    "pad",
    "flip",
    "holdout",
)
# Programs of so many settings are kept: a study of many architectures lets go of some.
cached = functools.lru_cache(maxsize=64)


@cached
def model(architecture: Any, num_classes: int) -> Model:
    """What the architecture builds.

    Raises:
      ValueError: that is no `Model`.
    """
    built = architecture.build(num_classes)
    if not isinstance(built, Model):
        raise ValueError(
            f"{type(architecture).__name__}.build must return a nrf.models.Model, got "
            f"a {type(built).__name__}; models.linen, models.nnx and models.function "
            "make one of what you have."
        )
    # Steps ask for features too, which a user's own Model may leave to the logits.
    return built._replace(apply=outputs(built.apply))


def identity_relu(net: Model) -> Apply:
    """`net.apply` with the gradient of the identity at the last ReLU.

    A network that does not say which that is keeps its own gradients.
    """
    return net.identity_relu or net.apply


def attack(settings: PGD, loss: Loss) -> Attack:
    """The attack that the settings describe, climbing `loss`."""
    return attacks.pgd(
        loss,
        THREATS[settings.norm](settings.epsilon),
        steps=settings.steps,
        step_size=settings.step_size,
        random_start=settings.random_start,
        restarts=settings.restarts,
        keep_best=settings.keep_best,
    )


def trainer(
    net: Model, settings: Training
) -> tuple[optax.GradientTransformation, Callable]:
    """Optimizer, and compiled update: the same for all schedules and sets."""
    plain = Training(epochs=1, batch_size=1, learning_rate=1.0)
    return _trainer(net, replace(settings, **{n: getattr(plain, n) for n in GIVEN}))


@cached
def _trainer(
    net: Model, settings: Training
) -> tuple[optax.GradientTransformation, Callable]:
    chain = optimizer(settings)
    smoothed = losses.Madry(settings.label_smoothing)
    objective = (settings.objective or smoothed)(net)

    def augment(key, x, *, pad, flip, **_):
        return data.augment(
            key,
            x,
            pad=pad,
            flip=flip,
            jitter=settings.jitter,
            rotation=settings.rotation,
            crop=settings.crop,
        )

    step = train.make_step(
        net,
        chain,
        attack=attack(settings.attack, objective.climb) if settings.attack else None,
        objective=objective,
        augment=augment,
    )
    return chain, train.make_update(step)


def optimizer(settings: Training) -> optax.GradientTransformationExtraArgs:
    """SGD with momentum; weight decay on all parameters, as the paper's.

    Its updates are given a row of `schedule`.
    """

    def decay(updates, params, *, weight_decay, **_):
        return jax.tree.map(lambda g, w: g + weight_decay * w, updates, params)

    def scale(updates, params, *, rate, **_):
        return jax.tree.map(lambda g: -rate * g, updates)

    momentum = optax.trace(settings.momentum, settings.nesterov)
    average = [averaging(settings.averaging)] if settings.averaging else []
    return optax.chain(
        _stateless(decay),
        momentum if settings.momentum else optax.identity(),
        _stateless(scale),
        *average,
    )


def _stateless(change: Callable) -> optax.GradientTransformationExtraArgs:
    """change(updates, params, **given) as an optimizer."""

    def update(updates, state, params=None, **given):
        return change(updates, params, **given), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


@cached
def schedule(settings: Training, steps: int) -> dict[str, np.ndarray]:
    """What each of so many updates is given: [steps] numbers by name."""
    # Compiled, because it rounds as it did inside of the updates.
    rate = jax.jit(learning_rate(settings, steps))(jnp.arange(steps, dtype=jnp.float32))
    return {
        "rate": np.full(steps, rate, np.float32),  # A constant is one number.
        "weight_decay": np.full(steps, settings.weight_decay, np.float32),
        "pad": np.full(steps, settings.pad, np.int32),
        "flip": np.full(steps, settings.flip, np.bool_),
    }


def learning_rate(settings: Training, steps: int) -> optax.Schedule:
    """The learning rate at an update."""
    warmup = round(settings.warmup * steps)
    rate = settings.learning_rate
    if settings.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(0, rate, warmup, steps)
    if settings.schedule == "triangle":
        return optax.join_schedules(
            [
                optax.linear_schedule(0, rate, warmup),
                optax.linear_schedule(rate, 0, steps - warmup),
            ],
            [warmup],
        )
    drops = {round(drop * steps): 0.1 for drop in settings.drops}
    return optax.piecewise_constant_schedule(rate, drops)


@cached
def logits(net: Model) -> Callable:
    """A network's logits: one program for accuracies, answers and evidence."""
    return evaluate.make_logits(net.apply)


@cached
def correct(net: Model) -> evaluate.Correct:
    """Which examples a network gets right, compiled."""
    return evaluate.make_correct(net.apply, logits=logits(net))


@cached
def predict(net: Model) -> Callable:
    """The classes that a network predicts, compiled."""
    return evaluate.make_predict(net.apply, logits=logits(net))


@cached
def holdout_correct(net: Model, settings: Training) -> evaluate.Correct:
    """What a held-out part is judged by: the attack trained with, if any."""
    if settings.attack is None:
        return correct(net)
    pgd = attack(settings.attack, losses.cross_entropy(net.apply))
    return evaluate.make_correct(net.apply, lambda epsilon: pgd)


@cached
def probe(net: Model, settings: Features) -> features.Probe:
    """What measures the units of the representation."""
    # Units that are off could not be raised without the identity's gradient.
    return features.make_probe(
        features.representation(identity_relu(net)),
        settings.norm,
        steps=settings.steps,
        step_size=settings.step_size,
        certificate=settings.certificate,
    )


@cached
def autoattack(
    net: Model, norm: Norm, num_classes: int, settings: AutoAttack
) -> tuple[sequence.Program, ...]:
    """AutoAttack's sequence, compiled."""
    components = attacks.autoattack(
        net.apply,
        THREATS[norm],
        num_classes,
        steps=settings.steps,
        targets=settings.targets,
        queries=settings.queries,
    )
    return sequence.make_programs(net.apply, components)
