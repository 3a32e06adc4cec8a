"""An attack that works finds what must be there: an active test of it.

A network that withstands an attack is robust, or the attack is weak. To tell, the
network is changed so that an adversarial example is known to be in every ball, and the
same attack has to find it (Zimmermann, Brendel, Tramèr and Carlini, "Increasing
confidence in adversarial robustness evaluations", NeurIPS 2022,
https://arxiv.org/abs/2206.13991). It takes neither a second attack nor a network that
is known to be weak.
"""

import functools
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf.attacks import Threat, example_keys
from nrf.attacks.inputs import fold_each
from nrf.evaluate.accuracy import of_images
from nrf.evaluate.slopes import Seen, make_reach
from nrf.types import Apply, Images

_NAME = zlib.crc32(b"planted")  # Of the keys that points are drawn from.
_RANDOM = 16  # Random points in every ball: none of them may be adversarial.
_ROUNDS = 3  # Of the search for a point that is worth finding.
_LEAST = 0.75  # Of the way to that point, at least, is the boundary.
_MOST = 0.8  # Of the way: random points come this far where nothing can be planted.
_SCALE = 4.0  # Logits of a few units, as those of trained networks.
_NEVER = -1e9  # The logit of classes that the readout does not have.


class Readout(NamedTuple):
    """What follows the last layer of a network, for each of B images: `make_plant`.

    A network whose examples are not `planted` stays as it is, so that one program
    attacks it and the changed one.
    """

    planted: jax.Array  # [B] bool
    origin: jax.Array  # [B, K] z(x)
    w: jax.Array  # [B, K]
    t: jax.Array  # [B]


def unchanged(attack: Callable, logits: Callable) -> Callable[..., Images]:
    """What an attack on a `read` network is on the network itself: nothing planted.

    `attack` is from `make_attack`, compiled, and `logits` from `make_logits`.
    """

    def plain(key, params, epsilon, indices, x, y, **more):
        z, _ = jax.eval_shape(logits, params, x, np.ones(len(x), bool))
        known = params, _blank(y, z.shape[1])
        return attack(key, known, epsilon, indices, x, y, **more)

    return plain


@functools.partial(jax.jit, static_argnums=1)
def _blank(y, classes):
    # Made of the labels, so that it lies on the devices as they do.
    planted = y < 0
    t = planted.astype(jnp.float32)
    w = jnp.broadcast_to(t[:, None], (len(y), classes))
    return Readout(planted, w, w, t)


def read(apply: Apply) -> Apply:
    """The network with parameters (its own, a `Readout`)."""

    def changed(params, x):
        inner, readout = params
        # Restarts of an attack may be one batch, in which every image is repeated.
        planted, origin, w, t = (_repeat(a, len(x)) for a in readout)
        output = apply(inner, x)
        s = _along(output.logits - origin, w)
        two = _SCALE * jnp.stack([t - s, s - t], 1)
        rest = ((0, 0), (0, output.logits.shape[1] - 2))
        said = jnp.pad(two, rest, constant_values=_NEVER)
        return output._replace(logits=jnp.where(planted[:, None], said, output.logits))

    return changed


def make_active(
    logits: Callable,
    look: Callable[..., Seen],
    threat_at: Callable[[Any], Threat],
    attack: Callable[..., Images],
) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """active(key, params, epsilon, indices, x, y) -> (planted, found), [B] bool each.

    `attack` is from `make_attack`, on the network that is `read`, compiled; `logits`
    and `look` as of `make_slopes`. The labels y are zeros.
    """
    plant = make_plant(logits, look, threat_at)

    def active(key, params, epsilon, indices, x, y):
        readout = plant(key, params, epsilon, indices, x, y)
        x_adv = attack(key, (params, readout), epsilon, indices, x, y)
        return readout.planted, _found(readout, of_images(logits, params, x_adv))

    return active


@jax.jit
def _found(readout, z):
    """[B] whether the network's own logits z [B, K] are of what was planted."""
    return readout.planted & (_along(z - readout.origin, readout.w) > readout.t)


def make_plant(
    logits: Callable, look: Callable[..., Seen], threat_at: Callable[[Any], Threat]
) -> Callable[..., Readout]:
    """plant(key, params, epsilon, indices, x, y) -> Readout.

    For every image x, a point p at the edge of its ball is chosen, and the last layer
    is followed by a readout of two classes that knows how far logits z(x') went from
    z(x) to z(p): s(x') = ⟨z(x') − z(x), w⟩ / ‖w‖² with w = z(p) − z(x). From s = t on,
    the class is 1 and no longer 0; t is at least `_LEAST`, and above what random points
    reach. The logits are the network's own up to there, with whatever hides its
    gradients.

    An example is planted if p is of the other class, random points at the edge are
    not, and w is more than rounding; it is found if the attack finds that class.
    Arguments as of `make_active`.
    """
    reach = make_reach(threat_at)

    @jax.jit
    def direction(key, epsilon, indices, x, number):
        keys = example_keys(jax.random.fold_in(key, _NAME), indices)
        return threat_at(epsilon).sample(fold_each(keys, number), x)

    def plant(key, params, epsilon, indices, x, y):
        def edge(number):
            drawn = direction(key, epsilon, indices, x, np.int32(number))
            return reach(epsilon, x, drawn)

        def z(x):
            return of_images(logits, params, x)

        origin, p = z(x), edge(0)
        w = _difference(z(p), origin)
        for _ in range(_ROUNDS):
            # As a power iteration: to where the logits change most.
            steep = look(params, p, y, w, np.bool_(True)).steep
            moved = reach(epsilon, x, steep)
            p, w = _farther(origin, p, w, moved, z(moved))
        at_edge = [z(edge(number)) for number in range(1, _RANDOM + 1)]
        return _fair(origin, w, z(_middle(x, p)), at_edge)

    return plant


@jax.jit
def _difference(a, b):
    return a - b


@jax.jit
def _middle(x, p):
    return x + (p - x) / 2


@jax.jit
def _farther(origin, p, w, moved, z):
    """Of the points p and `moved`, with logits z, the one where they change more."""
    # What is kept is chosen by logits alone, so that gradients that mislead only make
    # it easier to find.
    change = z - origin
    better = (_length(change) > _length(w))[:, None]
    kept = jnp.where(better[..., None, None], moved, p)
    return kept, jnp.where(better, change, w)


@jax.jit
def _fair(origin, w, middle, at_edge):
    """The readout, planted where it is a fair one."""
    reached = [_along(z - origin, w) for z in at_edge]
    most = jnp.max(jnp.stack(reached), 0)
    # Halfway, the logits of a smooth network are in the middle; rounding has no middle.
    smooth = _length(middle - origin - w / 2) < 0.1 * _length(w)
    audible = _length(w) > 0.03 * _length(origin)
    planted = (smooth | audible) & (_length(w) > 0) & (most < _MOST)
    return Readout(planted, origin, w, jnp.maximum(_LEAST, (1 + most) / 2))


def _along(d, w):
    """[B] how far d [B, K] goes along w, where w itself is 1."""
    squared = jnp.sum(w**2, -1)
    return jnp.sum(d * w, -1) / jnp.where(squared > 0, squared, 1)


def _length(z):
    return jnp.sqrt(jnp.sum(z**2, -1))


def _repeat(a, count):
    """The rows of a, each as often as makes `count` of them."""
    return jnp.repeat(a, count // len(a), 0)
