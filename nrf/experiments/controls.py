"""What the discussion of the paper asked for: controls of what D_rand and D_det show.

Random perturbations of the same norms; unchanged images with a network's wrong labels
(Wallace); attacks that mean nothing to other networks (Nakkiran); what robust linear
features know, and where linear features lie (Goh).
"""

from dataclasses import asdict, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf import devices, evaluate, features, synthesize
from nrf.attacks import example_keys
from nrf.config import Bugs, Controls, Errors, Leakage, Network, Plane, Training
from nrf.experiments.build import NetworkPrograms
from nrf.experiments.seeds import Tick
from nrf.experiments.stages import TARGETS, Row, Stages
from nrf.runs.formats import JSON
from nrf.types import Key


def run(of: Stages, settings: Controls) -> dict[str, Any]:
    """Makes the stages of one seed, after those of the main experiment.

    Returns "rows" of networks trained on the controls' sets, and "bugs", "leakage" and
    "plane" where these were asked for.
    """
    rows: list[Row] = []
    found: dict[str, Any] = {"rows": rows}
    if settings.noise:
        for name in TARGETS:
            rows += noise(of, name)
    if settings.errors:
        rows += errors(of, settings.errors)
    if settings.bugs:
        rows += bugs(of, settings.bugs)
        found["bugs"] = reached(of)
    if settings.leakage:
        found["leakage"] = leakage(of, settings.leakage)
    # Of D alone: the same for all seeds.
    if settings.plane and of.seed == of.config.seeds[0]:
        found["plane"] = plane(of, settings.plane)
    return found


def noise(of: Stages, name: str) -> list[Row]:
    """The labels of `name`, on D moved as far as it was there, but anywhere.

    All images are moved by the mean norm. By its own each would tell its label: where
    D_rand's target is the true class, the attack has nothing to do and goes less far.
    """
    made, dataset = of.done[name], of.sets["D"]

    def norms(images: np.ndarray) -> np.ndarray:
        moved = images.astype(np.float32) - dataset.images
        return np.linalg.norm(moved.reshape(len(images), -1), axis=1)

    def build(key: Key, tick: Tick) -> tuple:
        length = jnp.float32(norms(made.images).mean())
        key = devices.copy(of.work.mesh, key)

        def push(indices, x):
            lengths = jnp.full(len(x), length)
            return synthesize.random_push(example_keys(key, indices), x, lengths)

        images = devices.map_examples(
            push,
            (np.arange(len(made.labels)), dataset.images),
            batch_size=of.work.synthesis_batch,
            mesh=of.work.mesh,
            tick=tick,
        )
        measured = {
            "mean_norm": float(length),
            "mean_norm_noise": float(norms(images).mean()),
        }
        return images, made.labels, np.arange(len(images)), measured

    of.make(f"{name}_shaken", None, build, source=name)
    return learn(of, f"{name}_shaken", getattr(of.config.on, name))


def errors(of: Stages, settings: Errors) -> list[Row]:
    """Images as they are, with the wrong labels of a network trained too little."""
    of.learn("labeller", settings.labeller, "D")
    dataset = of.sets["D"]

    def build(key: Key, tick: Tick) -> tuple:
        said = evaluate.predictions(
            of.programs.predict,
            of.done["labeller"].params,
            dataset.images,
            batch_size=of.work.evaluation_batch,
            mesh=of.work.mesh,
            tick=tick,
        )
        wrong = np.flatnonzero(said != dataset.labels)
        least = settings.student.batch_size
        if len(wrong) < least:
            raise ValueError(
                f"the labeller gets {len(wrong)} images of D wrong, fewer than a batch "
                f"of {least}; give it fewer epochs (--controls.errors.labeller.epochs) "
                "or its student a smaller batch."
            )
        measured = {"wrong": len(wrong) / len(said)}
        return dataset.images[wrong], said[wrong], wrong, measured

    of.make("D_errors", None, build, source="labeller")
    return learn(of, "D_errors", settings.student)


def bugs(of: Stages, settings: Bugs) -> list[Row]:
    """D_det by attacks that networks like the source withstand."""
    others = [f"other{i}" for i in range(settings.others)]
    for name in (*others, "fresh"):
        of.learn(name, of.config.standard, "D")

    def build(key: Key, tick: Tick) -> tuple:
        dataset = of.sets["D"]
        stacked = [of.done[name].params for name in others]
        params = {
            "source": of.done["standard"].params,
            "others": jax.tree.map(lambda *parts: np.stack(parts), *stacked),
        }
        labels = jnp.asarray(dataset.labels)
        return of.mislabel(
            key,
            of.programs.isolate(settings.attack),
            settings.attack.norm,
            params,
            dataset,
            synthesize.next_class(labels, dataset.num_classes),
            tick,
        )

    of.make("D_bugs", settings.attack, build, source="standard", inputs=others)
    return learn(of, "D_bugs", settings.student)


def reached(of: Stages) -> dict[str, Any]:
    """How many images of D_det and of D_bugs networks take for their new label."""
    sets = ("D_det", "D_bugs")

    def make(key: Key, tick: Tick) -> dict[str, dict[str, int]]:
        return {
            name: {
                network: evaluate.score(
                    jax.random.clone(key),
                    of.programs.correct,
                    of.done[network].params,
                    of.dataset(name),
                    batch_size=of.work.evaluation_batch,
                    mesh=of.work.mesh,
                    tick=tick,
                ).correct
                for network in ("standard", "fresh")
            }
            for name in sets
        }

    total = len(of.sets["D"].labels)
    inputs = [*sets, "standard", "fresh"]
    network = of.config.network
    made = of.stage("reached", 4 * total, network, {}, inputs, make, JSON)
    return {"seed": of.seed, "total": total, **made}


def leakage(of: Stages, settings: Leakage) -> dict[str, Any]:
    """What a linear classifier of robust linear features learns from wrong labels."""
    dataset = of.sets["D"]
    network = linear_network(of.config.network)
    programs = NetworkPrograms(network, dataset.num_classes)
    of.fit("linear", network, programs, settings.linear, "D")
    attack = settings.linear.attack
    assert attack is not None  # The config refuses it.

    def make(key: Key, tick: Tick) -> dict[str, Any]:
        def logits(x):
            return programs.model.apply(of.done["linear"].params, x[None]).logits[0]

        # What an output does with the pixels; the same at every image.
        a = jax.jacrev(logits)(jnp.asarray(dataset.images[0]))
        return features.leakage(
            key,
            np.asarray(a).reshape(len(a), -1),
            dataset,
            {name: of.dataset(name) for name in ("D", *TARGETS)},
            of.sets["test"],
            epsilon=settings.epsilon,
            norm=attack.norm,
        )

    about = {"epsilon": settings.epsilon}
    inputs = ["linear", "D", *TARGETS, "test"]
    found = of.stage("leakage", 0, network, about, inputs, make, JSON)
    return {"seed": of.seed, **found}


def plane(of: Stages, settings: Plane) -> dict[str, Any]:
    """Linear features of two classes of D, of no network."""

    def make(key: Key, tick: Tick) -> dict[str, Any]:
        return features.plane(of.sets["D"], of.sets["test"], **asdict(settings))

    network = linear_network(of.config.network)
    about = {"plane": asdict(settings)}
    return of.stage("plane", 0, network, about, ["D", "test"], make, JSON)


def linear_network(network: Network) -> Network:
    return replace(network, name="mlp", widths=(), dtype="float32")


def learn(of: Stages, made: str, settings: Training) -> list[Row]:
    """A fresh network on a control's set: its row without attack, and its confusion.

    That is [K][K] counts of test images by their class and what the network says. A
    network without a lesson gives most images of a class one label, and is right for
    far more or fewer than one in K by luck; the counts tell by how much.
    """
    name, test_set = f"on_{made}", of.sets["test"]
    of.learn(name, settings, made)

    def make(key: Key, tick: Tick) -> list[list[int]]:
        said = evaluate.predictions(
            of.programs.predict,
            of.done[name].params,
            test_set.images,
            batch_size=of.work.evaluation_batch,
            mesh=of.work.mesh,
            tick=tick,
        )
        found = np.zeros((test_set.num_classes,) * 2, int)
        np.add.at(found, (test_set.labels, said), 1)
        return found.tolist()

    total, network = len(test_set.labels), of.config.network
    inputs = [name, "test"]
    found = of.stage(f"confusion_{name}", total, network, {}, inputs, make, JSON)
    return [
        {
            **of.network(name),
            "tested_on": "test",
            "attack": "none",
            "norm": None,
            "epsilon": 0.0,
            "steps": 0,
            "correct": int(np.trace(found)),
            "total": total,
            "confusion": found,
        }
    ]
