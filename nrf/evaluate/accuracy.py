"""Standard and robust accuracy of a network on a data set, with its interval."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import devices
from nrf.attacks import example_keys
from nrf.types import (
    Apply,
    Attack,
    Dataset,
    Images,
    Key,
    Labels,
    Params,
    check_images,
    check_labels,
)


class Score(NamedTuple):
    """So many right of so many: an accuracy that carries its n."""

    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy (Wilson, 1927)."""
        z = 1.959963984540054  # The 97.5 % point of the standard normal.
        n, p = self.total, self.accuracy
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        return max(0.0, centre - half), min(1.0, centre + half)


# correct(key, params, epsilon, indices, x, y) -> [B] bool
Correct = Callable[..., jax.Array]


def make_correct(
    apply: Apply, attack_at: Callable[[jax.Array], Attack] | None = None
) -> Correct:
    """A compiled test of which examples a network gets right, at any radius.

    `attack_at(epsilon)` makes the attack of that radius; one compiled program serves
    all radii, networks and data sets of one shape. With an attack, an example counts
    when the network is right at x and at the attacked x.
    """

    def correct(key, params, epsilon, indices, x, y):
        right = jnp.argmax(apply(params, x).logits, -1) == y
        if attack_at is None:
            return right
        keys = example_keys(key, indices)
        x_adv = attack_at(epsilon)(keys, params, x, y)
        return right & (jnp.argmax(apply(params, x_adv).logits, -1) == y)

    return jax.jit(correct)


def make_says(apply: Apply) -> Callable[[Params, Images], Labels]:
    """What a network says of images [B, H, W, C], compiled: [B] classes."""
    return jax.jit(lambda params, x: jnp.argmax(apply(params, x).logits, -1))


def predictions(
    says: Callable[[Params, Images], Labels],
    params: Params,
    images: np.ndarray,
    *,
    batch_size: int,
    mesh: Mesh,
    tick: Callable[[int], None] = lambda examples: None,
) -> np.ndarray:
    """[N] int32 classes, by `says` from `make_says`, of images [N, H, W, C].

    Raises:
      ValueError: images outside [0, 1].
    """
    check_images(images)
    params = devices.copy(mesh, params)
    return devices.map_examples(
        lambda x: says(params, x),
        (images,),
        batch_size=batch_size,
        mesh=mesh,
        tick=tick,
    )


def right(
    key: Key,
    correct: Correct,
    params: Params,
    dataset: Dataset,
    *,
    epsilon: float = 0.0,
    batch_size: int,
    mesh: Mesh,
    tick: Callable[[int], None] = lambda examples: None,
) -> np.ndarray:
    """[N] bool: which examples of the data set a test from `make_correct` finds right.

    Raises:
      ValueError: images outside [0, 1] or labels out of range.
    """
    check_images(dataset.images)
    check_labels(dataset.labels, dataset.num_classes)
    key, params = devices.copy(mesh, (key, params))
    radius = jnp.float32(epsilon)
    indices = np.arange(len(dataset.labels))
    return devices.map_examples(
        lambda *batch: correct(key, params, radius, *batch),
        (indices, dataset.images, dataset.labels),
        batch_size=batch_size,
        mesh=mesh,
        tick=tick,
    )


def score(
    key: Key, correct: Correct, params: Params, dataset: Dataset, **options: Any
) -> Score:
    """How many examples of the data set are right; options and errors of `right`."""
    found = right(key, correct, params, dataset, **options)
    return Score(int(found.sum()), len(found))
