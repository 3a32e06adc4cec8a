"""Linear classifiers and features of the Gaussian model, in closed form."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from nrf.theory.gaussian import (
    Gaussian,
    check,
    check_cov,
    check_floating,
    eigenvalues,
    weights,
)
from nrf.types import is_traced

Norm = Literal["l2", "linf"]
# The order of the dual norm: the worst perturbation costs epsilon times that of w.
_DUAL = {"l2": 2, "linf": 1}


def accuracy(
    g: Gaussian, w: jax.Array, epsilon: float | jax.Array = 0.0, norm: Norm = "l2"
) -> jax.Array:
    """[...] of the classifiers sign(wᵀx), w [..., D], under attacks of that radius.

    Φ((wᵀμ − ε‖w‖∗) / √(wᵀΣw)), with ‖·‖∗ the dual norm: ℓ2 for l2, ℓ1 for linf. It is
    ½ for w = 0, the best weights of equal means.
    """
    w = _checked(g, w, epsilon, norm)
    return ndtr(_margin(g, w, epsilon, norm) / _root(_variance(g, w)))


def usefulness(
    g: Gaussian, a: jax.Array, epsilon: float | jax.Array = 0.0, norm: Norm = "l2"
) -> jax.Array:
    """[...] γ(ε) of the features aᵀx at unit variance, a [..., D]; ρ at ε = 0.

    The paper's section 2: E inf over δ of y f(x + δ), f = aᵀx / √(aᵀ(Σ + μμᵀ)a). The
    most useful has a = Σ⁻¹μ and ρ = √(m / (1 + m)), m = μᵀΣ⁻¹μ. It is 0 for a = 0.
    """
    a = _checked(g, a, epsilon, norm)
    margin = _margin(g, a, epsilon, norm)
    return margin / _root(_variance(g, a) + (a @ g.mean) ** 2)


def alignment(g: Gaussian) -> jax.Array:
    """Theorem 3: the cosine between the classifier's gradient Σ⁻¹μ and μ.

    Raises:
      ValueError: the means are equal, and have no direction.
    """
    check(g)
    if not is_traced(g.mean) and not np.any(g.mean):
        raise ValueError("mean must not be 0: equal means have no direction.")
    # Of the mean over its size, so that no square over- or underflows.
    mean = g.mean / jnp.max(jnp.abs(g.mean))
    w = weights(g._replace(mean=mean))
    return w @ mean / (jnp.linalg.norm(w) * jnp.linalg.norm(mean))


def worst_alignment(cov: jax.Array) -> jax.Array:
    """Lemma 8: the least `alignment` over all means, 2√κ / (1 + κ).

    The paper's Theorem 3 says that robust training raises it. That needs ε > 0 and Σ
    not proportional to I. More is true: alignment rises for every μ that is not within
    one eigenspace of Σ, not only for the worst.
    """
    kappa = condition_number(cov)
    return 2 * jnp.sqrt(kappa) / (1 + kappa)


def condition_number(cov: jax.Array) -> jax.Array:
    """κ, the largest eigenvalue over the smallest."""
    check_cov(cov)
    variances = eigenvalues(cov)
    return variances[-1] / variances[0]


def _checked(g, w, epsilon, norm):
    """The weights w [..., D] in units of their largest, on which nothing depends."""
    check(g, epsilon)
    check_floating("weights", w)
    if norm not in _DUAL:
        raise ValueError(f"norm must be 'l2' or 'linf', got {norm!r}.")
    if w.shape[-1:] != g.mean.shape:
        raise ValueError(
            f"weights must be [..., {len(g.mean)}] for this Gaussian, "
            f"got {tuple(w.shape)}."
        )
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(w), -1, keepdims=True))
    return w / jnp.where(size > 0, size, 1)


def _margin(g, w, epsilon, norm):
    return w @ g.mean - epsilon * jnp.linalg.norm(w, _DUAL[norm], axis=-1)


def _variance(g, w):
    return jnp.sum((w @ g.cov) * w, axis=-1)


def _root(variance):
    """√variance; 1 for 0, which has nothing to divide."""
    return jnp.sqrt(jnp.where(variance > 0, variance, 1))
