"""The vocabulary of the package, and the check that images are images.

Letters used for sizes everywhere: N examples of a data set, B of a batch, H x W pixels
of C channels, K classes, D features.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Key = jax.Array  # A typed key from `jax.random.key`; its receiver consumes it.
# [B] one key per example, folded from the example's index in its data set, so that no
# result depends on batch size or on the number of devices.
Keys = jax.Array
Params = Any  # All Flax variables of a network: {"params": ..., "batch_stats": ...}.
Images = jax.Array  # [B, H, W, C] float32 in [0, 1].
Labels = jax.Array  # [B] int32 in 0 .. K - 1.


class Output(NamedTuple):
    """What a network says of a batch."""

    logits: jax.Array  # [B, K] float32
    features: jax.Array  # [B, D] float32, the input of the last linear layer


# apply(params, x), with the running statistics of BatchNorm.
Apply = Callable[[Params, Images], Output]


class Model(NamedTuple):
    """An architecture, as pure functions of all its variables.

    `apply` uses the running statistics of BatchNorm, as attacks and evaluation must;
    `train` uses those of the batch and returns the variables with updated ones.
    """

    init: Callable[[Key, Images], Params]
    apply: Apply
    train: Callable[[Params, Images], tuple[Output, Params]]
    # `apply` with the gradient of the identity at the last ReLU, where there is one.
    identity_relu: Apply | None = None


class Network(NamedTuple):
    """A trained network: what it computes, and with which parameters."""

    model: Model
    params: Params

    def __call__(self, x: Any) -> jax.Array:
        """Logits [B, K] of images [B, H, W, C]."""
        return jax.jit(self.model.apply)(self.params, jnp.asarray(x)).logits


# loss(params, x, y) -> [B]; y is labels, or features [B, D] to be matched.
Loss = Callable[[Params, Images, Any], jax.Array]
# attack(keys, params, x, y) -> x_adv, like x.
Attack = Callable[[Keys, Params, Images, Any], Images]


class Dataset(NamedTuple):
    """Images with their labels, in the memory of the host."""

    images: np.ndarray  # [N, H, W, C] float32 in [0, 1].
    labels: np.ndarray  # [N] int32 in 0 .. num_classes - 1.
    names: tuple[str, ...]  # Of the classes.

    @property
    def num_classes(self) -> int:
        return len(self.names)


def outputs(apply: Callable[[Params, Images], Any]) -> Apply:
    """`apply` as one that returns an `Output`: plain logits are their own features.

    Raises:
      ValueError: when called, if `apply` returns neither an Output nor logits [B, K].
    """

    def full(params: Params, x: Images) -> Output:
        return as_output(apply(params, x), x)

    return full


def as_output(made: Any, x: Images) -> Output:
    """What a network returned for x as an `Output`; errors are those of `outputs`."""
    if isinstance(made, Output):
        return made
    if not isinstance(made, jax.Array):
        raise ValueError(
            "a network must return logits [B, K] or an Output(logits, features), "
            f"got a {type(made).__name__}; to pick one of several results write "
            "lambda params, x: apply(params, x)[0]."
        )
    if made.ndim != 2 or len(made) != len(x):
        raise ValueError(
            f"a network must return logits [B, K] for its {len(x)} images, got "
            f"shape {made.shape}."
        )
    return Output(made, made)


def is_traced(x: Any) -> bool:
    """Whether `x` has no value yet: it is an argument of a function under `jax.jit`."""
    return isinstance(x, jax.core.Tracer)


def check_images(x: Any) -> None:
    """Raises ValueError unless `x` is float [B, H, W, C], with values in [0, 1].

    Values can only be seen outside `jax.jit`; under it, rank and type are checked.
    """
    if x.ndim != 4:
        raise ValueError(
            f"images must be [B, H, W, C], got shape {tuple(x.shape)}; "
            "for a single image write x[None]."
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"images must be floating point in [0, 1], got {x.dtype}; "
            "for 8-bit images write x / 255."
        )
    if is_traced(x) or not x.size:
        return
    # NumPy, because jnp would trace even known values inside of `jax.jit`.
    pixels = np.asarray(x)
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):  # Written so that NaN fails too.
        raise ValueError(
            f"images must lie in [0, 1], got values from {low:g} to {high:g}; "
            "divide 8-bit values by 255, and leave normalisation to the model."
        )


def check_labels(y: Any, num_classes: int) -> None:
    """Raises ValueError unless `y` is integer [B] in 0 .. num_classes - 1."""
    if y.ndim != 1 or not jnp.issubdtype(y.dtype, jnp.integer):
        raise ValueError(
            f"labels must be integers [B], got {y.dtype} {tuple(y.shape)}; "
            "for one-hot labels write y.argmax(-1)."
        )
    if is_traced(y) or not y.size:
        return
    low, high = int(np.min(y)), int(np.max(y))
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"labels must be in 0 .. {num_classes - 1} for {num_classes} classes, "
            f"got {low} .. {high}; do they count from 1, or is num_classes too small?"
        )
