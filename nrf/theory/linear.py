"""Linear classifiers and features of the Gaussian model, in closed form."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr

from nrf.theory.gaussian import Gaussian, check, check_cov, weights

Norm = Literal["l2", "linf"]
# The order of the dual norm: the worst perturbation costs epsilon times that of w.
_DUAL = {"l2": 2, "linf": 1}


def accuracy(
    g: Gaussian, w: jax.Array, epsilon: float | jax.Array = 0.0, norm: Norm = "l2"
) -> jax.Array:
    """[...] of the classifiers sign(wᵀx), w [..., D], under attacks of that radius.

    Φ((wᵀμ − ε‖w‖∗) / √(wᵀΣw)), with ‖·‖∗ the dual norm: ℓ2 for l2, ℓ1 for linf.
    """
    return ndtr(_margin(g, w, epsilon, norm) / jnp.sqrt(_variance(g, w)))


def usefulness(
    g: Gaussian, a: jax.Array, epsilon: float | jax.Array = 0.0, norm: Norm = "l2"
) -> jax.Array:
    """[...] γ(ε) of the features aᵀx at unit variance, a [..., D]; ρ at ε = 0.

    The paper's section 2: E inf over δ of y f(x + δ), f = aᵀx / √(aᵀ(Σ + μμᵀ)a). The
    most useful has a = Σ⁻¹μ and ρ = √(m / (1 + m)), m = μᵀΣ⁻¹μ.
    """
    margin = _margin(g, a, epsilon, norm)
    return margin / jnp.sqrt(_variance(g, a) + (a @ g.mean) ** 2)


def alignment(g: Gaussian) -> jax.Array:
    """Theorem 3: the cosine between the classifier's gradient Σ⁻¹μ and μ."""
    w = weights(g)
    return w @ g.mean / (jnp.linalg.norm(w) * jnp.linalg.norm(g.mean))


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
    eigenvalues = jnp.linalg.eigvalsh(cov)
    return eigenvalues[-1] / eigenvalues[0]


def _margin(g, w, epsilon, norm):
    check(g, epsilon)
    if norm not in _DUAL:
        raise ValueError(f"norm must be 'l2' or 'linf', got {norm!r}.")
    if w.shape[-1:] != g.mean.shape:
        raise ValueError(
            f"weights must be [..., {len(g.mean)}] for this Gaussian, "
            f"got {tuple(w.shape)}."
        )
    return w @ g.mean - epsilon * jnp.linalg.norm(w, _DUAL[norm], axis=-1)


def _variance(g, w):
    return jnp.sum((w @ g.cov) * w, axis=-1)
