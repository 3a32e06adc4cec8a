"""Standard and robust accuracy of a network on a data set, with its interval."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import devices
from nrf.attacks import example_keys
from nrf.types import (
    Apply,
    Attack,
    Dataset,
    Images,
    Key,
    Labels,
    Params,
    check_dataset,
    check_images,
    outputs,
)

_Z = 1.959963984540054  # The 97.5 % point of the standard normal.
# Of the largest logit. The same program gives the same numbers for the same images.
_CHANGE = 1e-3


class Score(NamedTuple):
    """So many right of so many: an accuracy that carries its n."""

    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy (Wilson, 1927)."""
        # SciPy's comes with a p-value, which takes a millisecond; a page asks for
        # many thousands.
        k, n, z = int(self.correct), int(self.total), _Z
        middle, half = k + z**2 / 2, z * math.sqrt(k * (n - k) / n + z**2 / 4)
        low, high = (middle - half) / (n + z**2), (middle + half) / (n + z**2)
        return low, min(1.0, high)  # Rounding would go beyond.


class Correct(NamedTuple):
    """A compiled test of which examples a network gets right, from `make_correct`."""

    test: Callable[..., jax.Array]  # (key, params, epsilon, indices, x, y) -> [B] bool
    attack_at: Callable[[Any], Attack] | None


def make_logits(
    apply: Callable[[Params, Images], Any],
) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """logits(params, x, kept) -> logits [B, K], and whether they vary [B]; compiled.

    Of the images x where `kept` [B], and of their negatives elsewhere. The logits are
    computed twice, so that noise in the network shows.
    """
    apply = checked(apply)

    def logits(params, x, kept):
        x = jnp.where(kept[:, None, None, None], x, 1 - x)
        # Traced twice: noise from a counter in Python differs by trace. Where there is
        # none, the compiler computes it once.
        first, second = (apply(params, x).logits for _ in range(2))
        return first, differ(first, second, _CHANGE)

    return jax.jit(logits)


def of_images(logits: Callable, params: Params, x: Images) -> jax.Array:
    """[B, K] the logits of the images x, by `logits` from `make_logits`."""
    return logits(params, x, np.ones(len(x), bool))[0]


def differ(a: jax.Array, b: jax.Array, share: float = _CHANGE) -> jax.Array:
    """[B] whether logits [B, K] differ by more than that share of the largest."""
    return jnp.max(jnp.abs(a - b), -1) > share * jnp.max(jnp.abs(a), -1)


def make_correct(
    apply: Callable[[Params, Images], Any],
    attack_at: Callable[[Any], Attack] | None = None,
    *,
    logits: Callable | None = None,
) -> Correct:
    """A compiled test of which examples a network gets right, at any radius.

    `attack_at(epsilon)` makes the attack of that radius; one compiled program serves
    all radii, networks and data sets of one shape. With an attack, an example counts
    when the network is right at x and at the attacked x. Without, the program is
    `logits` from `make_logits`, where that is given.
    """
    if attack_at is None:
        known = logits or make_logits(apply)

        def plain(key, params, epsilon, indices, x, y):
            return _right(of_images(known, params, x), y)

        return Correct(plain, None)
    apply = checked(apply)

    def test(key, params, epsilon, indices, x, y):
        right = answers(apply(params, x).logits) == y
        keys = example_keys(key, indices)
        x_adv = attack_at(epsilon)(keys, params, x, y)
        return right & (answers(apply(params, x_adv).logits) == y)

    return Correct(jax.jit(test), attack_at)


@jax.jit
def _right(z, y):
    return answers(z) == y


def make_predict(
    apply: Callable[[Params, Images], Any], *, logits: Callable | None = None
) -> Callable[[Params, Images], Labels]:
    """predict(params, x) -> [B] the `answers` to images [B, H, W, C], compiled.

    `logits` as of `make_correct`.
    """
    return partial(predict_by, logits or make_logits(apply))


def predict_by(logits: Callable, params: Params, x: Images) -> Labels:
    """[B] the `answers` to images [B, H, W, C], by `logits` from `make_logits`."""
    return _answers(of_images(logits, params, x))


def answers(logits: jax.Array) -> Labels:
    """[B] int32 the class with the highest of the logits [B, K].

    Beside a NaN it is -1, which is no class and no label, so that it is never right:
    argmax would take the first NaN for the highest.
    """
    unknown = jnp.any(jnp.isnan(logits), -1)
    return jnp.where(unknown, -1, jnp.argmax(logits, -1)).astype(jnp.int32)


_answers = jax.jit(answers)


def predictions(
    predict: Callable[[Params, Images], Labels],
    params: Params,
    images: np.ndarray,
    *,
    batch_size: int,
    mesh: Mesh | None = None,
    tick: Callable[[int], None] = lambda examples: None,
    shards: devices.Shards | None = None,
) -> np.ndarray:
    """[N] int32 `answers` to images [N, H, W, C], by `predict` from `make_predict`.

    Raises:
      ValueError: images outside [0, 1].
    """
    check_images(images)
    mesh = devices.own(mesh or devices.make_mesh())
    params = devices.copy(mesh, params)
    return devices.map_examples(
        lambda x: predict(params, x),
        (images,),
        batch_size=batch_size,
        mesh=mesh,
        tick=tick,
        shards=shards,
    )


def right(
    key: Key,
    correct: Correct,
    params: Params,
    dataset: Dataset,
    *,
    epsilon: float = 0.0,
    batch_size: int,
    mesh: Mesh | None = None,
    tick: Callable[[int], None] = lambda examples: None,
    shards: devices.Shards | None = None,
    held: dict | None = None,
) -> np.ndarray:
    """[N] bool: which examples of the data set a test from `make_correct` finds right.

    Args:
      key: Of the attack's random starts.
      correct: From `make_correct`.
      epsilon: The attack's radius; ignored without attack.
      batch_size: Changes no result, up to rounding.
      mesh: The devices; all of them by default.
      tick: Called with the number of newly finished examples.
      shards: What is kept of an interrupted call; see `devices.map_examples`.
      held: Keeps the batches for further calls; see there too.

    Raises:
      ValueError: images outside [0, 1], labels out of range or of another number, or
        a radius that the attack refuses.
    """
    check_dataset(dataset)
    if correct.attack_at is not None:
        # Built and thrown away: the radius has a value here, and none in a program.
        correct.attack_at(epsilon)
    mesh = devices.own(mesh or devices.make_mesh())
    key, params = devices.copy(mesh, (key, params))
    radius = jnp.float32(epsilon)
    indices = np.arange(len(dataset.labels))
    return devices.map_examples(
        lambda *batch: correct.test(key, params, radius, *batch),
        (indices, dataset.images, dataset.labels),
        batch_size=batch_size,
        mesh=mesh,
        tick=tick,
        shards=shards,
        held=held,
    )


def score(
    key: Key, correct: Correct, params: Params, dataset: Dataset, **options: Any
) -> Score:
    """How many examples of the data set are right; options and errors of `right`."""
    is_right = right(key, correct, params, dataset, **options)
    return Score(int(is_right.sum()), len(is_right))


def checked(apply: Callable[[Params, Images], Any]) -> Apply:
    """A network that returns an Output or plain logits, as one that returns an Output.

    Its logits are float32 at least.

    Raises:
      ValueError: when called, if logits are not one row for each image, or have one
        class only: compared with labels, such rows would be silently repeated, and
        the only class would always be right.
    """
    whole = outputs(apply)

    def with_logits(params, x):
        output = whole(params, x)
        shape = output.logits.shape
        if len(shape) != 2 or shape[0] != len(x) or shape[1] < 2:
            raise ValueError(
                f"a network must return logits [B, K] of at least 2 classes for its "
                f"{len(x)} images, got shape {shape}; for one logit z of a binary "
                "classifier return jnp.stack([-z, z], 1)."
            )
        # Half precision has few numbers: differences and softmax are taken in float32.
        wide = jnp.promote_types(output.logits.dtype, jnp.float32)
        return output._replace(logits=output.logits.astype(wide))

    return with_logits
