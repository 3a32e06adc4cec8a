"""The order of training examples, and their augmentation."""

import jax
import jax.numpy as jnp
import numpy as np

from nrf.types import Images, Key


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


def augment(key: Key, x: Images, *, pad: int, flip: bool) -> Images:
    """Shifts each image by up to `pad` pixels either way and mirrors half of them.

    Pixels from outside of the image are 0, as in a random crop of the padded image.

    Raises:
      ValueError: if `pad` is no whole number of pixels.
    """
    if not isinstance(pad, int) or pad < 0:
        raise ValueError(f"pad must be a whole number of pixels, 0 or more, got {pad}.")
    count, height, width, _ = x.shape
    key_shift, key_flip = jax.random.split(key)
    rows = jnp.broadcast_to(jnp.arange(height), (count, height))
    columns = jnp.broadcast_to(jnp.arange(width), (count, width))
    if flip:
        mirrored = jax.random.bernoulli(key_flip, 0.5, (count, 1))
        columns = jnp.where(mirrored, columns[:, ::-1], columns)
    if pad:
        shifts = jax.random.randint(key_shift, (2, count, 1), -pad, pad + 1)
        rows, columns = rows + shifts[0], columns + shifts[1]
    if not (pad or flip):
        return x
    # One gather from the images themselves: several times faster on CPUs than slices
    # of a padded copy.
    inside = (
        ((rows >= 0) & (rows < height))[:, :, None]
        & ((columns >= 0) & (columns < width))[:, None, :]
    )[..., None]
    image = jnp.arange(count)[:, None, None]
    rows = jnp.clip(rows, 0, height - 1)[:, :, None]
    columns = jnp.clip(columns, 0, width - 1)[:, None, :]
    return jnp.where(inside, x[image, rows, columns], 0)
