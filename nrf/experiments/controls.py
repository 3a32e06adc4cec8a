"""What the discussion of the paper asked for: controls of what D_rand and D_det show.

Random perturbations of the same norms; unchanged images with a network's wrong labels
(Wallace); attacks that mean nothing to other networks (Nakkiran). What linear features
show (Goh) is in `nrf.experiments.linear`.
https://distill.pub/2019/advex-bugs-discussion
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf import attacks, devices, evaluate, losses, synthesize
from nrf.config import PGD, Experiment, Set
from nrf.experiments import build, linear
from nrf.experiments.networks import Row, counted
from nrf.experiments.recipes import attacked, constructed, norms, pushed
from nrf.rows import part
from nrf.runs import Constructed, Cost, Env, Made, Steps, costs
from nrf.types import Dataset, Key, Model, Network


def pushed_at_random(one: Set) -> Set:
    """The control of a set: its labels, on images pushed as far at random."""
    return replace(
        one,
        name=f"{one.name}_shaken",
        title=f"{one.name}, random push",
        recipe=RandomPush(),
        source=one.name,
    )


def run(
    config: Experiment, step: Steps, made: Mapping[str, Made]
) -> dict[str, list[Any]]:
    """Of one seed; sets and networks of `config.controls` are made already.

    Returns "controls", rows of networks on the controls' sets without attack; "asked",
    "leakage" and "plane" where these are in the config.
    """
    settings = config.controls
    assert settings is not None
    parts: dict[str, list[Any]] = {
        "controls": [
            confusion(step, made[f"on_{one.name}"], made["test"])
            for one in settings.sets
            if one.train
        ]
    }
    if all(settings.asked):
        parts["asked"] = [asked(step, made, *settings.asked)]
    if settings.leakage:
        parts["leakage"] = [linear.leakage(config, step, made, settings.leakage)]
    # Of D alone: the same for all seeds.
    if settings.plane and step.seed == config.seeds[0]:
        parts["plane"] = [linear.plane(step, made, settings.plane)]
    return parts


def confusion(step: Steps, network: Made, test: Made) -> Row:
    """A network's row without attack, with the counts behind it.

    These are [K][K] test images by their class and the class predicted. A network
    without a lesson gives most images of a class one label, and is right for far more
    or fewer than one in K by luck; the counts tell by how much.
    """
    counts = step(f"confusion_{network.name}", _confusion, network, test).value
    return {
        "network": network.name,
        "tested_on": test.name,
        "attack": "none",
        "norm": None,
        "epsilon": 0.0,
        "steps": 0,
        **counts,
    }


@costs(lambda network, test: Cost(len(test.labels), len(test.labels)))
def _confusion(key: Key, network: Network, test: Dataset, *, env: Env) -> Row:
    predicted = evaluate.predictions(
        build.predict(network.model),
        network.params,
        test.images,
        batch_size=env.work.evaluation_batch,
        mesh=env.mesh,
        tick=env.tick,
        shards=env.shards,
    )
    counts = np.zeros((test.num_classes,) * 2, int)
    np.add.at(counts, (test.labels, predicted), 1)
    return {**counted(predicted == test.labels), "confusion": counts.tolist()}


def asked(
    step: Steps,
    made: Mapping[str, Made],
    networks: tuple[str, ...],
    sets: tuple[str, ...],
) -> Row:
    """How many images of each set each network takes for their new label."""
    counts = {
        name: {
            network: step(
                f"asked_{network}_{name}", _asked, made[network], made[name]
            ).value["correct"]
            for network in networks
        }
        for name in sets
    }
    total = len(made["D"].value.labels)
    return {"seed": step.seed, "total": total, **counts}


@costs(lambda network, on: Cost(len(on.labels), len(on.labels)))
def _asked(key: Key, network: Network, on: Dataset, *, env: Env) -> dict[str, int]:
    return evaluate.score(
        key,
        build.correct(network.model),
        network.params,
        on,
        batch_size=env.work.evaluation_batch,
        mesh=env.mesh,
        tick=env.tick,
        shards=env.shards,
    )._asdict()


@dataclass(frozen=True)
class Isolate:
    """D_det by attacks that networks like the source withstand (Nakkiran).

    The sources are the one that is attacked, and those that are to keep the label.
    """

    attack: PGD  # Towards the next class.

    def cost(self, dataset: Dataset, source: Network, *others: Network) -> Cost:
        one = attacked(dataset, self.attack)
        return one._replace(passes=one.passes * (1 + len(others)))

    def __call__(
        self,
        key: Key,
        dataset: Dataset,
        source: Network,
        other: Network,
        *others: Network,
        env: Env,
    ) -> Constructed:
        stacked = [one.params for one in (other, *others)]
        params = {
            "source": source.params,
            "others": jax.tree.map(lambda *parts: np.stack(parts), *stacked),
        }
        labels = jnp.asarray(dataset.labels)
        targets = synthesize.next_class(labels, dataset.num_classes)
        perturb = _isolator(source.model, self.attack)
        return pushed(key, perturb, params, dataset, targets, self.attack, env)


@build.cached
def _isolator(net: Model, settings: PGD) -> Callable:
    loss = losses.negate(losses.disentangled(losses.cross_entropy(net.apply)))
    return synthesize.make_isolate(net.apply, build.attack(settings, loss))


@dataclass(frozen=True)
class RandomPush:
    """The labels of a set, on images moved as far as there, but in random directions.

    All images are moved by the mean norm. By its own each would tell its label: where
    D_rand's target is the true class, the attack has nothing to do and goes less far.
    """

    def cost(self, dataset: Dataset, other: Dataset) -> Cost:
        return Cost(len(dataset.labels), 0)

    def __call__(
        self, key: Key, dataset: Dataset, other: Dataset, *, env: Env
    ) -> Constructed:
        length = jnp.float32(norms(other.images, dataset.images).mean())
        mesh = devices.own(env.mesh)
        key = devices.copy(mesh, key)

        def push(indices, x):
            lengths = jnp.full(len(x), length)
            keys = attacks.example_keys(key, indices)
            return synthesize.random_push(keys, x, lengths)

        images = devices.map_examples(
            push,
            (np.arange(len(other.labels)), dataset.images),
            batch_size=env.work.synthesis_batch,
            mesh=mesh,
            tick=env.tick,
            shards=env.shards,
        )
        return constructed(
            dataset,
            images,
            other.labels,
            mean_norm=float(length),
            mean_norm_noise=norms(images, dataset.images).mean(),
        )


@dataclass(frozen=True)
class Mistakes:
    """Images as they are, with the wrong labels that the source gives them (Wallace).

    The source is a network trained too little; what it gets wrong is all of the set.
    """

    least: int  # Fewer mistakes than this are refused: the student's batch size.

    def cost(self, dataset: Dataset, source: Network) -> Cost:
        return Cost(len(dataset.labels), len(dataset.labels))

    def __call__(
        self, key: Key, dataset: Dataset, source: Network, *, env: Env
    ) -> Constructed:
        predicted = evaluate.predictions(
            build.predict(source.model),
            source.params,
            dataset.images,
            batch_size=env.work.evaluation_batch,
            mesh=env.mesh,
            tick=env.tick,
            shards=env.shards,
        )
        wrong = np.flatnonzero(predicted != dataset.labels)
        if len(wrong) < self.least:
            raise ValueError(
                f"the source gets {len(wrong)} images wrong, fewer than {self.least}, "
                "the batch of the network trained on them; give the source fewer "
                "epochs, or the student a smaller batch."
            )
        share = len(wrong) / len(predicted)
        images, labels = part(dataset.images, wrong), predicted[wrong]
        return constructed(dataset, images, labels, wrong, wrong=share)
