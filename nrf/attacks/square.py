"""Square attack: random squares of pixels, kept where they help. No gradients.

    loss = losses.margin(model.apply)
    attack = jax.jit(attacks.square(loss, attacks.linf(8 / 255), queries=5000))

https://arxiv.org/abs/1912.00049, algorithms 1 to 3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf.attacks.inputs import check_count, flat, judging, two_values
from nrf.attacks.pgd import better, rank, restarted, unranked
from nrf.attacks.threat import Threat, land
from nrf.losses import Judged
from nrf.types import Attack, Loss

# After these many of 10,000 queries the share of pixels in a square is halved.
_HALVED = np.array([10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000])


class _Draws(NamedTuple):
    """What one proposal draws, in [0, 1), for one example."""

    places: jax.Array  # [2, 2] two windows' upper left corners
    turned: jax.Array  # whether the pattern is turned on its side
    signs: jax.Array  # [C] -1 or 1


def sides(
    queries: int, height: int, width: int, share: float, schedule: int
) -> np.ndarray:
    """[queries] the side of the square at every query.

    It covers `share` of the image at first; the share is halved after 10, 50, 200, 500,
    1000, 2000, 4000, 6000 and 8000 of 10,000 queries, and likewise of `schedule`.
    """
    at = np.arange(queries) * 10000 // schedule
    shares = share / 2.0 ** np.sum(at[:, None] > _HALVED, 1)
    whole = np.round(np.sqrt(shares * height * width))
    return np.clip(whole, 1, min(height, width)).astype(np.int32)


def square(
    loss: Loss | Judged,
    threat: Threat,
    *,
    queries: int,
    share: float = 0.8,
    schedule: int | None = None,
) -> Attack:
    """Random search on `loss` by squares of one sign (https://arxiv.org/abs/1912.00049).

    Only values of `loss` are used, so that no gradient can mislead. It begins with
    vertical stripes (linf) or 5 x 5 tiles (l2, l1). In linf, a proposal sets the pixels
    of a square to x ± epsilon, one sign for each channel. In l2 and l1, it moves the
    norm of one window of the perturbation, and what is unused, to another, as a pattern
    of two blobs of opposite signs. A proposal is kept where it makes the loss higher.

    Args:
      loss: Climbed, as by `pgd`; published is `losses.margin(apply)`.
      threat: linf, l2 or l1.
      queries: Of the loss, for each example; at least 1.
      share: Of the image, that the first squares cover; 0.8 as in AutoAttack.
      schedule: Squares shrink as in a search of so many queries; None: of `queries`.

    Returns:
      attack(keys, params, x, y) -> x_adv, as for `pgd`; all draws are from `keys`.

    Raises:
      ValueError: a bad option here; a bad batch when the attack is called.
    """
    schedule = queries if schedule is None else schedule
    _check_options(threat, queries, share, schedule)
    loss = judging(loss)
    begin = stripes if threat.norm == "linf" else tiles

    def climb(keys, params, x, y):
        shape, x = x.shape, flat(x)
        squares = sides(queries, *shape[1:3], share, schedule)
        if threat.norm != "linf":
            # The pattern has a middle row only if its side is odd.
            squares = np.maximum(squares, 3)
            squares = np.minimum(squares + 1 - squares % 2, min(shape[1:3]))

        def step(carry, now):
            proposal, best = carry
            values = two_values(loss(params, proposal.reshape(shape), y), x)
            best = better(best, rank(proposal, values))
            d = _proposal(threat, keys, (best.x - x).reshape(shape), *now)
            return (land(threat, x, flat(d)), best), None

        def first(key):
            return begin(threat, jax.random.fold_in(key, 0), shape[1:], x.dtype)

        carry = land(threat, x, flat(jax.vmap(first)(keys))), unranked(x)
        # The square of query i is proposed after query i - 1; the last is not used.
        later = np.arange(1, queries + 1, dtype=np.int32), np.append(squares[1:], 1)
        (_, best), _ = jax.lax.scan(step, carry, later)
        return best._replace(x=best.x.reshape(shape))

    return restarted(climb, random_start=False, restarts=1)


def _check_options(threat, queries, share, schedule):
    check_count("queries", queries)
    check_count("schedule", schedule)
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}.")
    if schedule < queries:
        raise ValueError(
            f"schedule must be at least queries, {queries}, got {schedule}: it is the "
            "search, of which as many queries are made."
        )
    if threat.norm is None:
        raise ValueError("square needs the radius of a ball: use linf, l2 or l1.")


def _proposal(threat, keys, d, query, side):
    """The perturbations [B, H, W, C] with one more random square."""
    propose = set_square if threat.norm == "linf" else move_square
    draws = jax.vmap(
        lambda key: draw_numbers(jax.random.fold_in(key, query), d.shape[1:])
    )
    return jax.vmap(lambda d, draw: propose(threat, d, side, draw))(d, draws(keys))


def draw_numbers(key, shape):
    """What one proposal draws, for an image of this shape [H, W, C]."""
    drawn = jax.random.uniform(key, (5 + shape[2],), jnp.float32)
    signs = jnp.where(drawn[5:] < 0.5, -1.0, 1.0)
    return _Draws(drawn[:4].reshape(2, 2), drawn[4] < 0.5, signs)


def _window(place, side, shape):
    """Rows [H, 1] and columns [1, W * C] relative to a random window; what is inside.

    Rows of pixels are one axis here and below, as in images that are `flat`.
    """
    height, width, channels = shape
    # All places are equally likely; `place` is below 1, and so is the product.
    room = jnp.array([height, width]) - side + 1
    corner = jnp.floor(place * room.astype(place.dtype)).astype(jnp.int32)
    rows = np.arange(height, dtype=np.int32)[:, None] - corner[0]
    columns = np.arange(width, dtype=np.int32).repeat(channels)[None] - corner[1]
    inside = (rows >= 0) & (rows < side)
    return rows, columns, inside & (columns >= 0) & (columns < side)


def _along(values, width):
    """[1, W * C] of values [C]."""
    # As a product, which is made once; XLA would look others up for every pixel.
    one = np.tile(np.eye(len(values), dtype=values.dtype), width)
    return jnp.matmul(values, one, precision=jax.lax.Precision.HIGHEST)[None]


def _signs(key, shape, dtype):
    """-1 or 1, as of `jax.random.rademacher`, whose draws depend on JAX's settings."""
    up = jax.random.bernoulli(key, jnp.float32(0.5), shape)
    return jnp.where(up, 1, -1).astype(dtype)


def stripes(threat, key, shape, dtype):
    """Algorithm 1: every column of every channel is up or down, whole."""
    _, width, channels = shape
    signs = _signs(key, (1, width, channels), dtype)
    return jnp.broadcast_to(threat.epsilon * signs, shape)


def set_square(threat, d, side, draw):
    """Algorithm 2: one square to ± epsilon."""
    height, width, _ = d.shape
    _, _, inside = _window(draw.places[0], side, d.shape)
    signs = _along(draw.signs.astype(d.dtype), width)
    new = jnp.where(inside, threat.epsilon * signs, d.reshape(height, -1))
    return new.reshape(d.shape)


def tiles(threat, key, shape, dtype):
    """Patterns of random signs on 5 x 5 tiles, of norm epsilon together."""
    height, width, channels = shape
    side = max(1, min(height, width) // 5)
    rows, columns = np.mgrid[:height, :width]
    pattern = blobs(
        threat, jnp.array(rows % side), jnp.array(columns % side), side, shape
    )
    count = (height // side, width // side)
    signs = _signs(key, (*count, channels), dtype)
    # The rest of the image, where tiles do not go into it, stays as it is.
    whole = (rows < count[0] * side) & (columns < count[1] * side)
    row = np.minimum(rows // side, count[0] - 1)
    column = np.minimum(columns // side, count[1] - 1)
    d = jnp.where(whole, pattern, 0).astype(dtype)[:, :, None] * signs[row, column]
    return threat.epsilon * d / _size(threat, d)


def move_square(threat, d, side, draw):
    """Algorithm 3: the norm of two windows, and the unused, to the first of them."""
    shape, (height, width, channels) = d.shape, d.shape
    rows, columns, inside = _window(draw.places[0], side, shape)
    _, _, other = _window(draw.places[1], side, shape)
    d = d.reshape(height, -1)
    pattern = jnp.where(
        draw.turned,
        blobs(threat, columns, rows, side, shape),
        blobs(threat, rows, columns, side, shape),
    )
    pattern = jnp.where(inside, pattern, 0).astype(d.dtype)
    pattern = pattern / _sizes(threat, pattern, channels)
    old = jnp.where(inside, d, 0)
    new = _along(draw.signs.astype(d.dtype), width) * pattern
    new = new + old / _sizes(threat, old, channels)
    power = 2 if threat.norm == "l2" else 1
    unused = threat.epsilon**power - _size(threat, d) ** power
    both = _sizes(threat, jnp.where(inside | other, d, 0), channels) ** power
    available = both + jnp.maximum(unused, 0) / channels
    if threat.norm == "l1":
        # As published, for every channel; the projection takes what is too much.
        available = available * channels
    new = new / _sizes(threat, new, channels) * available ** (1 / power)
    return jnp.where(inside, new, jnp.where(other, 0, d)).reshape(shape)


def blobs(threat, rows, columns, side, shape):
    """Equation 2: two blobs of opposite signs, one above the other, in a square.

    A blob is the sum of ever larger rectangles around its middle, the k-th of which
    adds 1 / k², and 1 / k⁴ in l1. Values outside the square have no meaning.
    """
    power = 4 if threat.norm == "l1" else 2
    upper = side // 2
    top = rows < upper
    height = jnp.where(top, upper, side - upper)
    row = jnp.where(top, rows, rows - upper)
    rings = side // 2 + 1
    sums = np.append(0, np.cumsum(1 / np.arange(1.0, max(shape[:2]) + 2) ** power))
    sums = jnp.array(sums, jnp.float32)

    def outwards(ring):
        return sums[rings] - sums[jnp.clip(jnp.abs(ring), 0, rings)]

    # Of the larger ring; found for rows and for columns, and not for every pixel.
    value = jnp.minimum(outwards(row - height // 2), outwards(columns - side // 2))
    return jnp.where(top, value, -value)


def _size(threat, d):
    """The norm of d; at least a little, to divide by."""
    return _root(threat, jnp.sum(_power(threat, d)))


def _sizes(threat, d, channels):
    """[1, W * C] the norms of the channels of d [H, W * C], likewise."""
    columns = jnp.sum(_power(threat, d), 0)
    sums = jnp.sum(columns.reshape(-1, channels), 0)
    return _along(_root(threat, sums), len(columns) // channels)


def _power(threat, d):
    return jnp.abs(d) if threat.norm == "l1" else d**2


def _root(threat, total):
    return jnp.maximum(total if threat.norm == "l1" else jnp.sqrt(total), 1e-12)
