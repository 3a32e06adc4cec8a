"""What attacks climb and training descends: one value per example.

Each factory takes the `apply` of a model and returns a `Loss`.
"""

from collections.abc import Callable
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


def cross_entropy(apply: Apply) -> Loss:
    """Softmax cross-entropy of the logits with integer labels y [B]."""
    apply = outputs(apply)

    def loss(params, x, y):
        logits = apply(params, x).logits
        _check_labels(logits, y)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y)

    return loss


def margin(apply: Apply) -> Loss:
    """max over k ≠ y of z_k − z_y: above 0 where the network is wrong about y [B].

    Carlini and Wagner's f₆ (https://arxiv.org/abs/1608.04644), without its floor. The
    third argument may be a pair (t, y) of targeted attacks, whose t has no part in it.
    """
    apply = outputs(apply)

    def loss(params, x, y):
        labels = y[1] if isinstance(y, tuple) else y
        z = apply(params, x).logits
        return _best_other(z, labels) - _pick(z, labels)

    return loss


def targeted_margin(apply: Apply) -> Loss:
    """z_t − z_y: above 0 where t is likelier than y; the third argument is (t, y)."""
    apply = outputs(apply)

    def loss(params, x, y):
        targets, labels = y
        z = apply(params, x).logits
        return _pick(z, targets) - _pick(z, labels)

    return loss


def dlr(apply: Apply) -> Loss:
    """Difference of logits ratio: −(z_y − max over k ≠ y of z_k) / (z_(1) − z_(3)).

    z_(i) is the i-th largest logit. It does not depend on the scale of the logits, so
    that its gradient cannot vanish by that (https://arxiv.org/abs/2003.01690, eq. 6).
    Two classes have no third logit: there it is the `margin`.
    """
    apply = outputs(apply)

    def loss(params, x, y):
        z = apply(params, x).logits
        difference = _best_other(z, y) - _pick(z, y)
        if z.shape[-1] < 3:
            return difference
        top = jax.lax.top_k(z, 3)[0]
        return difference / jnp.maximum(top[:, 0] - top[:, 2], 1e-12)

    return loss


def targeted_dlr(apply: Apply) -> Loss:
    """−(z_y − z_t) / (z_(1) − (z_(3) + z_(4)) / 2); the third argument is (t, y).

    Of https://arxiv.org/abs/2003.01690, eq. 7. With fewer than four classes, where it
    is not defined, it is the `targeted_margin`.
    """
    apply = outputs(apply)

    def loss(params, x, y):
        targets, labels = y
        z = apply(params, x).logits
        difference = _pick(z, targets) - _pick(z, labels)
        if z.shape[-1] < 4:
            return difference
        top = jax.lax.top_k(z, 4)[0]
        scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
        return difference / jnp.maximum(scale, 1e-12)

    return loss


def judged(
    apply: Apply, loss: Callable[[Apply], Loss], judge: Callable[[Apply], Loss]
) -> Judged:
    """Two losses by one pass through the network: `loss` to climb, `judge` to choose.

    With `judged(apply, cross_entropy, margin)` an attack climbs the cross-entropy and
    returns an image that is wrong if it visited one: the one with the highest
    cross-entropy may be another. XLA does not see that two passes are the same.
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

    def negated(params: Params, x: Images, y) -> jax.Array:
        return -loss(params, x, y)

    return negated


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


def _check_labels(z, y):
    """ValueError where labels would be read as others, or rows as other rows."""
    if z.shape[-1] < 2:
        raise ValueError(
            "a network must return at least two logits, got one; for one logit z of "
            "two classes write jnp.concatenate([jnp.zeros_like(z), z], axis=-1)."
        )
    # NumPy, because jnp would trace even known values inside of a scan.
    check_labels(y if is_traced(y) else np.asarray(y), z.shape[-1])
    if len(z) != len(y):
        raise ValueError(f"there are {len(y)} labels for logits of shape {z.shape}.")


def _pick(z, y):
    """z_y, [B]."""
    _check_labels(z, y)
    return jnp.take_along_axis(z, y[:, None], axis=-1)[:, 0]


def _best_other(z, y):
    """max over k ≠ y of z_k, [B]."""
    _check_labels(z, y)
    own = jnp.arange(z.shape[-1])[None] == y[:, None]
    return jnp.max(jnp.where(own, -jnp.inf, z), axis=-1)
