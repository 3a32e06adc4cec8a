"""What attacks climb and training descends: one value per example.

Each factory takes the `apply` of a model and returns a `Loss`.
"""

import jax
import jax.numpy as jnp
import optax

from nrf.types import Apply, Images, Loss, Params


def cross_entropy(apply: Apply) -> Loss:
    """Softmax cross-entropy of the logits with integer labels y [B]."""

    def loss(params, x, y):
        logits = apply(params, x).logits
        return optax.softmax_cross_entropy_with_integer_labels(logits, y)

    return loss


def feature_distance(apply: Apply) -> Loss:
    """The paper's section 3.1: ‖g(x) − y‖₂ to the features y [B, D]."""

    def loss(params, x, y):
        difference = apply(params, x).features - y
        squared = jnp.sum(difference**2, axis=-1)
        # Both branches are safe: the root's slope at a distance of zero is taken as 0.
        positive = squared > 0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1)), 0)

    return loss


def negate(loss: Loss) -> Loss:
    """The same loss, to be descended by an attack: towards y instead of away."""

    def negated(params: Params, x: Images, y) -> jax.Array:
        return -loss(params, x, y)

    return negated
