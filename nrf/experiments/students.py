"""Learners of other kinds on D and on the sets of the figure: for whom effects hold.

A set made with one network may teach another kind something else. Every student of the
config is trained on D and on each set of the figure, and tested as the figure's own
networks are; of linear students the worst case is known exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf.config import Experiment, Norm
from nrf.experiments.networks import Row, fit, score, trained
from nrf.models import Linear
from nrf.runs import Cost, Env, Made, Steps, costs
from nrf.types import Dataset, Key, Network


def pairs(config: Experiment) -> Iterator[tuple[str, str, str]]:
    """Names of networks, of their students, and of the sets that these learn."""
    for learner in config.learners:
        for on in config.lessons:
            yield f"{learner}_on_{on}", learner, on


def run(config: Experiment, step: Steps, made: dict[str, Made]) -> list[Row]:
    """The rows of all students' networks, which are added to `made`.

    Those of linear students under attack have "exact": how many test images no
    perturbation of that length can change, pixels outside of [0, 1] included. The
    robust accuracy lies between it and what the attack leaves.
    """
    test, rows = made["test"], []
    count = len(test.value.labels)
    for name, learner, on in pairs(config):
        student = config.learners[learner]
        options = {"network": student.network, "training": student.training}
        fitted = step(name, fit, made[on], test, **options)
        made[name] = trained(fitted, student.network, made["D"].value.num_classes)
        evaluation = config.tested(on)
        scored = score(step, made[name], test, evaluation, count=count)
        if isinstance(student.network, Linear) and evaluation.epsilons:
            norm = evaluation.norm
            found = step(f"distances_{name}", _distances, made[name], test, norm=norm)
            for row in scored:
                if row["epsilon"]:
                    far = np.greater(found.value["distances"], row["epsilon"])
                    row["exact"] = int(far.sum())
        rows += scored
    return rows


def described(config: Experiment, sets: Sequence[Row]) -> list[Row]:
    """The students' networks, as reports call them; `sets` are described already."""
    told: dict[str, Mapping[str, Any]] = {one["name"]: one for one in sets}
    networks = []
    for name, learner, on in pairs(config):
        about = told.get(on, {"title": on, "text": ""})
        attack = config.learners[learner].training.attack
        networks.append(
            {
                "name": name,
                "title": f"{about['title']}, {learner}",
                "trained_on": on,
                "training": "adversarial" if attack else "standard",
                "group": "students",
                "learner": learner,
                "text": about["text"],
            }
        )
    return networks


@costs(lambda network, test, *, norm: Cost(len(test.labels), len(test.labels)))
def _distances(
    key: Key, network: Network, test: Dataset, *, norm: Norm, env: Env
) -> dict[str, np.ndarray]:
    weights, bias = affine(network, test.images.shape[1:])
    env.tick(len(test.labels))
    return {"distances": distances(weights, bias, test.images, test.labels, norm)}


def affine(network: Network, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Weights [K, H W C] and bias [K] of a network that is linear in the pixels."""

    def logits(x):
        return network.model.apply(network.params, x[None]).logits[0]

    origin = jnp.zeros(shape, jnp.float32)
    weights, bias = jax.jacrev(logits)(origin), logits(origin)
    return np.asarray(weights, float).reshape(len(bias), -1), np.asarray(bias, float)


def distances(
    weights: np.ndarray,
    bias: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    norm: Norm,
) -> np.ndarray:
    """[N] how far from each image another class begins, by the logits W x + b.

    min over k ≠ y of (z_y − z_k) / ‖w_y − w_k‖, in the dual norm; in [0, 1] pixels, and
    negative where the image is taken for another class already. Pixels may leave
    [0, 1].
    """
    logits = images.reshape(len(images), -1) @ weights.T + bias
    gaps = np.take_along_axis(logits, labels[:, None], 1) - logits
    between = weights[labels][:, None] - weights[None]  # [N, K, H W C]
    sizes = np.linalg.norm(between, {"l2": 2, "linf": 1}[norm], axis=2)
    # Classes with the same weights are never reached from each other.
    away = gaps / np.maximum(sizes, 1e-200)
    away[np.arange(len(labels)), labels] = np.inf
    return away.min(1)
