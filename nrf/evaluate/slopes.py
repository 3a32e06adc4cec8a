"""Whether gradients are those of what the network answers: steps taken along them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf import losses
from nrf.attacks import Threat
from nrf.attacks.threat import land, length, norm, uphill
from nrf.evaluate.accuracy import of_images
from nrf.types import Apply, Images, Labels, Loss, Params

_LOST = 2.0**-24  # In float32, 1 plus less than this is 1.
# How far an image moves to be beside itself: a quarter of an 8-bit grey level.
_BESIDE = 1e-3
_STEP = 1 / 4  # Of epsilon: about a step of an attack. At most `_FAR` in every pixel.
_FAR = 0.02
_TINY = 1 / 64  # Of that step: too short for what happens between pixels' values.
# Of the largest logit. bfloat16 rounds to 0.004, and sums of it to about 0.01; what
# changes less is not judged.
_NOISE = 0.02
_JUMP = 0.06
_KEPT = 0.2  # Of what a gradient promises. Networks that bend keep more.
_margin = losses.margin(lambda logits, x: logits)


class Seen(NamedTuple):
    """What a network says of images, and where it is steep."""

    logits: jax.Array  # [B, K]
    climb: Images  # The gradient of the loss that the attack climbs.
    steep: Images  # That of the logits' margin, or along given logits.


def make_look(apply: Apply, loss: Loss) -> Callable[..., Seen]:
    """look(params, x, y, along, is_given) -> Seen, compiled.

    `steep` is the gradient of ⟨z(x), w⟩, where w [B, K] is `along` if it `is_given`,
    and else what makes it that of the margin: +1 at the best other class, -1 at y. One
    program, because most of it is the network's two ways back.
    """
    climbed = gradient(loss)

    def look(params, x, y, along, is_given):
        z, back = jax.vjp(lambda x: apply(params, x).logits, x)
        best_other = jax.grad(lambda z: jnp.sum(_margin(z, x, y)))(z)
        (steep,) = back(jnp.where(is_given, along, best_other))
        return Seen(z, climbed(params, x, y), steep)

    return jax.jit(look)


def make_reach(threat_at: Callable[[Any], Threat]) -> Callable[..., Images]:
    """reach(epsilon, x, slope): where one step across the ball leads; compiled."""

    def reach(epsilon, x, slope):
        threat = threat_at(epsilon)
        return land(threat, x, epsilon * uphill(threat, x, slope))

    return jax.jit(reach)


class Slopes(NamedTuple):
    """[B] bool each; as in `Evidence`."""

    erratic: jax.Array
    detected: jax.Array
    shattered: jax.Array
    reversed: jax.Array
    replaced: jax.Array
    astray: jax.Array
    gone: jax.Array  # The loss has no gradient beside the image.


def make_slopes(
    logits: Callable, look: Callable[..., Seen], threat_at: Callable[[Any], Threat]
) -> Callable[..., Slopes]:
    """slopes(params, epsilon, x, y, z) -> Slopes; z [B, K] are the logits of x.

    Gradients are taken beside the images, where an attack is after its first step and
    no pixel has an 8-bit value; the margin of the logits tells what a step along them
    gives (https://arxiv.org/abs/1802.00420, section 3). `logits` and `look` are from
    `make_logits` and `make_look`: the network is in no other program.
    """

    @jax.jit
    def steps_of(epsilon, near, seen):
        """Along the margin, a little of that, and along the loss."""
        threat = threat_at(epsilon)
        grey = length(threat, jnp.full_like(near, _FAR))
        reach = jnp.minimum(_STEP * epsilon, grey)[:, None, None, None]

        def step(slope, share=1.0):
            return land(threat, near, share * reach * uphill(threat, near, slope))

        return step(seen.steep), step(seen.steep, _TINY), step(seen.climb)

    def slopes(params, epsilon, x, y, z):
        beside = near, opposite = _beside(x)
        seen = look(params, near, y, z, np.bool_(False))
        steps = steps_of(epsilon, near, seen)
        found = [of_images(logits, params, a) for a in (opposite, *steps)]
        return _judged(x, y, z, beside, seen, steps, found)

    return slopes


@jax.jit
def _judged(x, y, z, beside, seen, steps, found):
    (near, opposite), (z_near, climb, steep) = beside, seen
    z_opposite, *values = found
    start = _margin(z_near, near, y)
    here, one = (z, _margin(z, x, y), x), (z_near, start, near)
    other = z_opposite, _margin(z_opposite, opposite, y), opposite
    erratic = _jumps(one, other, steep)
    aside = _jumps(here, one, steep) & _jumps(here, other, steep)

    moved = jnp.stack(steps) - near[None]
    promised, promised_tiny, _ = jnp.sum(steep[None] * moved, (2, 3, 4))
    given, given_tiny, gained = (_margin(v, x, y) - start for v in values)
    audible = _NOISE * jnp.max(jnp.abs(z_near), -1)
    judged = promised > audible
    broken = judged & ~(given >= _KEPT * promised)
    true_nearby = jnp.abs(given_tiny - promised_tiny) < 0.5 * promised_tiny
    backward = given < -_KEPT * promised
    # A loss may have lost its gradient; that it then leads nowhere is no surprise.
    gone = vanishes(climb, steep)
    useful = judged & ~broken & (given > audible) & ~gone
    return Slopes(
        erratic=erratic,
        detected=aside & ~erratic,
        shattered=broken & true_nearby,
        reversed=broken & ~true_nearby & backward,
        replaced=broken & ~true_nearby & ~backward,
        astray=useful & ~(gained >= _KEPT / 2 * given),
        gone=gone,
    )


@jax.jit
def _beside(x):
    """Two images beside each, on opposite sides."""
    # The same numbers everywhere, whatever JAX's own generator is set to.
    noise = np.random.default_rng(0).uniform(-_BESIDE, _BESIDE, x.shape[1:])
    noise = jnp.asarray(noise[None], x.dtype)
    return jnp.clip(x + noise, 0, 1), jnp.clip(x - noise, 0, 1)


def _jumps(a, b, steep):
    """[B] whether logits of two images side by side are apart, and no slope says why.

    Each is (logits, margin, image); `steep` is the gradient of the margin.
    """
    (z_a, margin_a, x_a), (z_b, margin_b, x_b) = a, b
    surprise = margin_a - margin_b - jnp.sum(steep * (x_a - x_b), (1, 2, 3))
    scale = jnp.max(jnp.maximum(jnp.abs(z_a), jnp.abs(z_b)), -1)
    apart = jnp.max(jnp.abs(z_a - z_b), -1)
    return jnp.minimum(apart, jnp.abs(surprise)) > _JUMP * scale


def vanishes(slope: Images, steep: Images) -> jax.Array:
    """[B] whether the slope of a loss is lost in float32; `steep` is the margin's.

    Cross-entropy's gradient has 1 − p_y of the length of the margin's, which no logits
    can saturate; where p_y is 1 in float32, it has lost the label's part.
    """
    return norm(slope) <= _LOST * norm(steep)


def gradient(loss: Loss) -> Callable[[Params, Images, Labels], Images]:
    """gradient(params, x, y) -> that of each example's loss to its image."""
    return jax.grad(lambda params, x, y: jnp.sum(loss(params, x, y)), 1)
