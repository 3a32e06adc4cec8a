"""Two ellipses (appendix D.10): robust and accurate is possible, and is not found.

The ellipses are long and thin and lie obliquely to each other. A vertical line between
them leaves room to spare. A line that also uses the thin direction leaves more in units
of the data's spread, and next to nothing in ℓ2. Networks normalise their channels, so
standard training takes the second: its metric is not the adversary's.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf import evaluate
from nrf.config import Ellipses, Evaluation
from nrf.experiments import build, climbs
from nrf.experiments.networks import check_training, fit, trained
from nrf.runs import Env, Steps
from nrf.runs.steps import given
from nrf.types import Dataset, Key, Network


def load(settings: Ellipses, seed: int) -> tuple[Dataset, Dataset]:
    """Training and test set of images [N, 1, 1, 2], even within their ellipses."""
    first, second = np.random.SeedSequence(seed).spawn(2)
    return _draw(np.random.default_rng(first), settings), _draw(
        np.random.default_rng(second), settings
    )


def run(settings: Ellipses, step: Steps, *, grid: int = 60) -> dict[str, Any]:
    """Both networks: what they get right, and their margins on a grid of the plane.

    Raises:
      ValueError: the batches do not fit the examples or the devices.
      FloatingPointError: a training diverged.
    """
    train_set, test_set = load(settings, step.seed)
    for training in (settings.standard, settings.robust):
        check_training(training, settings.examples, step.env.mesh)
    D, test = given("ellipses", train_set), given("ellipses to test", test_set)
    (epsilon,) = settings.evaluation.epsilons
    # Room for the balls of the adversary.
    reach = np.asarray(settings.centre) + settings.axes + 1.5 * epsilon
    first, second = (np.linspace(0.5 - r, 0.5 + r, grid) for r in reach)
    networks = []
    trainings = {"standard": settings.standard, "adversarial": settings.robust}
    for name, training in trainings.items():
        made = step(name, fit, D, test, network=settings.network, training=training)
        tested = step(
            f"score_{name}",
            _test,
            trained(made, settings.network, 2),
            test,
            evaluation=settings.evaluation,
            first=first,
            second=second,
        )
        networks.append({"training": name, **tested.value})
    return {
        "epsilon": epsilon,
        "centre": settings.centre,
        "axes": settings.axes,
        "points": test_set.images[:300].reshape(-1, 2).tolist(),
        "labels": test_set.labels[:300].tolist(),
        "first": first.tolist(),
        "second": second.tolist(),
        "networks": networks,
    }


def _test(
    key: Key,
    network: Network,
    test: Dataset,
    *,
    evaluation: Evaluation,
    first: np.ndarray,
    second: np.ndarray,
    env: Env,
) -> dict[str, Any]:
    """What the network gets right, and its margins on the grid first x second."""
    model, params = network
    (epsilon,) = evaluation.epsilons
    right, robustly_right = (
        evaluate.score(
            jax.random.clone(key),
            correct,
            params,
            test,
            epsilon=epsilon,
            batch_size=env.work.evaluation_batch,
            mesh=env.mesh,
            shards=env.shards,
        )
        for correct in (
            build.correct(model),
            evaluate.make_correct(
                model.apply, climbs.attack_at(evaluation, model.apply)
            ),
        )
    )
    plane = np.stack(np.meshgrid(first, second), -1).astype(np.float32)
    logits = model.apply(params, jnp.asarray(plane.reshape(-1, 1, 1, 2))).logits
    margins = (logits[:, 1] - logits[:, 0]).reshape(len(first), len(second))
    return {
        "correct": right.correct,
        "robustly_correct": robustly_right.correct,
        "total": right.total,
        "margins": np.asarray(margins).tolist(),
    }


def _draw(generator: np.random.Generator, settings: Ellipses) -> Dataset:
    labels = generator.permutation(np.arange(settings.examples, dtype=np.int32) % 2)
    angle = 2 * np.pi * generator.random(settings.examples)
    # The root makes the ellipse uniformly filled.
    radius = np.sqrt(generator.random(settings.examples))
    disc = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    centres = (2 * labels[:, None] - 1) * np.asarray(settings.centre)
    points = 0.5 + centres + disc * settings.axes
    images = points.astype(np.float32).reshape(-1, 1, 1, 2)
    return Dataset(images, labels, ("left", "right"))
