"""The vocabulary of the package, and the checks of images and labels.

Letters used for sizes everywhere: N examples of a data set, B of a batch, H x W pixels
of C channels, K classes, D features.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf.rows import Lazy, ends

KEYS = "threefry2x32"  # The kind of all keys, whatever JAX's default is.
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
    # Images that `init` wants to see: one for their shape, more to learn from pixels.
    examples: int = 1


class Network(NamedTuple):
    """A trained network: what it computes, and with which parameters."""

    model: Model
    params: Params

    def __call__(self, x: Any) -> jax.Array:
        """Logits [B, K] of images [B, H, W, C]."""
        x = jnp.asarray(x)
        return as_output(jax.jit(self.model.apply)(self.params, x), x).logits


# loss(params, x, y) -> [B]; y is labels, or features [B, D] to be matched.
Loss = Callable[[Params, Images, Any], jax.Array]
# attack(keys, params, x, y) -> x_adv, like x.
Attack = Callable[[Keys, Params, Images, Any], Images]


class Dataset(NamedTuple):
    """Images with their labels.

    The images are an array in the memory of the host, or rows of `nrf.rows` that are
    read when they are asked for.
    """

    images: Any  # [N, H, W, C] float32 in [0, 1].
    labels: np.ndarray  # [N] int32 in 0 .. num_classes - 1.
    names: tuple[str, ...]  # Of the classes.

    @property
    def num_classes(self) -> int:
        return len(self.names)


def outputs(apply: Callable[[Params, Images], Any]) -> Apply:
    """`apply` as one that returns an `Output`: plain logits are their own features.

    Raises:
      ValueError: if `apply` is a module, or cannot be called as apply(params, x); when
        called, if it returns neither an Output nor logits [B, K].
    """
    _check_function(apply)

    def full(params: Params, x: Images) -> Output:
        return as_output(apply(params, x), x)

    return full


# Classes of Flax that are called otherwise, by where they are defined.
_MODULES = {"flax.linen.module": "linen", "flax.nnx.module": "nnx"}


def _check_function(apply: Any) -> None:
    for base in type(apply).__mro__:
        if kind := _MODULES.get(base.__module__):
            raise ValueError(
                "a network is called as apply(params, x), and a Flax module "
                f"otherwise; write models.{kind}(module).apply, got a "
                f"{type(apply).__name__}."
            )
    try:
        inspect.signature(apply).bind(None, None)
    except TypeError as error:
        raise ValueError(
            f"a network is called as apply(params, x): {error}; where it has its own "
            "parameters write lambda params, x: network(x)."
        ) from error
    except ValueError:  # It does not tell what it takes.
        pass


def as_output(made: Any, x: Images) -> Output:
    """What a network returned for x as an `Output`; errors are those of `outputs`.

    Half precision ends here: losses of logits, and distances of features, need more.
    """
    if isinstance(made, Output):
        return jax.tree.map(single, made)
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
    made = single(made)
    return Output(made, made)


def single(a: Any) -> Any:
    """The array `a` in float32, if it has fewer bits than that; else as it is."""
    if jnp.issubdtype(a.dtype, jnp.floating) and jnp.finfo(a.dtype).bits < 32:
        return a.astype(jnp.float32)
    return a


def is_traced(x: Any) -> bool:
    """Whether `x` has no value yet: it is an argument of a function under `jax.jit`."""
    return isinstance(x, jax.core.Tracer)


def check_key(key: Any) -> None:
    """Raises ValueError unless `key`, one or many, is typed and of JAX's first kind.

    Other kinds draw numbers that depend on what is drawn beside them: on the batch.
    """
    if not hasattr(key, "dtype"):
        raise ValueError(f"a key is jax.random.key(seed), got {key!r}.")
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise ValueError(
            f"keys must be typed, got {key.dtype} {key.shape}; write "
            "jax.random.key(seed), not jax.random.PRNGKey(seed)."
        )
    kind = str(jax.random.key_impl(key))
    if kind != KEYS:
        raise ValueError(
            f"keys must be of the kind {KEYS}, got {kind}, whose numbers depend on the "
            f'batch; write jax.random.key(seed, impl="{KEYS}").'
        )


def check_images(x: Any) -> None:
    """Checks that `x` is float [B, H, W, C], with values in [0, 1].

    Values can only be seen outside `jax.jit`; under it, rank and type are checked.

    Raises:
      ValueError: otherwise, with what to write instead.
    """
    _check_array(x, "images", np.ndarray | jax.Array | Lazy)
    if x.ndim != 4:
        raise ValueError(
            f"images must be [B, H, W, C], got shape {tuple(x.shape)}; "
            "for a single image write x[None]."
        )
    if x.shape[1] in (1, 3) and x.shape[2] == x.shape[3] > 4:
        raise ValueError(
            f"images must be [B, H, W, C], got shape {tuple(x.shape)}, which looks "
            "like channels first; write images.transpose(0, 2, 3, 1)."
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"images must be floating point in [0, 1], got {x.dtype}; "
            "for 8-bit images write x / 255, or nrf.data.Pixels(x), which keeps them."
        )
    if is_traced(x) or not x.size or getattr(x, "within", False):
        return
    # NumPy, because jnp would trace even known values inside of `jax.jit`.
    low, high = ends(x)
    if not (low >= 0 and high <= 1):  # Written so that NaN fails too.
        raise ValueError(
            f"images must lie in [0, 1], got values from {low:g} to {high:g}; "
            "divide 8-bit values by 255, and leave normalisation to the model."
        )
    if isinstance(x, Lazy):
        x.within = True  # All of it was read, which nobody need do again.


def check_labels(y: Any, num_classes: int, examples: int | None = None) -> None:
    """Checks that `y` is integer [B] in 0 .. num_classes - 1, of 2 classes or more.

    `examples` is the number of images that the labels belong to; None is any. Values
    can only be seen outside `jax.jit`; under it, shape and type are checked.

    Raises:
      ValueError: otherwise, with what to write instead.
    """
    _check_array(y, "labels")
    if y.ndim != 1 or not jnp.issubdtype(y.dtype, jnp.integer):
        raise ValueError(
            f"labels must be integers [B], got {y.dtype} {tuple(y.shape)}; "
            f"{_integers_from(y)}."
        )
    if examples is not None and len(y) != examples:
        raise ValueError(
            f"there are {len(y)} labels for {examples} images; each image needs one "
            "label, in the same order."
        )
    if not is_traced(y) and y.size:
        # NumPy, because jnp would trace even known values inside of `jax.jit`.
        values = np.asarray(y)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"labels must be in 0 .. {num_classes - 1} for {num_classes} classes, "
                f"got {low} .. {high}; {_range_advice(low, high, num_classes)}"
            )
    if num_classes < 2:
        raise ValueError(
            f"there must be two classes or more, got {num_classes}: with one class "
            "every answer is right."
        )


def check_dataset(dataset: Dataset) -> None:
    """Checks the images and labels of a data set, and that there are as many of each.

    Raises:
      ValueError: as `check_images` and `check_labels` do, or if there are no images.
    """
    check_images(dataset.images)
    check_labels(dataset.labels, dataset.num_classes, len(dataset.images))
    if not dataset.images.size:
        raise ValueError(
            f"a data set needs images, got none: shape {dataset.images.shape}."
        )


def _check_array(x: Any, what: str, kinds: Any = np.ndarray | jax.Array) -> None:
    if not isinstance(x, kinds):
        raise ValueError(
            f"{what} must be a NumPy or JAX array, got a {type(x).__name__}; write "
            "np.asarray(x)."
        )


def _integers_from(y: Any) -> str:
    if y.ndim == 2 and y.shape[1] == 1:  # Where argmax would make every label 0.
        return "for a column write y[:, 0]"
    if y.dtype.kind in "OSU":
        return "for words write names, y = np.unique(y, return_inverse=True)"
    if y.ndim == 1:
        return "where they are whole numbers write y.astype(np.int32)"
    return "for one-hot labels write y.argmax(-1)"


def _range_advice(low: int, high: int, num_classes: int) -> str:
    if low < 0:
        return "where a negative label means unlabelled, leave these examples out."
    if low > 0 and high == num_classes:
        return "they seem to count from 1: write y - 1."
    return "is num_classes too small?"
