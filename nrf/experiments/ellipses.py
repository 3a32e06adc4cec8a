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
from jax.sharding import Mesh

from nrf import devices, evaluate, train
from nrf.config import Ellipses
from nrf.experiments import build
from nrf.types import Dataset, Key


def load(settings: Ellipses, seed: int) -> tuple[Dataset, Dataset]:
    """Training and test set of images [N, 1, 1, 2], even within their ellipses."""
    first, second = np.random.SeedSequence(seed).spawn(2)
    return _draw(np.random.default_rng(first), settings), _draw(
        np.random.default_rng(second), settings
    )


def run(settings: Ellipses, seed: int, mesh: Mesh, *, grid: int = 60) -> dict[str, Any]:
    """Trains both networks; what they get right, and their margins on a grid.

    Raises:
      ValueError: the batches do not fit the examples or the devices.
      FloatingPointError: a training diverged.
    """
    train_set, test_set = load(settings, seed)
    key = jax.random.key(seed)
    model = build.network(settings.network, 2)
    correct = evaluate.make_correct(model.apply)
    robustly_correct = evaluate.make_correct(
        model.apply, build.attack_at(settings.evaluation, model)
    )
    (epsilon,) = settings.evaluation.epsilons
    # Room for the balls of the adversary.
    reach = np.asarray(settings.centre) + settings.axes + 1.5 * epsilon
    first, second = (np.linspace(0.5 - r, 0.5 + r, grid) for r in reach)
    plane = np.stack(np.meshgrid(first, second), -1).astype(np.float32)

    def fit(key: Key, name: str) -> dict[str, Any]:
        how = settings.standard if name == "standard" else settings.robust
        key_init, key_train, key_score = jax.random.split(key, 3)
        chain, update = build.trainer(model, how, len(train_set.labels))
        state = train.init(key_init, model, chain, jnp.asarray(train_set.images[:1]))
        epochs = train.epochs(
            key_train,
            state,
            update,
            train_set,
            count=how.epochs,
            batch_size=how.batch_size,
            mesh=mesh,
        )
        *_, (state, _) = epochs
        params = devices.fetch(state.params)
        scores = [
            evaluate.score(
                jax.random.clone(key_score),
                test,
                params,
                test_set,
                epsilon=epsilon,
                batch_size=settings.evaluation.batch_size,
                mesh=mesh,
            )
            for test in (correct, robustly_correct)
        ]
        logits = model.apply(params, jnp.asarray(plane.reshape(-1, 1, 1, 2))).logits
        return {
            "training": name,
            "correct": scores[0].correct,
            "robustly_correct": scores[1].correct,
            "total": scores[0].total,
            "margins": (logits[:, 1] - logits[:, 0]).reshape(grid, grid),
        }

    names = ("standard", "adversarial")
    return {
        "epsilon": epsilon,
        "centre": settings.centre,
        "axes": settings.axes,
        "points": test_set.images[:300].reshape(-1, 2),
        "labels": test_set.labels[:300],
        "first": first,
        "second": second,
        "networks": [
            fit(key, name)
            for key, name in zip(jax.random.split(key), names, strict=True)
        ],
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
