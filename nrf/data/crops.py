"""Random resized crops, on which networks for ImageNet are trained."""

import math

import jax
import jax.numpy as jnp

from nrf.types import Images, Key

_RATIO = 4 / 3  # The most that one side of a crop is longer than the other.
_DRAWS = 10


def random_resized_crop(key: Key, x: Images, least: float) -> Images:
    """A random part of each image, enlarged to the size of the image.

    As torchvision's RandomResizedCrop draws it: the part's area is uniform from `least`
    to 1 of the image's, the logarithm of the ratio of its sides is uniform up to 4/3
    either way, and the first of ten such draws that fits into the image counts, or else
    the whole image. Unlike there, corners may lie between pixels. What is between
    pixels is interpolated linearly.

    Args:
      key: Of all draws.
      x: [B, H, W, C] in [0, 1].
      least: A part in (0, 1]; 0.08 in the paper's library.
    """
    _, height, width, _ = x.shape
    key_area, key_ratio, key_corner = jax.random.split(key, 3)
    draws = (_DRAWS, len(x))
    areas = jax.random.uniform(key_area, draws, minval=least, maxval=1)
    bound = math.log(_RATIO)
    ratios = jax.random.uniform(key_ratio, draws, minval=-bound, maxval=bound)
    # Of width to height, both counted in those of the image.
    ratios = jnp.exp(ratios) * (height / width)
    sides = jnp.sqrt(jnp.stack([areas / ratios, areas * ratios]))  # [2, draws, B]
    fits = (sides <= 1).all(0)
    first = jnp.argmax(fits, 0)[None, None]
    drawn = jnp.take_along_axis(sides, first, 1)[:, 0]
    sides = jnp.where(fits.any(0)[None], drawn, 1.0)  # [2, B]
    corners = jax.random.uniform(key_corner, sides.shape) * (1 - sides)
    return _enlarged(x, corners, sides)


def _enlarged(x: Images, corners: jax.Array, sides: jax.Array) -> Images:
    """The part of each image with this upper left corner [2, B] and these sides [2, B].

    Both are parts of the image's height and width.
    """
    # Matrix products, because accelerators gather slowly.
    rows, columns = (
        _weights(corner, side, size)
        for corner, side, size in zip(corners, sides, x.shape[1:3], strict=True)
    )
    precise = jax.lax.Precision.HIGHEST  # Pixels have more bits than TF32 and bfloat16.
    x = jnp.einsum("bri,bijc->brjc", rows, x, precision=precise)
    x = jnp.einsum("bsj,brjc->brsc", columns, x, precision=precise)
    return jnp.clip(x, 0, 1)  # The weights' sum is 1 up to rounding.


def _weights(corner: jax.Array, side: jax.Array, size: int) -> jax.Array:
    """[B, size, size] how much of each pixel there was (last) is in each new one."""
    there = jnp.arange(size, dtype=jnp.float32)
    centres = size * corner[:, None] + side[:, None] * (there + 0.5)[None] - 0.5
    centres = jnp.clip(centres, 0, size - 1)
    return jnp.maximum(0, 1 - jnp.abs(centres[:, :, None] - there[None, None]))
