"""From a config to functions: networks, attacks, optimizers, and all of them compiled.

With the experiments, the only modules that read configs.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nrf import attacks, data, evaluate, features, losses, models, synthesize
from nrf import train as training
from nrf.config import (
    PGD,
    Evaluation,
    Experiment,
    Features,
    Matching,
    Mislabelling,
    Network,
    Norm,
    Suite,
    Training,
)
from nrf.evaluate import sequence
from nrf.models import Model
from nrf.types import Attack, Loss

_THREATS = {"l2": attacks.l2, "linf": attacks.linf}


_ARCHITECTURES = {
    "small": models.Small,
    "mlp": models.MLP,
    "resnet18": models.ResNet18,
    "resnet50": models.ResNet50,
    "vgg16": models.VGG16,
    "inception_v3": models.InceptionV3,
    "densenet121": models.DenseNet121,
}


def network(settings: Network, num_classes: int, *, identity_relu=False) -> Model:
    """The model that the settings describe."""
    shapes: dict[str, dict[str, Any]] = {
        "small": {"widths": settings.widths, "patch": settings.patch},
        "mlp": {"widths": settings.widths},
    }
    shape = shapes.get(settings.name, {"width": settings.width})
    architecture: Any = _ARCHITECTURES[settings.name]
    model = architecture(
        settings.mean, settings.std, dtype=settings.dtype, **shape
    ).build(num_classes)
    return model._replace(apply=model.identity_relu) if identity_relu else model


def attack(settings: PGD, loss: Loss) -> Attack:
    """The attack that the settings describe, climbing `loss`."""
    return attacks.pgd(
        loss,
        _THREATS[settings.norm](settings.epsilon),
        steps=settings.steps,
        step_size=settings.step_size,
        random_start=settings.random_start,
        restarts=settings.restarts,
        keep_best=settings.keep_best,
    )


def attack_at(settings: Evaluation, model: Model) -> Callable[[jax.Array], Attack]:
    """The attack that evaluates the model, for any radius."""
    loss = getattr(losses, settings.loss)(model.apply)

    def at(epsilon):
        return attacks.pgd(
            loss,
            _THREATS[settings.norm](epsilon),
            steps=settings.steps,
            step_size=epsilon * settings.crossings / settings.steps,
            random_start=settings.restarts > 1,
            restarts=settings.restarts,
        )

    return at


def trainer(
    model: Model, settings: Training, examples: int
) -> tuple[optax.GradientTransformation, Callable]:
    """Optimizer, and compiled update, for that many training examples."""
    chain = optimizer(settings, settings.epochs * (examples // settings.batch_size))
    loss = losses.cross_entropy(model.apply)
    step = training.make_step(
        model,
        chain,
        attack=attack(settings.attack, loss) if settings.attack else None,
        augment=functools.partial(data.augment, pad=settings.pad, flip=settings.flip),
    )
    return chain, training.make_update(step)


def optimizer(settings: Training, steps: int) -> optax.GradientTransformation:
    """SGD with Nesterov momentum; weight decay on all parameters, as the paper's."""
    warmup = round(settings.warmup * steps)
    rate = settings.learning_rate
    if settings.schedule == "cosine":
        schedule = optax.warmup_cosine_decay_schedule(0, rate, warmup, steps)
    elif settings.schedule == "triangle":
        schedule = optax.join_schedules(
            [
                optax.linear_schedule(0, rate, warmup),
                optax.linear_schedule(rate, 0, steps - warmup),
            ],
            [warmup],
        )
    else:
        drops = {round(drop * steps): 0.1 for drop in settings.drops}
        schedule = optax.piecewise_constant_schedule(rate, drops)
    return optax.chain(
        optax.add_decayed_weights(settings.weight_decay),
        optax.sgd(
            # As a float: Optax divides the integer that it counts in, and the package
            # runs with implicit promotion forbidden.
            lambda step: schedule(jnp.float32(step)),
            settings.momentum or None,
            nesterov=True,
        ),
    )


def perturb(settings: Mislabelling, network_settings: Network, num_classes: int):
    """The compiled attack towards labels, for `nrf.synthesize.mislabel`."""
    model = network(network_settings, num_classes, identity_relu=settings.identity_relu)
    loss = losses.negate(losses.cross_entropy(model.apply))
    return synthesize.make_mislabel(model.apply, attack(settings.attack, loss))


class NetworkPrograms:
    """The compiled functions of one network's settings, for all who train or test it.

    `correct` tells which examples are right without an attack, `predict` the classes.
    """

    def __init__(self, settings: Network, num_classes: int):
        self.model = network(settings, num_classes)
        self.loss = losses.cross_entropy(self.model.apply)
        self.correct = evaluate.make_correct(self.model.apply)
        self.predict = evaluate.make_predict(self.model.apply)

    @functools.cache  # noqa: B019  (lives as long as the run)
    def trainer(self, settings: Training, examples: int):
        return trainer(self.model, settings, examples)

    @functools.cache  # noqa: B019
    def holdout_correct(self, settings: Training):
        """What a held-out part is judged by: the attack trained with, if any."""
        if settings.attack is None:
            return self.correct
        pgd = attack(settings.attack, self.loss)
        return evaluate.make_correct(self.model.apply, lambda epsilon: pgd)


class Programs(NetworkPrograms):
    """The compiled functions of the main experiment, shared by seeds and networks."""

    def __init__(self, config: Experiment, num_classes: int):
        super().__init__(config.network, num_classes)
        self.num_classes = num_classes
        self.perturb = perturb(config.mislabelling, config.network, num_classes)
        # Units that are off could not be raised, or matched, without it.
        self.identity = network(config.network, num_classes, identity_relu=True)
        self.units = features.representation(self.identity.apply)

    def checks(self, settings: Evaluation) -> evaluate.Checks:
        """The attack that evaluates, and what tells whether it can be believed."""
        # What changes no program is left out.
        return self._checks(replace(settings, epsilons=(), refuse=False, batch_size=2))

    @functools.cache  # noqa: B019
    def _checks(self, settings: Evaluation) -> evaluate.Checks:
        apply, threat = self.model.apply, _THREATS[settings.norm]
        twice = replace(settings, steps=2 * settings.steps)

        def blind(epsilon):
            return attacks.square(
                losses.margin(apply), threat(epsilon), queries=settings.queries
            )

        return evaluate.make_checks(
            apply,
            getattr(losses, settings.loss)(apply),
            threat,
            attack_at(settings, self.model),
            crossings=settings.crossings,
            more_steps=attack_at(twice, self.model),
            other=blind if settings.queries else None,
        )

    @functools.cache  # noqa: B019
    def match(self, settings: Matching):
        """Feature matching, for `nrf.synthesize.robustify`."""
        model = self.identity if settings.identity_relu else self.model
        return synthesize.make_robustify(
            model.apply,
            lambda loss: attacks.pgd(
                loss,
                attacks.free(),
                steps=settings.steps,
                step_size=settings.step_size,
            ),
        )

    @functools.cache  # noqa: B019
    def isolate(self, settings: PGD):
        """The attack that other networks are to withstand, for `mislabel`."""
        loss = losses.negate(losses.disentangled(self.loss))
        return synthesize.make_isolate(self.model.apply, attack(settings, loss))

    @functools.cache  # noqa: B019
    def probe(self, settings: Features) -> features.Probe:
        """What measures the units of the representation."""
        return features.make_probe(
            self.units,
            settings.norm,
            steps=settings.steps,
            step_size=settings.step_size,
            certificate=settings.certificate,
        )

    @functools.cache  # noqa: B019
    def suite(self, settings: Suite, norm: Norm) -> tuple[sequence.Program, ...]:
        """AutoAttack's sequence, for `nrf.suite.run`."""
        components = attacks.autoattack(
            self.model.apply,
            _THREATS[norm],
            self.num_classes,
            steps=settings.steps,
            targets=settings.targets,
            queries=settings.queries,
        )
        return sequence.make_programs(self.model.apply, components)
