"""What can be observed of every example: pure functions, to be compiled."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf import losses
from nrf.attacks import Threat, example_keys
from nrf.attacks.threat import land, length, norm, uphill
from nrf.evaluate.accuracy import answers
from nrf.evaluate.slopes import (
    Slopes,
    gradient,
    make_slopes,
    vanishes,
)
from nrf.types import Apply, Attack, Images, Labels, Loss

# Of the largest logit. The same program gives the same numbers for the same images;
# beside others bfloat16 may round otherwise.
_CHANGE = 1e-3
_MIXTURE = 1e-2
_MOVED = 0.02  # Of the largest logit: what the margin changes by, if at all.
_LITTLE = 0.1  # Of what a single step gives, whole attacks give more.


class Observed(NamedTuple):
    """[B] each, of every example; as in `Evidence` where not said."""

    predicted: Labels  # The answer without attack.
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
    behind: jax.Array
    lowered: jax.Array
    aimless: jax.Array
    grey: jax.Array
    others: jax.Array  # Probes of other classes in the ball.
    pairs: jax.Array  # Probes of other classes.
    slopes: Slopes


def make_observe(
    apply: Apply, loss: Loss, threat_at: Callable[[Any], Threat]
) -> Callable[..., Observed]:
    """observe(params, epsilon, probes, x_adv, x, y) -> Observed.

    `x_adv` is what the attack made of x; `probes` are images [P, H, W, C] and their
    labels [P], searched for in the balls. See `make_checks`.
    """
    margin = losses.margin(apply)
    climbed, straight = gradient(loss), gradient(margin)
    slopes = make_slopes(apply, loss, threat_at)
    of_logits = losses.margin(lambda logits, x: logits)

    def observe(params, epsilon, probes, x_adv, x, y):
        threat = threat_at(epsilon)
        z, z_adv = apply(params, x).logits, apply(params, x_adv).logits
        predicted = answers(z)
        correct = predicted == y
        withstood = correct & (answers(z_adv) == y)
        clean_finite, image_finite = _finite(z), _finite(x_adv)

        climb, steep = climbed(params, x, y), straight(params, x, y)
        here, beside = vanishes(climb, steep), slopes(params, epsilon, x, y)
        # NaN logits may have zero gradients; that is not what is wrong with them.
        vanishing = clean_finite & (here | beside.gone)
        # Networks that are sure of most images lose it where no attack would succeed.
        # What counts is whether the margin's gradient fools what withstood, at once.
        x_one = land(threat, x, epsilon * uphill(threat, x, steep))
        z_one = apply(params, x_one).logits
        fooled = (answers(z_one) != y) & withstood
        missed = vanishing & (fooled | (withstood & (norm(steep) == 0)))

        # NaN pixels are counted as such, and have no part in lengths.
        d = jnp.where(image_finite[:, None, None, None], x_adv - x, 0)
        size = length(threat, d)
        before, after, once = (of_logits(a, x, y) for a in (z, z_adv, z_one))
        moved = _MOVED * jnp.max(jnp.abs(z), -1)
        little = after - before < _LITTLE * (once - before)
        out = jnp.max(jnp.maximum(-x_adv, x_adv - 1), (1, 2, 3))
        others, pairs = _neighbours(threat, epsilon, probes, x, y)
        return Observed(
            predicted=predicted,
            correct=correct,
            withstood=withstood,
            size=size,
            outside=jnp.where(image_finite, jnp.maximum(out, 0), 0),
            bad_logits=~(clean_finite & _finite(z_adv)),
            bad_images=~image_finite,
            bad_gradients=~_finite(climb),
            probabilities=(jnp.min(z, -1) >= 0) & (jnp.abs(jnp.sum(z, -1) - 1) < 0.01),
            zero=clean_finite & jnp.all(climb == 0, (1, 2, 3)),
            vanishing=vanishing,
            missed=missed,
            behind=fooled & ~vanishing,
            lowered=correct & (after - before < -moved),
            aimless=withstood & (size > 0) & (once - before > moved) & little,
            grey=length(threat, x - 0.5) <= epsilon,
            others=others,
            pairs=pairs,
            slopes=beside._replace(detected=beside.detected | (beside.gone & ~here)),
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


def make_attack(attack_at: Callable[..., Attack]) -> Callable[..., Images]:
    """attack(key, params, epsilon, indices, x, y, **more) -> x_adv, at any radius.

    `indices` [B] are the examples' places in the data set; `more` are numbers for
    `attack_at` beside the radius.
    """

    def attack(key, params, epsilon, indices, x, y, **more):
        return attack_at(epsilon, **more)(example_keys(key, indices), params, x, y)

    return attack


def make_twice(apply: Apply) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """twice(params, x, kept) -> logits [B, K], and whether they vary [B].

    Of the images x where `kept` [B], and of their negatives elsewhere. The logits are
    computed twice, so that noise in the network shows.
    """

    def twice(params, x, kept):
        x = jnp.where(kept[:, None, None, None], x, 1 - x)
        # Traced twice: noise from a counter in Python differs by trace. Where there is
        # none, the compiler computes it once.
        first, second = (apply(params, x).logits for _ in range(2))
        return first, _differ(first, second, _CHANGE)

    return twice


def compare(twice, params, x) -> tuple[jax.Array, jax.Array]:
    """[B] each: which logits vary by themselves, and which with their companions.

    `twice` is from `make_twice`, compiled: one program runs four times, so that no
    difference comes from how it was compiled.
    """
    # Every other image gets other companions. Negatives, and not images from elsewhere
    # in the batch, which would have to be sent between devices.
    is_even = np.arange(len(x)) % 2 == 0
    every = np.ones_like(is_even)
    z, varies = twice(params, x, every)
    again, even_kept, odd_kept = (
        twice(params, x, kept)[0] for kept in (every, is_even, ~is_even)
    )
    return _changes(z, varies, again, even_kept, odd_kept, is_even)


@jax.jit
def _changes(z, varies, again, even_kept, odd_kept, is_even):
    beside = jnp.where(is_even[:, None], even_kept, odd_kept)
    return varies | _differ(z, again, _CHANGE), _differ(z, beside, _MIXTURE)


def _differ(a, b, share):
    """[B] whether logits [B, K] differ by more than that share of the largest."""
    return jnp.max(jnp.abs(a - b), -1) > share * jnp.max(jnp.abs(a), -1)


def _finite(a):
    return jnp.all(jnp.isfinite(a), tuple(range(1, a.ndim)))
