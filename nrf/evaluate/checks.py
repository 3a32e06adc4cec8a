"""What is observed of every example, and everything that checks compile."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf import losses
from nrf.attacks import Threat, example_keys
from nrf.attacks.threat import length, norm
from nrf.evaluate.accuracy import answers, checked, differ, make_logits, of_images
from nrf.evaluate.active import make_active, read, unchanged
from nrf.evaluate.slopes import (
    Seen,
    Slopes,
    make_look,
    make_reach,
    make_slopes,
    vanishes,
)
from nrf.types import Apply, Attack, Images, Labels, Loss, Params

# Of the largest logit. Beside other images bfloat16 may round otherwise.
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
    logits: Callable, look: Callable[..., Seen], threat_at: Callable[[Any], Threat]
) -> Callable[..., Observed]:
    """observe(params, epsilon, probes, z, x_adv, x, y) -> Observed.

    `z` [B, K] are the logits of x, and `x_adv` is what the attack made of it; `probes`
    are images [P, H, W, C] and their labels [P], searched for in the balls. `logits`
    and `look` as of `make_slopes`.
    """
    slopes, reach = make_slopes(logits, look, threat_at), make_reach(threat_at)
    judged = jax.jit(_make_judged(threat_at))

    def observe(params, epsilon, probes, z, x_adv, x, y):
        seen = look(params, x, y, z, np.bool_(False))
        x_one = reach(epsilon, x, seen.steep)
        z_adv, z_one = (of_images(logits, params, a) for a in (x_adv, x_one))
        beside = slopes(params, epsilon, x, y, z)
        return judged(epsilon, probes, (z, z_adv, z_one), x_adv, x, y, seen, beside)

    return observe


def _make_judged(threat_at):
    of_logits = losses.margin(lambda logits, x: logits)

    def judged(epsilon, probes, said, x_adv, x, y, seen, beside):
        threat, (z, z_adv, z_one) = threat_at(epsilon), said
        predicted = answers(z)
        correct = predicted == y
        withstood = correct & (answers(z_adv) == y)
        clean_finite, image_finite = _finite(z), _finite(x_adv)

        _, climb, steep = seen
        here = vanishes(climb, steep)
        # NaN logits may have zero gradients; that is not what is wrong with them.
        vanishing = clean_finite & (here | beside.gone)
        # Networks that are sure of most images lose it where no attack would succeed.
        # What counts is whether the margin's gradient fools what withstood, at once.
        fooled = (answers(z_one) != y) & withstood
        missed = vanishing & (fooled | (withstood & (norm(steep) == 0)))

        # NaN pixels are counted as such, and have no part in lengths.
        d = jnp.where(image_finite[:, None, None, None], x_adv - x, 0)
        size = length(threat, d)
        before, after, once = (of_logits(a, x, y) for a in said)
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

    return judged


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


def compare(logits, params, x) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits [B, K]; [B] which vary by themselves, and which with their companions.

    `logits` is from `make_logits`: one program runs four times, so that no difference
    comes from how it was compiled.
    """
    # Every other image gets other companions. Negatives, and not images from elsewhere
    # in the batch, which would have to be sent between devices.
    is_even = np.arange(len(x)) % 2 == 0
    every = np.ones_like(is_even)
    z, varies = logits(params, x, every)
    again, even_kept, odd_kept = (
        logits(params, x, kept)[0] for kept in (every, is_even, ~is_even)
    )
    return z, *_changes(z, varies, again, even_kept, odd_kept, is_even)


@jax.jit
def _changes(z, varies, again, even_kept, odd_kept, is_even):
    beside = jnp.where(is_even[:, None], even_kept, odd_kept)
    return varies | differ(z, again), differ(z, beside, _MIXTURE)


def _finite(a):
    return jnp.all(jnp.isfinite(a), tuple(range(1, a.ndim)))


class Checks(NamedTuple):
    """Compiled functions and what is known of the attack; from `make_checks`."""

    logits: Callable  # Of `make_logits`.
    attack: Callable  # Of `make_attack`, as `more_steps` and `other`.
    observe: Callable  # Of `make_observe`.
    threat_at: Callable[[Any], Threat]
    attack_at: Callable[..., Attack]
    crossings: float | None
    more_steps: Callable | None
    other: Callable | None
    active: Callable | None  # (key, params, epsilon, indices, x, y) -> planted, found
    any_radius: bool

    def passes(self, thorough: bool) -> int:
        """How often `gather` goes through the examples, as counted by its `tick`."""
        others = (self.more_steps, self.other)
        more = self.any_radius + sum(attack is not None for attack in others)
        return 1 + thorough * more


def make_checks(
    apply: Callable[[Params, Images], Any],
    loss: Loss,
    threat_at: Callable[[Any], Threat],
    attack_at: Callable[..., Attack] | None = None,
    *,
    crossings: float | None = None,
    steps: int | None = None,
    more_steps: Callable[[Any], Attack] | None = None,
    other: Callable[[Any], Attack] | None = None,
    attack_on: Callable[[Apply], Callable[..., Attack]] | None = None,
    any_radius: bool = True,
    on_changed: Callable | None = None,
    logits: Callable | None = None,
) -> Checks:
    """Everything that `gather` runs, compiled once for all radii and networks.

    Args:
      apply: Of the network, as it is evaluated.
      loss: What the attack climbs: its gradient is what may vanish.
      threat_at: Radius -> ball, such as `attacks.l2`.
      attack_at: Radius -> the attack whose accuracy it is; by default what `attack_on`
        makes of the network, by the program of the active test.
      crossings: Steps times step size, over epsilon. 1 reaches the edge of the ball
        from its middle, 2 any point from any other.
      steps: Where `attack_at` takes `steps`, which may be traced: so many; the same
        program then makes `more_steps`.
      more_steps: Radius -> the same attack with at least twice the steps.
      other: Radius -> an attack without gradients, or with those of another network.
      attack_on: Network -> what `attack_at` is for that network. It allows the active
        test, for which the network is changed: see `make_plant`.
      any_radius: Whether `attack_at` follows its radius. An attack that is fixed to
        one cannot be tried at a radius that no network withstands.
      on_changed: The attack of `make_attack` on the network that is `read`, where that
        is compiled already: the program of `attack_at` and of the active test.
      logits: From `make_logits`, likewise.

    Raises:
      ValueError: neither `attack_at` nor `attack_on`.
    """
    apply = checked(apply)
    usual = attack_at or (attack_on and attack_on(apply))
    if usual is None:
        raise ValueError("checks need an attack: attack_at, attack_on, or both.")
    logits = logits or make_logits(apply)
    look = make_look(apply, loss)

    def compiled(at):
        return None if at is None else jax.jit(make_attack(at))

    own = None if on_changed else compiled(attack_at)
    on_changed = on_changed or compiled(attack_on and attack_on(read(apply)))
    attack, more = own or unchanged(on_changed, logits), compiled(more_steps)
    if steps:
        attack, more = (partial(attack, steps=np.int32(n)) for n in (steps, 2 * steps))
        on_changed = on_changed and partial(on_changed, steps=np.int32(steps))
    return Checks(
        logits=logits,
        attack=attack,
        observe=make_observe(logits, look, threat_at),
        threat_at=threat_at,
        attack_at=usual,
        crossings=crossings,
        more_steps=more,
        other=compiled(other),
        active=on_changed and make_active(logits, look, threat_at, on_changed),
        any_radius=any_radius,
    )
