"""The steps that every experiment shares: networks are trained and tested."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf import devices, evaluate, train
from nrf.config import Evaluation, Training
from nrf.config.parts import evenly_spaced
from nrf.evaluate import Evidence, statistics
from nrf.experiments import build, climbs
from nrf.experiments.averages import averaged
from nrf.experiments.folds import keeping
from nrf.rows import part
from nrf.runs import Cost, Env, Made, Steps, Trained, costs
from nrf.runs.manifest import content
from nrf.runs.provenance import describe
from nrf.types import Dataset, Key, Network

Row = dict[str, Any]


def _fit_cost(dataset: Dataset, test: Dataset, *, network, training: Training) -> Cost:
    kept = train.kept(len(dataset.labels), training.holdout)
    # The last incomplete batch of an epoch is left out.
    whole = kept // training.batch_size * training.batch_size
    steps = training.attack.steps if training.attack else 0
    return Cost(training.epochs * whole, training.epochs * whole * (1 + steps))


@costs(_fit_cost)
def fit(
    key: Key,
    dataset: Dataset,
    test: Dataset,
    *,
    network: Any,
    training: Training,
    env: Env,
) -> Trained:
    """A fresh network, trained on `dataset`; its history has accuracies on `test`.

    Raises:
      ValueError: batches do not fit the examples or the devices.
      FloatingPointError: the training diverged.
    """
    check_training(training, len(dataset.labels), env.mesh)
    key_init, key_train, key_holdout = jax.random.split(key, 3)
    net = build.model(network, dataset.num_classes)
    dataset, holdout = train.hold_out(key_holdout, dataset, training.holdout)
    optimizer, update = build.trainer(net, training)
    accuracy = _accuracy(build.correct(net), test, env)
    chosen_by = _accuracy(build.holdout_correct(net, training), holdout, env)
    seen = jnp.asarray(dataset.images[: net.examples])
    state = train.init(key_init, net, optimizer, seen)
    each = len(dataset.labels) // training.batch_size
    with keeping(train.Position(0, state, ()), env, training.epochs, each) as keep:
        env.tick(keep.updates * training.batch_size)
        for trained, metrics in train.epochs(
            key_train,
            keep.now.at,
            update,
            dataset,
            count=training.epochs,
            batch_size=training.batch_size,
            mesh=devices.for_training(env.mesh),
            schedule=build.schedule(training, training.epochs * each),
            resident=env.work.resident,
            updates=env.work.updates,
            tick=env.tick,
            keep=keep,
        ):
            weights = averaged(trained)
            measured = {
                "epoch": keep.now.at.epoch + 1,
                "loss": float(metrics.loss),
                "accuracy": float(metrics.accuracy),
                "test_accuracy": accuracy(weights),
            }
            best, params = keep.now.best, keep.now.params
            if len(holdout.labels):
                measured["holdout_accuracy"] = chosen_by(weights)
                if measured["holdout_accuracy"] > best:
                    best = measured["holdout_accuracy"]
                    params = jax.device_get(weights)
            keep.epoch(measured, best, params)
            env.metrics(measured)
    params, at = keep.now.params, keep.now.at
    params = params or jax.device_get(averaged(at.state))
    return Trained(params, [*keep.now.history])


def _accuracy(
    correct: evaluate.Correct, dataset: Dataset, env: Env
) -> Callable[[Any], float]:
    """The accuracy that parameters have on `dataset`, which stays on the devices."""
    held: dict | None = {} if dataset.images.nbytes <= env.work.resident else None

    def accuracy(params):
        # No random numbers are drawn, or the same for every epoch.
        return evaluate.score(
            jax.random.key(0),
            correct,
            params,
            dataset,
            batch_size=env.work.evaluation_batch,
            mesh=env.mesh,
            held=held,
        ).accuracy

    return accuracy


def trained(made: Made, architecture: Any, num_classes: int) -> Made:
    """The network that `fit` made, as an input of steps."""
    network = Network(build.model(architecture, num_classes), made.value.params)
    return Made(made.name, network, content([describe(architecture), made.digest]))


def check_training(training: Training, examples: int, mesh: Any) -> None:
    """Raises ValueError if batches do not fit that many examples or the devices."""
    kept = train.kept(examples, training.holdout)
    if not training.batch_size <= kept:
        raise ValueError(
            f"batch_size must be in 1 .. {kept}, the number of examples, got "
            f"{training.batch_size}."
        )
    devices.check_batch(mesh, training.batch_size)


def parameters(architecture: Any, dataset: Dataset) -> Any:
    """The shapes of the architecture's variables for images like these."""
    net = build.model(architecture, dataset.num_classes)
    x = jax.ShapeDtypeStruct((2, *dataset.images.shape[1:]), jnp.float32)
    return jax.eval_shape(net.init, jax.random.key(0), x)


def check_network(architecture: Any, dataset: Dataset) -> None:
    """Raises ValueError where images do not fit the architecture, before any work."""
    net = build.model(architecture, dataset.num_classes)
    x = jax.ShapeDtypeStruct((2, *dataset.images.shape[1:]), jnp.float32)
    logits = jax.eval_shape(net.apply, parameters(architecture, dataset), x).logits
    if logits.shape != (2, dataset.num_classes):
        raise ValueError(
            f"{type(architecture).__name__} gives logits {logits.shape[1:]} for an "
            f"image, and the data have {dataset.num_classes} classes; is num_classes "
            "used by its build(num_classes)?"
        )


def score(
    step: Steps, network: Made, on: Made, evaluation: Evaluation, *, count: int
) -> list[Row]:
    """Accuracies of a network, without attack and at every radius; a step for each.

    On the first `count` examples of `on`. Those under attack have their evidence.

    Raises:
      ValueError: an accuracy is not believable, and the run refuses it.
    """
    clean = step(f"{_name(network, on)}_clean", _clean, network, on, count=count)
    row = {"attack": "none", "norm": None, "epsilon": 0.0, "steps": 0}
    return [
        {"network": network.name, "tested_on": on.name, **row, **clean.value},
        *score_attacked(step, network, on, evaluation, count=count),
    ]


def score_attacked(
    step: Steps,
    network: Made,
    on: Made,
    evaluation: Evaluation,
    *,
    count: int,
    thorough: bool = True,
) -> list[Row]:
    """The rows of `score` under attack; evidence is thorough where both allow it."""
    name = _name(network, on)
    if not thorough:
        name += f"_{evaluation.steps}_{evaluation.loss}"
    plain = evaluation.loss == "cross_entropy"
    rows = []
    deep = evaluation.epsilons if evaluation.thorough is None else evaluation.thorough
    for epsilon in evaluation.epsilons:
        made = step(
            f"{name}_{evaluation.norm}_{epsilon:g}",
            _attacked,
            network,
            on,
            # A radius more or less is no other evaluation.
            evaluation=evaluation.at(),
            epsilon=epsilon,
            count=count,
            thorough=thorough and epsilon in deep,
            draws=name,  # All radii draw the same random numbers.
        )
        if step.env.work.refuse:
            Evidence.from_dict(made.value["evidence"]).refuse()
        rows.append(
            {
                "network": network.name,
                "tested_on": on.name,
                "attack": "pgd" if plain else f"pgd {evaluation.loss}",
                "norm": evaluation.norm,
                "epsilon": epsilon,
                "steps": evaluation.steps,
                **made.value,
            }
        )
    return rows


def _name(network: Made, on: Made) -> str:
    where = "" if on.name == "test" else f"_at_{on.name}"
    return f"score_{network.name}{where}"


def first(dataset: Dataset, count: int) -> Dataset:
    """The first `count` examples."""
    images = part(dataset.images, slice(count))
    return Dataset(images, dataset.labels[:count], dataset.names)


def spaced(dataset: Dataset, count: int) -> Dataset:
    """So many examples, evenly spaced."""
    chosen = evenly_spaced(count, len(dataset.labels))
    images = part(dataset.images, chosen)
    return Dataset(images, dataset.labels[chosen], dataset.names)


def counted(right: np.ndarray) -> Row:
    """How many of images [N] are right, and which, so that rows can be compared."""
    return {
        "correct": int(right.sum()),
        "total": len(right),
        "right": statistics.pack(right),
    }


@costs(lambda network, on, *, count: Cost(count, count))
def _clean(key: Key, network: Network, on: Dataset, *, count: int, env: Env) -> Row:
    return counted(
        evaluate.right(
            key,
            build.correct(network.model),
            network.params,
            first(on, count),
            batch_size=env.work.evaluation_batch,
            mesh=env.mesh,
            tick=env.tick,
            shards=env.shards,
        )
    )


def _attacked_cost(network, on, *, evaluation, epsilon, count, thorough) -> Cost:
    passes = climbs.checks(network.model, evaluation).passes(thorough)
    # Twice the steps where it is thorough, beside the attack and a larger radius; and
    # of every image four gradients and some ten times the logits.
    steps = evaluation.steps * evaluation.restarts * (4 if thorough else 1)
    return Cost(passes * count, count * (steps + 8))


@costs(_attacked_cost)
def _attacked(
    key: Key,
    network: Network,
    on: Dataset,
    *,
    evaluation: Evaluation,
    epsilon: float,
    count: int,
    thorough: bool,
    env: Env,
) -> Row:
    evidence, withstood = evaluate.gather(
        key,
        climbs.checks(network.model, evaluation),
        network.params,
        first(on, count),
        epsilon=epsilon,
        batch_size=env.work.evaluation_batch,
        mesh=env.mesh,
        thorough=thorough,
        tick=env.tick,
        shards=env.shards,
    )
    return {**counted(withstood), "evidence": evidence.as_dict()}
