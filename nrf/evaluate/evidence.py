"""The evidence of a robust accuracy, collected in the pass that computes it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import devices
from nrf.attacks import Threat
from nrf.attacks.threat import length
from nrf.evaluate.accuracy import make_says
from nrf.evaluate.checks import compare, make_attack, make_look, make_say
from nrf.evaluate.findings import Evidence
from nrf.types import (
    Apply,
    Attack,
    Dataset,
    Key,
    Loss,
    Params,
    check_images,
    check_labels,
)

_PROBES = 16  # Images of the data set that balls are searched for.


class Checks(NamedTuple):
    """Compiled functions and what is known of the attack; from `make_checks`."""

    attack: Callable  # Of `make_attack`, as `more_steps` and `other`.
    look: Callable  # Of `make_look`.
    say: Callable  # Of `make_say`.
    answer: Callable  # Of `evaluate.make_says`.
    threat_at: Callable[[Any], Threat]
    crossings: float | None
    more_steps: Callable | None
    other: Callable | None

    def passes(self, thorough: bool) -> int:
        """How often `gather` goes through the examples, as its `tick` hears."""
        attacks = (self.attack, self.more_steps, self.other)
        return 1 + thorough * sum(attack is not None for attack in attacks)


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

    def attack(at):
        return None if at is None else jax.jit(make_attack(at))

    return Checks(
        attack(attack_at),
        jax.jit(make_look(apply, loss, threat_at)),
        jax.jit(make_say(apply)),
        make_says(apply),
        threat_at,
        crossings,
        attack(more_steps),
        attack(other),
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
    thorough: bool = False,
    made: np.ndarray | None = None,
    fooled: np.ndarray | None = None,
    tick: Callable[[int], None] = lambda examples: None,
) -> Evidence:
    """Runs the attack and all checks on the data set.

    The accuracy is that of `evaluate.score` with the same key. Beyond its attack, this
    takes two gradients and five times the logits of every image. The attacks of a
    thorough check are on the examples that withstood, packed into batches anew.

    Args:
      key: Of the attack's random starts; all attacks get the same.
      checks: From `make_checks`.
      params: Of the network.
      dataset: What the accuracy is of.
      epsilon: The radius.
      batch_size: At least 2: an image needs companions that may influence it.
      mesh: The devices.
      thorough: Attack what withstood once more: with a radius at which any image can
        become grey, with `more_steps`, and with `other`.
      made: [N, H, W, C] what an attack made of the images already; judged instead of
        running the one of `checks`.
      fooled: [N] bool, the examples that some other attack is known to fool.
      tick: Hears of the examples that an attack has finished, or left out.

    Raises:
      ValueError: bad images, labels, radius or batch size; arrays of another shape.
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
    for name, array, wanted in (
        ("made", made, (total, *shape)),
        ("fooled", fooled, (total,)),
    ):
        if array is not None and np.shape(array) != wanted:
            raise ValueError(
                f"{name} has shape {np.shape(array)}; the data set wants {wanted}."
            )
    shared: Any = {"batch_size": batch_size, "mesh": mesh, "tick": tick}
    arrays = np.arange(total), dataset.images, dataset.labels
    some = np.unique(np.linspace(0, total - 1, _PROBES).round().astype(int))
    probes = dataset.images[some], dataset.labels[some]
    key, params, probes = devices.copy(mesh, (key, params, probes))

    def perturb(attack, radius, *batch):
        return attack(key, params, jnp.float32(radius), *batch)

    def examine(indices, x, y, *x_adv):
        x_adv = x_adv or [perturb(checks.attack, epsilon, indices, x, y)]
        seen = checks.look(params, jnp.float32(epsilon), probes, *x_adv, x, y)
        return seen, compare(checks.say, params, x)

    given = arrays if made is None else (*arrays, made)
    seen, (varied, mixed) = devices.map_examples(examine, given, **shared)
    left = np.flatnonzero(seen.withstood)

    def lost(attack, radius=epsilon):
        """How many of the examples that withstood this one fools."""
        if not thorough or attack is None:
            return None
        if left.size < total:
            tick(total - left.size)
        if not left.size:
            return 0
        said = devices.map_examples(
            lambda *batch: checks.answer(params, perturb(attack, radius, *batch)),
            tuple(a[left] for a in arrays),
            pack=True,
            **shared,
        )
        return int(np.sum(said != dataset.labels[left]))

    large_epsilon = _length(threat, shape, 0.5) if thorough else None
    lost_to_large = lost(checks.attack, large_epsilon)
    lost_to_other = lost(checks.other)
    if fooled is not None:
        lost_to_other = max(lost_to_other or 0, int(np.sum(seen.withstood & fooled)))
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
        crossings=None if made is not None else checks.crossings,
        large_epsilon=large_epsilon,
        large_withstood=None if lost_to_large is None else len(left) - lost_to_large,
        lost_to_more_steps=lost(checks.more_steps),
        lost_to_other=lost_to_other,
        **{name: int(getattr(seen, name).sum()) for name in counts},
    )


def _length(threat, shape, value) -> float:
    """The norm of an image of that shape that has one value everywhere."""
    return float(length(threat, jnp.full((1, *shape), value))[0])


def _shares(classes: np.ndarray) -> np.ndarray:
    return np.bincount(classes) / len(classes)
