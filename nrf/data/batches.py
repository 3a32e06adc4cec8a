"""The order of training examples, and their augmentation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from nrf.data.crops import random_resized_crop
from nrf.types import Images, Key, is_traced


def batch_indices(seed: int, epoch: int, n: int, batch_size: int) -> np.ndarray:
    """[n // batch_size, batch_size] indices: the epoch's order, without the remainder.

    It depends on `seed` and `epoch` alone, so that training resumes at any epoch.

    Raises:
      ValueError: if there is not one full batch.
    """
    if not isinstance(batch_size, int | np.integer) or not 1 <= batch_size <= n:
        raise ValueError(
            f"batch_size must be a whole number in 1 .. {n}, the number of examples, "
            f"got {batch_size}."
        )
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return order[: n - n % batch_size].reshape(-1, batch_size)


def augment(
    key: Key,
    x: Images,
    *,
    pad: int | jax.Array,
    flip: bool | jax.Array,
    jitter: float = 0.0,
    rotation: float = 0.0,
    crop: float = 0.0,
) -> Images:
    """Random crops, mirror images, colours and rotations, in this order.

    These are the augmentations of the paper's library (robustness 1.2): for CIFAR-10 a
    pad of 4, flips, a jitter of 0.25 and a rotation of 2; for ImageNet a crop of 0.08,
    flips and a jitter of 0.1.

    Args:
      key: Of all draws.
      x: [B, H, W, C] in [0, 1].
      pad: Pixels by which images are shifted at most, either way. What comes from
        outside of the image is 0, as in a random crop of the padded image.
      flip: Whether half of the images are mirrored. Both may be traced: one program
        for trainings with and without, whose images are the same bit for bit.
      jitter: See `jitter_colours`; 0 for none.
      rotation: See `rotate`; 0 for none.
      crop: See `crops.random_resized_crop`, which comes first; 0 for none.

    Raises:
      ValueError: if `pad` is no whole number of pixels.
    """
    known = not is_traced(pad)
    if known and (not isinstance(pad, int) or pad < 0):
        raise ValueError(f"pad must be a whole number of pixels, 0 or more, got {pad}.")
    if crop:
        key, key_crop = jax.random.split(key)
        x = random_resized_crop(key_crop, x, crop)
    key_shift, key_flip, key_jitter, key_rotation = jax.random.split(key, 4)
    if known and (pad or flip):
        x = _crop(key_shift, key_flip, x, pad, flip)
    elif not known:
        # A branch, because on CPUs even a crop that changes nothing takes time.
        moved = partial(_crop, key_shift, key_flip)
        x = jax.lax.cond((pad > 0) | flip, moved, lambda x, *_: x, x, pad, flip)
    if jitter:
        x = jitter_colours(key_jitter, x, jitter)
    return rotate(key_rotation, x, rotation) if rotation else x


def _crop(key_shift, key_flip, x, pad, flip):
    count, height, width, _ = x.shape
    rows = jnp.broadcast_to(jnp.arange(height), (count, height))
    columns = jnp.broadcast_to(jnp.arange(width), (count, width))
    mirrored = jax.random.bernoulli(key_flip, 0.5, (count, 1)) & flip
    columns = jnp.where(mirrored, columns[:, ::-1], columns)
    shifts = jax.random.randint(key_shift, (2, count, 1), -pad, pad + 1)
    rows, columns = rows + shifts[0], columns + shifts[1]
    return _taken(x, rows[:, :, None], columns[:, None, :])


def jitter_colours(key: Key, x: Images, strength: float) -> Images:
    """Brightness, contrast and saturation of each image, changed in a random order.

    Each moves the image away from, or towards, black, its mean grey, or its own greys,
    by a factor within `strength` of 1, as torchvision's ColorJitter does.
    """
    count, _, _, channels = x.shape
    key_order, key_factor = jax.random.split(key)
    order = jnp.argsort(jax.random.uniform(key_order, (3, count, 1, 1, 1)), 0)
    factors = jax.random.uniform(
        key_factor, order.shape, minval=1 - strength, maxval=1 + strength
    )
    luma = [0.299, 0.587, 0.114] if channels == 3 else [1 / channels] * channels
    for which, factor in zip(order, factors, strict=True):
        grey = (x * jnp.array(luma)[None, None, None]).sum(-1, keepdims=True)
        mean = grey.mean((1, 2), keepdims=True)
        middle = jnp.where(which == 0, 0.0, jnp.where(which == 1, mean, grey))
        x = jnp.clip(middle + factor * (x - middle), 0, 1)
    return x


def rotate(key: Key, x: Images, degrees: float) -> Images:
    """Images turned around their middle by up to `degrees` either way.

    A pixel takes the value of the nearest one, 0 from outside of the image.
    """
    count, height, width, _ = x.shape
    angles = jax.random.uniform(key, (count, 1, 1), minval=-degrees, maxval=degrees)
    cos, sin = jnp.cos(jnp.deg2rad(angles)), jnp.sin(jnp.deg2rad(angles))
    middle = (height - 1) / 2, (width - 1) / 2
    down = jnp.arange(height, dtype=jnp.float32)[None, :, None] - middle[0]
    right = jnp.arange(width, dtype=jnp.float32)[None, None, :] - middle[1]
    rows = jnp.round(cos * down + sin * right + middle[0]).astype(int)
    columns = jnp.round(cos * right - sin * down + middle[1]).astype(int)
    return _taken(x, rows, columns)


def _taken(x: Images, rows: jax.Array, columns: jax.Array) -> Images:
    """The pixels at `rows` and `columns`, [B, H, W] or what becomes that; 0 outside."""
    # One gather from the images themselves: several times faster on CPUs than slices
    # of a padded copy. Each image by itself: by its place in the batch as a third
    # index, every device would need all images.
    _, height, width, _ = x.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)
    taken = jax.vmap(lambda image, row, column: image[row, column])(x, rows, columns)
    return jnp.where(inside[..., None], taken, 0)
