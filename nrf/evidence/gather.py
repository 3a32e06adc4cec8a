"""The evidence of a robust accuracy, collected in the pass that computes it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import devices, evaluate
from nrf.attacks import Threat
from nrf.attacks.threat import length
from nrf.data import Dataset
from nrf.evaluate import Correct
from nrf.evidence.judge import Evidence
from nrf.evidence.look import compare, make_look, make_say
from nrf.types import Apply, Attack, Key, Loss, Params, check_images, check_labels

_PROBES = 16  # Images of the data set that balls are searched for.


class Checks(NamedTuple):
    """Compiled functions and what is known of the attack; from `make_checks`."""

    look: Callable  # Of `make_look`.
    say: Callable  # Of `make_say`.
    threat_at: Callable[[Any], Threat]
    crossings: float | None
    more_steps: Correct | None
    other: Correct | None


def make_checks(
    apply: Apply,
    loss: Loss,
    threat_at: Callable[[Any], Threat],
    attack_at: Callable[[jax.Array], Attack],
    *,
    crossings: float | None = None,
    more_steps: Callable[[jax.Array], Attack] | None = None,
    other: Callable[[jax.Array], Attack] | None = None,
) -> Checks:
    """Everything that `gather` runs, compiled once for all radii and networks.

    Args:
      apply: Of the network, as it is evaluated.
      loss: What the attack climbs: its gradient is what may vanish.
      threat_at: Radius -> ball, such as `attacks.l2`.
      attack_at: Radius -> the attack whose accuracy it is.
      crossings: Steps times step size, over epsilon. 1 reaches the edge of the ball
        from its middle, 2 any point from any other.
      more_steps: Radius -> the same attack with at least twice the steps.
      other: Radius -> an attack without gradients, or with those of another network.
    """

    def correct(at):
        return None if at is None else evaluate.make_correct(apply, at)

    return Checks(
        jax.jit(make_look(apply, loss, threat_at, attack_at)),
        jax.jit(make_say(apply)),
        threat_at,
        crossings,
        correct(more_steps),
        correct(other),
    )


def gather(
    key: Key,
    checks: Checks,
    params: Params,
    dataset: Dataset,
    *,
    epsilon: float,
    batch_size: int,
    mesh: Mesh,
    large: bool = False,
    tick: Callable[[int], None] = lambda examples: None,
) -> Evidence:
    """Runs the attack and all checks on the data set.

    The accuracy is that of `evaluate.score` with the same key. Beyond its attack, this
    takes two gradients and five times the logits of every image; `large`, `more_steps`
    and `other` take another attack each.

    Args:
      key: Of the attack's random starts; all attacks get the same.
      checks: From `make_checks`.
      params: Of the network.
      dataset: What the accuracy is of.
      epsilon: The radius.
      batch_size: At least 2: an image needs companions that may influence it.
      mesh: The devices.
      large: Attack once more, with a radius at which any image can become grey.
      tick: Hears of the examples that one of these attacks has finished.

    Raises:
      ValueError: bad images, labels, radius or batch size.
    """
    check_images(dataset.images)
    check_labels(dataset.labels, dataset.num_classes)
    if batch_size < 2:
        raise ValueError(
            f"batch_size must be at least 2, got {batch_size}: an image needs others "
            "beside it, to see whether they change what is said of it."
        )
    threat = checks.threat_at(epsilon)
    if threat.norm is None:
        raise ValueError("a robust accuracy needs a ball: use linf, l2 or l1.")
    total, shape = len(dataset.labels), dataset.images.shape[1:]
    shared: Any = {"batch_size": batch_size, "mesh": mesh, "tick": tick}
    arrays = np.arange(total), dataset.images, dataset.labels
    some = np.unique(np.linspace(0, total - 1, _PROBES).round().astype(int))
    probes = dataset.images[some], dataset.labels[some]
    key_here, params, probes = devices.copy(mesh, (key, params, probes))

    def look(radius, *batch):
        return checks.look(key_here, params, jnp.float32(radius), probes, *batch)

    def examine(indices, x, y):
        return look(epsilon, indices, x, y), compare(checks.say, params, x)

    seen, (varied, mixed) = devices.map_examples(examine, arrays, **shared)
    large_epsilon = large_withstood = None
    if large:
        large_epsilon = _length(threat, shape, 0.5)
        there = devices.map_examples(
            lambda *batch: look(large_epsilon, *batch), arrays, **shared
        )
        large_withstood = int(there.withstood.sum())

    def lost(correct):
        if correct is None:
            return None
        right = evaluate.right(
            jax.random.clone(key), correct, params, dataset, epsilon=epsilon, **shared
        )
        return int(np.sum(seen.withstood & ~right))

    said, labels = _shares(seen.answer), _shares(dataset.labels)
    classes = min(len(said), len(labels))
    counts = (
        "correct withstood bad_logits bad_images bad_gradients probabilities zero "
        "vanishing missed grey"
    ).split()
    return Evidence(
        norm=threat.norm,
        epsilon=float(epsilon),
        total=total,
        chance=float(said[:classes] @ labels[:classes]),
        commonest=float(labels.max()),
        largest=float(seen.size.max()),
        # A pixel is rounded, and its difference; the radius, in sums and roots.
        rounding=_length(threat, shape, 2.0**-23) + 1e-5 * float(epsilon),
        outside=float(seen.outside.max()),
        varied=int(varied.sum()),
        mixed=int(mixed.sum()),
        others=float(seen.others.sum() / max(1, seen.pairs.sum())),
        crossings=checks.crossings,
        large_epsilon=large_epsilon,
        large_withstood=large_withstood,
        lost_to_more_steps=lost(checks.more_steps),
        lost_to_other=lost(checks.other),
        **{name: int(getattr(seen, name).sum()) for name in counts},
    )


def _length(threat, shape, value) -> float:
    """The norm of an image of that shape that has one value everywhere."""
    return float(length(threat, jnp.full((1, *shape), value))[0])


def _shares(classes: np.ndarray) -> np.ndarray:
    return np.bincount(classes) / len(classes)
