"""What attacks climb and training descends: one value per example.

Each factory takes the `apply` of a model and returns a `Loss`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nrf.types import (
    Apply,
    Images,
    Loss,
    Params,
    as_output,
    check_labels,
    is_traced,
    outputs,
)

# loss(params, x, y) -> two values [B]: one to be climbed, one to choose by.
Judged = Callable[[Params, Images, Any], tuple[jax.Array, jax.Array]]


@dataclass(frozen=True)
class OfLogits:
    """A loss of the logits alone: it can say, by the same pass, what has succeeded."""

    apply: Apply
    value: Callable[[jax.Array, Any], jax.Array]  # (logits, y) -> [B]
    success: Callable[[jax.Array, Any], jax.Array]  # (logits, y) -> [B], if above 0

    def __call__(self, params: Params, x: Images, y: Any) -> jax.Array:
        return self.value(self.apply(params, x).logits, y)

    def judged(self, params: Params, x: Images, y: Any) -> tuple[jax.Array, jax.Array]:
        """[B] the loss, and [B] above 0 where an attack that climbs it succeeds."""
        z = self.apply(params, x).logits
        return self.value(z, y), self.success(z, y)


def cross_entropy(apply: Apply) -> OfLogits:
    """Softmax cross-entropy of the logits with integer labels y [B]."""
    return OfLogits(outputs(apply), _cross_entropy, _margin)


def margin(apply: Apply) -> OfLogits:
    """max over k ≠ y of z_k − z_y: above 0 where the network is wrong about y [B].

    Carlini and Wagner's f₆ (https://arxiv.org/abs/1608.04644), without its floor. The
    third argument may be a pair (t, y) of targeted attacks, whose t has no part in it.
    """
    return OfLogits(outputs(apply), _margin, _margin)


def targeted_margin(apply: Apply) -> OfLogits:
    """z_t − z_y: above 0 where t is likelier than y; the third argument is (t, y)."""

    def value(z, y):
        targets, labels = y
        return _pick(z, targets) - _pick(z, labels)

    return OfLogits(outputs(apply), value, _margin)


def dlr(apply: Apply) -> OfLogits:
    """Difference of logits ratio: −(z_y − max over k ≠ y of z_k) / (z_(1) − z_(3)).

    z_(i) is the i-th largest logit. It does not depend on the scale of the logits, so
    that its gradient cannot vanish by that (https://arxiv.org/abs/2003.01690, eq. 6).
    Two classes have no third logit: there it is the `margin`.
    """

    def value(z, y):
        difference = _margin(z, y)
        if z.shape[-1] < 3:
            return difference
        top = _largest(z, 3)
        return difference / jnp.maximum(top[:, 0] - top[:, 2], 1e-12)

    return OfLogits(outputs(apply), value, _margin)


def targeted_dlr(apply: Apply) -> OfLogits:
    """−(z_y − z_t) / (z_(1) − (z_(3) + z_(4)) / 2); the third argument is (t, y).

    Of https://arxiv.org/abs/2003.01690, eq. 7. With fewer than four classes, where it
    is not defined, it is the `targeted_margin`.
    """

    def value(z, y):
        targets, labels = y
        difference = _pick(z, targets) - _pick(z, labels)
        if z.shape[-1] < 4:
            return difference
        top = _largest(z, 4)
        scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
        return difference / jnp.maximum(scale, 1e-12)

    return OfLogits(outputs(apply), value, _margin)


def judged(
    apply: Apply, loss: Callable[[Apply], Loss], judge: Callable[[Apply], Loss]
) -> Judged:
    """Two losses by one pass through the network: `loss` to climb, `judge` to choose.

    `judge` is above 0 where an attack succeeds. Losses of logits have such a judge of
    their own, the `margin`; with this, any loss has any. XLA does not see that two
    passes are the same.
    """

    def both(params, x, y):
        output = as_output(apply(params, x), x)

        def known(params, x):
            return output

        return loss(known)(params, x, y), judge(known)(params, x, y)

    return both


def feature_distance(apply: Apply) -> Loss:
    """The paper's section 3.1: ‖g(x) − y‖₂ to the features y [B, D]."""
    apply = outputs(apply)

    def loss(params, x, y):
        features = apply(params, x).features
        _check_features(features, y)
        difference = features - y
        squared = jnp.sum(difference**2, axis=-1)
        # Both branches are safe: the root's slope at a distance of zero is taken as 0.
        positive = squared > 0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1)), 0)

    return loss


def cosine_distance(apply: Apply) -> Loss:
    """1 − cos(g(x), y): whether features point the way of the features y [B, D].

    Another loss to match features by; lengths have no part in it. 1 where either is 0.
    """
    apply = outputs(apply)

    def loss(params, x, y):
        features = apply(params, x).features
        _check_features(features, y)
        return 1 - jnp.sum(_direction(features) * _direction(y), -1)

    return loss


def disentangled(loss: Loss) -> Loss:
    """Towards t on the source, towards the label y on others (Nakkiran's response 5).

    L(f, x, t) + mean of L(fᵢ, x, y), to be descended: a perturbation that fools f and
    means nothing to networks like f. Params are {"source", "others"}, of others stacked
    along a leading axis; the third argument is the pair (t, y).
    """

    def total(params, x, y):
        targets, labels = y
        # One after the other: all at once would be convolutions in groups.
        kept = jax.lax.map(lambda other: loss(other, x, labels), params["others"])
        return loss(params["source"], x, targets) + jnp.mean(kept, 0)

    return total


def negate(loss: Loss) -> Loss:
    """The same loss, to be descended by an attack: towards y instead of away."""
    return signed(loss, -1)


def signed(loss: Loss, sign: int | jax.Array) -> Loss:
    """The loss times 1 or -1, which may be traced: one program for both ways."""
    if isinstance(loss, OfLogits):
        value, success = loss.value, loss.success
        return OfLogits(
            loss.apply,
            lambda z, y: sign * value(z, y),
            lambda z, y: sign * success(z, y),
        )

    def with_sign(params: Params, x: Images, y) -> jax.Array:
        return sign * loss(params, x, y)

    return with_sign


def _check_features(features, y):
    if features.shape != y.shape:
        raise ValueError(
            f"features are of shape {features.shape}, and those to be matched of shape "
            f"{jnp.shape(y)}; are they labels?"
        )


def _direction(a):
    """a / ‖a‖₂ over the last axis; 0, with slope 0, where that is tiny."""
    squared = jnp.sum(a**2, -1, keepdims=True)
    # The root is kept off 0, where its slope would be infinite.
    positive = squared > 1e-24
    return jnp.where(positive, a * jax.lax.rsqrt(jnp.where(positive, squared, 1)), 0)


def _cross_entropy(z, y):
    return optax.softmax_cross_entropy_with_integer_labels(z, _known(z, y))


def _margin(z, y):
    """Above 0 where the network is wrong about y, or about the second of (t, y)."""
    labels = y[1] if isinstance(y, tuple) else y
    return _best_other(z, labels) - _pick(z, labels)


def _known(z, y):
    """The labels y; ValueError where they, or rows of z, would be read as others.

    Under `jax.jit` their values are not known: those that are no class have NaN as
    their logit, where -1 would be read as the last class.
    """
    if z.shape[-1] < 2:
        raise ValueError(
            "a network must return at least two logits, got one; for one logit z of "
            "two classes write jnp.concatenate([jnp.zeros_like(z), z], axis=-1)."
        )
    # NumPy, because jnp would trace even known values inside of a scan.
    check_labels(y if is_traced(y) else np.asarray(y), z.shape[-1])
    if len(z) != len(y):
        raise ValueError(f"there are {len(y)} labels for logits of shape {z.shape}.")
    return jnp.where(y < 0, z.shape[-1], y) if is_traced(y) else y


def _pick(z, y):
    """z_y, [B]."""
    return jnp.take_along_axis(z, _known(z, y)[:, None], axis=-1)[:, 0]


def _largest(z, count):
    """[B, count] the largest logits, in their order; NaN is larger than any."""
    # For `lax.top_k`, each of several devices would compute those of the whole batch.
    order = jnp.argsort(z, axis=-1, descending=True)
    return jnp.take_along_axis(z, order[:, :count], axis=-1)


def _best_other(z, y):
    """max over k ≠ y of z_k, [B]."""
    own = jnp.arange(z.shape[-1])[None] == _known(z, y)[:, None]
    return jnp.max(jnp.where(own, -jnp.inf, z), axis=-1)
