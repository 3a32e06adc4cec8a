"""The perturbations an attacker may use, and the steepest steps among them."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from nrf.types import Images, Keys, is_traced


class Threat(NamedTuple):
    """A set of perturbations `d` of images, both [B, H, W, C], as three functions.

    Auto-PGD and Square give them with rows of pixels as one axis: [B, 1, H, W * C]. The
    valid pixels [0, 1] are not part of it: attacks keep to them in every threat, by
    `uphill` and `land`.
    """

    steepest: Callable[[Images], Images]  # Gradient -> unit step that climbs fastest.
    project: Callable[[Images], Images]  # Perturbation -> the nearest allowed one.
    sample: Callable[[Keys, Images], Images]  # A random allowed one for every image.
    norm: Literal["linf", "l2", "l1"] | None = None  # None: no ball of any norm.
    epsilon: float | jax.Array = math.inf  # The ball's radius.


def linf(epsilon: float | jax.Array) -> Threat:
    """Every pixel may move by up to `epsilon`, in [0, 1] pixels.

    `epsilon` may be a scalar under `jax.jit`, so that one compiled attack serves many
    radii; its caller has then to check it.

    Raises:
      ValueError: `epsilon` is not in (0, 1].
    """
    if not is_traced(epsilon) and not 0 < epsilon <= 1:
        raise ValueError(
            f"linf epsilon must be in (0, 1], got {epsilon}; for k grey levels out of "
            "255 write k / 255."
        )

    def sample(keys, x):
        def draw(key):
            return jax.random.uniform(key, x.shape[1:], jnp.float32, -1, 1)

        return epsilon * jax.vmap(draw)(keys).astype(x.dtype)

    return Threat(
        steepest=lambda slope: jnp.sign(scaled(slope)),
        project=lambda d: jnp.clip(d, -epsilon, epsilon),
        sample=sample,
        norm="linf",
        epsilon=epsilon,
    )


def l2(epsilon: float | jax.Array) -> Threat:
    """Each image may move by up to `epsilon` in Euclidean norm, in [0, 1] pixels.

    `epsilon` may be a scalar under `jax.jit`, as for `linf`.

    Raises:
      ValueError: `epsilon` is not positive and finite.
    """
    if not is_traced(epsilon) and not 0 < epsilon < math.inf:
        raise ValueError(f"l2 epsilon must be positive and finite, got {epsilon}.")

    def project(d):
        size = norm(d)[:, None, None, None]
        far = size > epsilon
        return d * jnp.where(far, epsilon / jnp.where(far, size, 1), 1)

    def sample(keys, x):
        direction, radius = _draw(jax.random.normal, keys, x)
        return epsilon * radius * _unit(direction)

    return Threat(_unit, project, sample, "l2", epsilon)


def l1(epsilon: float | jax.Array, *, share: float = 0.01) -> Threat:
    """The changes of all pixels may sum up to `epsilon`, in [0, 1] pixels.

    The steepest step moves one pixel only, and thousands of steps would be needed; as
    in https://arxiv.org/abs/1904.13000 a step moves, all equally, the `share` of the
    pixels with the largest gradients. Pixels at their end of [0, 1] count as having no
    gradient, and `land` finds the nearest point that is in the ball and valid at once:
    clipping after the projection would leave much of the radius unused
    (https://arxiv.org/abs/2103.01208). `epsilon` may be a scalar under `jax.jit`.

    Raises:
      ValueError: `epsilon` is not positive and finite; `share` is not in (0, 1].
    """
    if not is_traced(epsilon) and not 0 < epsilon < math.inf:
        raise ValueError(f"l1 epsilon must be positive and finite, got {epsilon}.")
    if not 0 < share <= 1:
        raise ValueError(f"l1 share of pixels must be in (0, 1], got {share}.")

    def steepest(slope):
        count = max(1, round(share * math.prod(slope.shape[1:])))
        return sparse_sign(slope, jnp.full(len(slope), count))

    def sample(keys, x):
        direction, radius = _draw(jax.random.laplace, keys, x)
        return epsilon * radius * direction / _sum(jnp.abs(direction))

    def project(d):
        return _shrink(d, jnp.full_like(d, jnp.inf), epsilon)

    return Threat(steepest, project, sample, "l1", epsilon)


def free() -> Threat:
    """Any valid image may be reached; steps are normalised as for `l2`."""
    return Threat(_unit, lambda d: d, lambda keys, x: jnp.zeros_like(x))


def land(threat: Threat, x: Images, d: Images) -> Images:
    """The valid image for x + d with d allowed.

    The nearest one for linf and l1. For l2, d is projected and then clipped, as is
    usual: clipping to valid pixels only shrinks d, so it stays allowed.
    """
    if threat.norm == "l1":
        return x + _shrink(d, jnp.where(d > 0, 1 - x, x), threat.epsilon)
    return jnp.clip(x + threat.project(d), 0, 1)


def uphill(threat: Threat, x: Images, slope: Images) -> Images:
    """The steepest unit step at the image x, where the gradient is `slope`."""
    return threat.steepest(movable(x, slope) if threat.norm == "l1" else slope)


def movable(x: Images, slope: Images) -> Images:
    """The gradient without the pixels that it would push out of [0, 1]."""
    return jnp.where((slope > 0) & (x >= 1) | (slope < 0) & (x <= 0), 0, slope)


def sparse_sign(slope: Images, count: jax.Array) -> Images:
    """The step of l1 norm 1 that moves the `count` [B] steepest pixels, all equally."""
    slope = scaled(slope)
    size = jnp.abs(slope)

    def enough(above):
        # Counted exactly, up to 2^24 pixels; whole numbers are summed slower on CPUs.
        larger = _sum((size > above).astype(jnp.float32))
        return larger >= count.astype(jnp.float32)[:, None, None, None]

    largest = jnp.max(size, (1, 2, 3), keepdims=True)
    above, _ = bracket(enough, jnp.zeros_like(largest), largest)
    chosen = jnp.where(size > above, jnp.sign(slope), 0)
    return chosen / jnp.maximum(_sum(jnp.abs(chosen)), 1)


def length(threat: Threat, d: Images) -> jax.Array:
    """[B] norms of perturbations, in the threat's norm."""
    size = jnp.abs(d)
    if threat.norm == "linf":
        return jnp.max(size, (1, 2, 3))
    if threat.norm == "l1":
        return jnp.sum(size, (1, 2, 3))
    return norm(d)


def scaled(d: Images) -> Images:
    """d times a power of two, so that no square of it over- or underflows.

    The largest size is at least 1, and 0 where d is 0. Sizes below the least normal
    number are read from their bits: CPUs would take them for 0.
    """
    bits = _bits(jnp.abs(d))
    largest = jnp.max(bits, (1, 2, 3), keepdims=True)
    counted = jnp.where(jnp.signbit(d), -1, 1).astype(d.dtype) * bits.astype(d.dtype)
    normal = largest >= 1 << jnp.finfo(d.dtype).nmant
    return jnp.where(normal, d * _inverse(largest, d.dtype), counted)


def _inverse(bits, dtype):
    """The power of two that brings normal numbers of these bits between 2 and 4."""
    info = jnp.finfo(dtype)
    exponent = jnp.maximum(bits >> info.nmant, 1)
    inverse = 2 * info.maxexp - 1 - exponent
    return _floats(inverse << info.nmant, dtype)


def bracket(
    holds: Callable[[jax.Array], jax.Array], low: jax.Array, high: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Where `holds` ends between low, where it does, and high, to the last bit.

    low and high are of one shape, and not negative: such floats have the order of
    their bits, taken as whole numbers. On CPUs sorting the pixels, which would tell
    too, takes 20 times longer.
    """

    def halve(_, ends):
        low, high = ends
        middle = low + (high - low) // 2
        held = holds(_floats(middle, dtype))
        return jnp.where(held, middle, low), jnp.where(held, high, middle)

    dtype = low.dtype
    count = jnp.finfo(dtype).bits
    low, high = jax.lax.fori_loop(0, count, halve, (_bits(low), _bits(high)))
    return _floats(low, dtype), _floats(high, dtype)


def _bits(a):
    """The bits of floats as whole numbers."""
    kind = jnp.dtype(f"int{jnp.finfo(a.dtype).bits}")
    return jax.lax.bitcast_convert_type(a, kind)


def _floats(bits, dtype):
    return jax.lax.bitcast_convert_type(bits, dtype)


def _draw(distribution, keys, x):
    """Directions like x, and shares [B, 1, 1, 1] of the radius that fill a ball.

    In float32 whatever x is, so that equal keys draw equal numbers.
    """

    def one(key):
        key_direction, key_radius = jax.random.split(key)
        direction = distribution(key_direction, x.shape[1:], jnp.float32)
        radius = jax.random.uniform(key_radius, (1, 1, 1), jnp.float32)
        # Volume grows as radius^size: the root makes the ball uniformly filled.
        return direction, radius ** (1 / direction.size)

    direction, radius = jax.vmap(one)(keys)
    return direction.astype(x.dtype), radius.astype(x.dtype)


def _shrink(d, room, epsilon):
    """The d nearest to `d` with ‖d‖₁ <= epsilon and |d| <= room, pixel by pixel.

    It is sign(d) min(max(|d| − λ, 0), room), with the least λ >= 0 for the norm.
    """
    size = jnp.abs(d)

    def shrunk(by):
        # Not by `jnp.clip`: the minima and maxima within a sum become branches on CPUs.
        rest = size - by
        return jnp.where(rest < room, jnp.where(rest > 0, rest, 0), room)

    def long(by):
        return _sum(shrunk(by)) > epsilon

    largest = jnp.max(size, (1, 2, 3), keepdims=True)
    _, by = bracket(long, jnp.zeros_like(largest), largest)
    return jnp.sign(d) * shrunk(by)


def _sum(d):
    return jnp.sum(d, (1, 2, 3), keepdims=True)


def norm(d: Images) -> jax.Array:
    """[B] Euclidean norms, of which no square over- or underflows."""
    largest = jnp.max(_bits(jnp.abs(d)), (1, 2, 3), keepdims=True)
    scale = _inverse(largest, d.dtype)
    size = jnp.sqrt(_sum((d * scale) ** 2)) / scale
    # Compilers may divide in an order that makes NaN of 0.
    return jnp.where(largest > 0, size, 0)[:, 0, 0, 0]


def _unit(d):
    """d / ‖d‖₂, and 0 for 0."""
    d = scaled(d)
    return d / jnp.maximum(jnp.sqrt(_sum(d**2)), 1)
