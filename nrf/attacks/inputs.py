"""What attacks are given: keys, batches, options and losses, refused if they don't fit.

What is traced by `jax.jit` has no value that could be looked at; its shape is.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf.losses import Judged, OfLogits
from nrf.types import (
    Images,
    Key,
    Keys,
    Loss,
    Params,
    check_images,
    check_key,
    is_traced,
    single,
)


def example_keys(key: Key, indices: jax.Array) -> Keys:
    """[B] keys for the examples at `indices` [B] of a data set; `key` is consumed."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)


def batch_images(x: Images, y: Any) -> Images:
    """The images x, in float32 if they are in half precision.

    In half precision steps are lost, and what rounding adds leaves the ball.

    Raises:
      ValueError: x are no images, or y has not one row for each of them.
    """
    check_images(x)
    for leaf in jax.tree.leaves(y):
        shape = jnp.shape(leaf)
        if shape[:1] != (len(x),):
            raise ValueError(
                f"labels or targets must have one row for each of the {len(x)} images, "
                f"got shape {shape}."
            )
    return single(x)


def batch_keys(keys: Key | Keys, x: Images) -> Keys:
    """[B] keys for the images x: those given, or made of one by their places in x.

    Raises:
      ValueError: keys of another kind, or neither one nor as many as images.
    """
    check_key(keys)
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


def flat(x: Images) -> Images:
    """The images [B, H, W, C] as [B, 1, H, W * C], so that rows of pixels are one axis.

    XLA's CPU backend is slow where the last axis is as short as channels are.
    """
    return x.reshape(len(x), 1, x.shape[1], -1)


def judging(loss: Loss | Judged) -> Loss | Judged:
    """`loss` with a second value that says what fools, where it knows."""
    return loss.judged if isinstance(loss, OfLogits) else loss


def two_values(values: Any, x: Images) -> tuple[jax.Array, jax.Array]:
    """What to climb and what to choose by, of a `Loss` or a `losses.Judged`: [B] each.

    Raises:
      ValueError: not one value for each of the images x.
    """
    both = values if isinstance(values, tuple) else (values, values)
    for value in both:
        if jnp.shape(value) != (len(x),):
            raise ValueError(
                f"a loss must return one value for each of the {len(x)} images, got "
                f"shape {jnp.shape(value)}; leave out the mean."
            )
    value, judged = both
    return value.astype(x.dtype), judged.astype(x.dtype)


def make_gradient(
    loss: Loss | Judged, params: Params, y: Any, shape: tuple[int, ...] = ()
) -> Callable[[Images], tuple[Images, tuple[jax.Array, jax.Array]]]:
    """gradient(x) -> slope like x, and the loss's two values [B], by one pass.

    `shape` is that of the images where x are `flat`.

    Raises:
      ValueError: when called, if the loss is not one value per example.
    """

    def total(x):
        images = x.reshape(shape) if shape else x
        values, judged = two_values(loss(params, images, y), x)
        # The sum keeps an example's gradient independent of its batch.
        return jnp.sum(values), (values, judged)

    return jax.grad(total, has_aux=True)
