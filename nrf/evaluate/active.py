"""An attack that works finds what must be there: an active test of it.

A network that withstands an attack is robust, or the attack is weak. To tell, the
network is changed so that an adversarial example is known to be in every ball, and the
same attack has to find it (Zimmermann, Brendel, Tramèr and Carlini, "Increasing
confidence in adversarial robustness evaluations", NeurIPS 2022,
https://arxiv.org/abs/2206.13991). It takes neither a second attack nor a network that
is known to be weak.
"""

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nrf.attacks import Threat, example_keys
from nrf.attacks.inputs import fold_each
from nrf.attacks.threat import land, uphill
from nrf.evaluate.slopes import gradient
from nrf.types import Apply, Attack, Output

_NAME = zlib.crc32(b"planted")  # Of the keys that points are drawn from.
_RANDOM = 16  # Random points in every ball: none of them may be adversarial.
_ROUNDS = 3  # Of the search for a point that is worth finding.
_LEAST = 0.75  # Of the way to that point, at least, is the boundary.
_MOST = 0.8  # Of the way: random points come this far where nothing can be planted.
_SCALE = 4.0  # Logits of a few units, as those of trained networks.


def make_active(
    apply: Apply,
    threat_at: Callable[[Any], Threat],
    attack_on: Callable[[Apply], Callable[[Any], Attack]],
) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """active(key, params, epsilon, indices, x) -> (planted, found), [B] bool each.

    For every image x, a point p at the edge of its ball is chosen, and the last layer
    is followed by a readout of two classes that knows how far logits z(x') went from
    z(x) to z(p): s(x') = ⟨z(x') − z(x), w⟩ / ‖w‖² with w = z(p) − z(x). From s = t on,
    the class is another; t is at least `_LEAST`, and above what random points reach.
    The logits are the network's own up to there, with whatever hides its gradients.

    An example is planted if p is of the other class, random points at the edge are
    not, and w is more than rounding; it is found if the attack finds that class.
    """

    def changed(params, x):
        inner, readout = params
        # Restarts of an attack may be one batch, in which every image is repeated.
        origin, w, t = (_repeat(a, len(x)) for a in readout)
        output = apply(inner, x)
        s = _along(output.logits - origin, w)
        return Output(_SCALE * jnp.stack([t - s, s - t], 1), output.features)

    attack_at = attack_on(changed)

    def active(key, params, epsilon, indices, x):
        keys = example_keys(jax.random.fold_in(key, _NAME), indices)
        readout, planted = _plant(apply, threat_at(epsilon), keys, params, x)
        y = jnp.zeros(len(x), jnp.int32)
        known = params, readout
        x_adv = attack_at(epsilon)(example_keys(key, indices), known, x, y)
        z = changed(known, x_adv).logits
        return planted, planted & (z[:, 1] > z[:, 0])

    return active


def _plant(apply, threat, keys, params, x):
    """The readout (z(x), w, t) of each example, and [B] whether it is a fair one."""

    def logits(x):
        return apply(params, x).logits

    def edge(number):
        drawn = threat.sample(fold_each(keys, number), x)
        return land(threat, x, threat.epsilon * uphill(threat, x, drawn))

    slope = gradient(lambda w, x, y: jnp.sum(apply(params, x).logits * w, -1))
    origin = logits(x)

    def farther(_, best):
        # As a power iteration: to where the logits change most. What is kept is chosen
        # by logits alone, so that gradients that mislead only make it easier to find.
        p, w = best
        moved = land(threat, x, threat.epsilon * uphill(threat, x, slope(w, p, None)))
        change = logits(moved) - origin
        better = (_length(change) > _length(w))[:, None]
        kept = jnp.where(better[..., None, None], moved, p)
        return kept, jnp.where(better, change, w)

    start = edge(0)
    best = start, logits(start) - origin
    p, w = jax.lax.fori_loop(0, _ROUNDS, farther, best)
    points = jnp.arange(1, _RANDOM + 1)
    reached = jax.lax.map(lambda i: _along(logits(edge(i)) - origin, w), points)
    most = jnp.max(reached, 0)
    t = jnp.maximum(_LEAST, (1 + most) / 2)
    # Halfway, the logits of a smooth network are in the middle; rounding has no middle.
    middle = logits(x + (p - x) / 2) - origin - w / 2
    smooth = _length(middle) < 0.1 * _length(w)
    audible = _length(w) > 0.03 * _length(origin)
    planted = (smooth | audible) & (_length(w) > 0) & (most < _MOST)
    return (origin, w, t), planted


def _along(d, w):
    """[B] how far d [B, K] goes along w, where w itself is 1."""
    squared = jnp.sum(w**2, -1)
    return jnp.sum(d * w, -1) / jnp.where(squared > 0, squared, 1)


def _length(z):
    return jnp.sqrt(jnp.sum(z**2, -1))


def _repeat(a, count):
    """The rows of a, each as often as makes `count` of them."""
    return jnp.repeat(a, count // len(a), 0)
