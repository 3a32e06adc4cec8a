"""What attacks are given: keys, batches, options and losses, refused if they don't fit.

What is traced by `jax.jit` has no value that could be looked at; its shape is.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf.losses import Judged
from nrf.types import Images, Key, Keys, Loss, Params, check_images, is_traced


def example_keys(key: Key, indices: jax.Array) -> Keys:
    """[B] keys for the examples at `indices` [B] of a data set; `key` is consumed."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)


def check_batch(x: Images, y: Any) -> None:
    """Raises ValueError unless x are images, and y has a row for each of them."""
    check_images(x)
    for leaf in jax.tree.leaves(y):
        shape = jnp.shape(leaf)
        if shape[:1] != (len(x),):
            raise ValueError(
                f"labels or targets must have one row for each of the {len(x)} images, "
                f"got shape {shape}."
            )


def batch_keys(keys: Key | Keys, x: Images) -> Keys:
    """[B] keys for the images x: those given, or made of one by their places in x.

    Raises:
      ValueError: keys that are not typed, or neither one nor as many as images.
    """
    if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
        raise ValueError(
            f"keys must be typed, got {keys.dtype} {keys.shape}; write "
            "jax.random.key(seed), not jax.random.PRNGKey(seed)."
        )
    if keys.shape == ():
        return example_keys(keys, jnp.arange(len(x)))
    if keys.shape != (len(x),):
        raise ValueError(
            f"keys must be one key, or one for each of the {len(x)} images, got shape "
            f"{keys.shape}; attacks.example_keys(key, indices) makes them from the "
            "places of the images in their data set."
        )
    return keys


def fold_each(keys: Keys, number: int | jax.Array) -> Keys:
    """[B] other keys, with the number folded into each."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raises ValueError unless `value` is a whole number, and at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be a whole number, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")


def check_positive(name: str, value: float | jax.Array) -> None:
    """Raises ValueError unless `value` is positive and finite, or traced."""
    if not is_traced(value) and not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}.")


def two_values(values: Any) -> tuple[jax.Array, jax.Array]:
    """What to climb and what to choose by, of a `Loss` or a `losses.Judged`."""
    return values if isinstance(values, tuple) else (values, values)


def check_values(values: jax.Array, x: Images) -> None:
    """Raises ValueError unless a loss returned one value for each of the images."""
    if jnp.shape(values) != (len(x),):
        raise ValueError(
            f"a loss must return one value for each of the {len(x)} images, got shape "
            f"{jnp.shape(values)}; leave out the mean."
        )


def make_gradient(
    loss: Loss | Judged, params: Params, y: Any
) -> Callable[[Images], tuple[Images, tuple[jax.Array, jax.Array]]]:
    """gradient(x) -> slope like x, and the loss's two values [B], by one pass.

    Raises:
      ValueError: when called, if the loss is not one value per example.
    """

    def total(x):
        values, judged = two_values(loss(params, x, y))
        check_values(values, x)
        check_values(judged, x)
        # The sum keeps an example's gradient independent of its batch.
        return jnp.sum(values), (values, judged)

    return jax.grad(total, has_aux=True)
