"""What can be observed of every example: pure functions, to be compiled."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf import losses
from nrf.attacks import Threat, example_keys
from nrf.attacks.threat import land, length, uphill
from nrf.types import Apply, Attack, Images, Labels, Loss, Params

# A gradient of at most this l2 norm is none: `attacks.l2` takes shorter steps then.
_NOTHING = 1e-12
_LOST = 2.0**-24  # In float32, 1 plus less than this is 1.
_CHANGE = 1e-3  # Of the largest logit: many times what sums in float32 round.


class Observed(NamedTuple):
    """[B] each, of every example; as in `Evidence` where not said."""

    predicted: Labels  # The class without attack.
    correct: jax.Array
    withstood: jax.Array
    size: jax.Array  # Of the perturbation.
    outside: jax.Array
    bad_logits: jax.Array
    bad_images: jax.Array
    bad_gradients: jax.Array
    probabilities: jax.Array
    zero: jax.Array
    vanishing: jax.Array
    missed: jax.Array
    grey: jax.Array
    others: jax.Array  # Probes of other classes in the ball.
    pairs: jax.Array  # Probes of other classes.


def make_observe(
    apply: Apply, loss: Loss, threat_at: Callable[[Any], Threat]
) -> Callable[..., Observed]:
    """observe(params, epsilon, probes, x_adv, x, y) -> Observed.

    `x_adv` is what the attack made of x; `probes` are images [P, H, W, C] and their
    labels [P], searched for in the balls. See `make_checks`.
    """
    climbed, straight = _gradient(loss), _gradient(losses.margin(apply))

    def observe(params, epsilon, probes, x_adv, x, y):
        threat = threat_at(epsilon)
        z, z_adv = apply(params, x).logits, apply(params, x_adv).logits
        predicted = jnp.argmax(z, -1)
        correct = predicted == y
        withstood = correct & (jnp.argmax(z_adv, -1) == y)
        clean_finite, image_finite = _finite(z), _finite(x_adv)

        gradient, steep = climbed(params, x, y), straight(params, x, y)
        # Cross-entropy's gradient has 1 − p_y of the length of the margin's, which no
        # logits can saturate; where p_y is 1 in float32, it has lost the label's part.
        lost = jnp.maximum(_NOTHING, _LOST * _norm(steep))
        # NaN logits may have zero gradients; that is not what is wrong with them.
        vanishing = clean_finite & (_norm(gradient) <= lost)
        # Networks that are sure of most images lose it where no attack would succeed.
        # What counts is whether the margin's gradient fools what withstood, at once.
        x_one = land(threat, x, epsilon * uphill(threat, x, steep))
        fooled = jnp.argmax(apply(params, x_one).logits, -1) != y
        missed = vanishing & withstood & (fooled | (_norm(steep) <= _NOTHING))

        # NaN pixels are counted as such, and have no part in lengths.
        d = jnp.where(image_finite[:, None, None, None], x_adv - x, 0)
        out = jnp.max(jnp.maximum(-x_adv, x_adv - 1), (1, 2, 3))
        others, pairs = _neighbours(threat, epsilon, probes, x, y)
        return Observed(
            predicted=predicted,
            correct=correct,
            withstood=withstood,
            size=length(threat, d),
            outside=jnp.where(image_finite, jnp.maximum(out, 0), 0),
            bad_logits=~(clean_finite & _finite(z_adv)),
            bad_images=~image_finite,
            bad_gradients=~_finite(gradient),
            probabilities=(jnp.min(z, -1) >= 0) & (jnp.abs(jnp.sum(z, -1) - 1) < 0.01),
            zero=clean_finite & jnp.all(gradient == 0, (1, 2, 3)),
            vanishing=vanishing,
            missed=missed,
            grey=length(threat, x - 0.5) <= epsilon,
            others=others,
            pairs=pairs,
        )

    return observe


def _neighbours(threat, epsilon, probes, x, y):
    """[B] each: how many probes of other classes the ball holds, and how many are."""

    def near(probe):
        image, label = probe
        differs = y != label[None]
        return differs & (length(threat, x - image[None]) <= epsilon), differs

    others, pairs = jax.lax.map(near, probes)
    return jnp.sum(others, 0), jnp.sum(pairs, 0)


def make_attack(attack_at: Callable[[Any], Attack]) -> Callable[..., Images]:
    """attack(key, params, epsilon, indices, x, y) -> x_adv, at any radius.

    `indices` [B] are the examples' places in the data set.
    """

    def attack(key, params, epsilon, indices, x, y):
        return attack_at(epsilon)(example_keys(key, indices), params, x, y)

    return attack


def make_twice(apply: Apply) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """twice(params, x, order) -> logits [B, K] of x[order], and whether they vary [B].

    They are computed twice, so that noise in the network shows.
    """

    def twice(params, x, order):
        # Traced twice: noise from a counter in Python differs by trace. Where there is
        # none, the compiler computes it once.
        first, second = (apply(params, x[order]).logits for _ in range(2))
        return first, _differ(first, second)

    return twice


def compare(twice, params, x) -> tuple[jax.Array, jax.Array]:
    """[B] each: which logits vary by themselves, and which with their companions.

    `twice` is from `make_twice`, compiled: one program runs four times, so that no
    difference comes from how it was compiled.
    """
    place = np.arange(len(x))
    even = place // 2 * 2
    odd = np.minimum(even + 1, len(x) - 1)
    z, varies = twice(params, x, place)
    again, beside_even, beside_odd = (
        twice(params, x, order)[0] for order in (place, even, odd)
    )
    return _changes(z, varies, again, beside_even, beside_odd, place == even)


@jax.jit
def _changes(z, varies, again, beside_even, beside_odd, is_even):
    # Images at even places keep them when each even one is there twice.
    beside = jnp.where(is_even[:, None], beside_even, beside_odd)
    return varies | _differ(z, again), _differ(z, beside)


def _differ(a, b):
    """[B] whether logits [B, K] differ by more than rounding."""
    return jnp.max(jnp.abs(a - b), -1) > _CHANGE * jnp.max(jnp.abs(a), -1)


def _gradient(loss: Loss) -> Callable[[Params, Images, Labels], Images]:
    return jax.grad(lambda params, x, y: jnp.sum(loss(params, x, y)), 1)


def _norm(d):
    return jnp.sqrt(jnp.sum(d**2, (1, 2, 3)))


def _finite(a):
    return jnp.all(jnp.isfinite(a), tuple(range(1, a.ndim)))
