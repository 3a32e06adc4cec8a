"""The worst perturbations of a Gaussian's likelihood, exactly.

With v = x − yμ the adversary climbs ½ (v + δ)ᵀ Σ⁻¹ (v + δ), a convex function: its
maximum over a ball lies on the sphere, and solving for it is a trust-region problem.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf.attacks.threat import bracket
from nrf.theory.gaussian import Gaussian, check, check_cov, check_samples, eigen, nll
from nrf.types import is_traced


def worst_perturbation(
    g: Gaussian, x: jax.Array, y: jax.Array, epsilon: float | jax.Array
) -> jax.Array:
    """[N, D] the δ of norm `epsilon` with the largest ℓ(x + δ; yμ, Σ), per sample.

    Lemma 1: δ = (λΣ − I)⁻¹ v with λ such that ‖δ‖ = ε. The paper leaves out which λ:
    of all that fit, it is the one above 1 / σ_min. It is found as the root of the
    secular equation; where v has no part along the smallest variance (the hard case:
    v = 0, for one) δ may have either sign there, and has that of the eigenvector that
    JAX computes. Where the largest value is attained once, δ is differentiable in every
    argument.
    """
    check(g, epsilon)
    check_samples(x, y, g)
    epsilon = jnp.asarray(epsilon, x.dtype)
    return epsilon * _direction(g.cov, x - y[:, None] * g.mean[None], epsilon)


def robust_nll(
    g: Gaussian, x: jax.Array, y: jax.Array, epsilon: float | jax.Array
) -> jax.Array:
    """[N] max over ‖δ‖₂ ≤ ε of ℓ(x + δ; yμ, Σ): the paper's equation 12.

    Its derivatives are Danskin's: those of ℓ at the maximum, as if it stayed there.
    """
    check(g, epsilon)
    check_samples(x, y, g)
    epsilon = jnp.asarray(epsilon, x.dtype)
    v = x - y[:, None] * g.mean[None]
    n = _direction(*jax.lax.stop_gradient((g.cov, v, epsilon)))
    return nll(g, x + epsilon * n, y)


def penalised_perturbation(
    g: Gaussian, x: jax.Array, y: jax.Array, penalty: float | jax.Array
) -> jax.Array:
    """[N, D] the maximum of ℓ(x + δ; yμ, Σ) − ½C‖δ‖²: δ = (CΣ − I)⁻¹ v.

    The paper's Theorem 1 prints C‖δ‖₂, under which no maximum exists, and its appendix
    drops v.

    Raises:
      ValueError: the penalty C is not above 1 / σ_min, where no maximum exists.
    """
    check(g)
    check_samples(x, y, g)
    _check_penalty(g.cov, penalty)
    v = x - y[:, None] * g.mean[None]
    return jnp.linalg.solve(_curvature(g.cov, penalty), v.T).T


def vulnerability(cov: jax.Array, penalty: float | jax.Array) -> jax.Array:
    """Theorem 1: by how much the penalised adversary raises E ℓ at the true model.

    ½ (tr[(I + (CΣ − I)⁻¹)²] − d), a scalar. The paper prints twice this: it is the rise
    of vᵀΣ⁻¹v, and ℓ has half of that. Under a fixed trace of Σ it is smallest for
    Σ = (tr Σ / d) I.

    Raises:
      ValueError: the penalty C is not above 1 / σ_min, where no maximum exists.
    """
    check_cov(cov)
    _check_penalty(cov, penalty)
    stretch = jnp.linalg.inv(_curvature(cov, penalty))
    return jnp.trace(stretch) + jnp.sum(stretch**2) / 2


def _curvature(cov, penalty):
    return penalty * cov - jnp.eye(len(cov), dtype=cov.dtype)


def _check_penalty(cov: jax.Array, penalty: Any) -> None:
    if is_traced(cov) or is_traced(penalty):
        return
    least = float(np.linalg.eigvalsh(np.asarray(cov))[0])
    if not 1 < penalty * least < np.inf:
        raise ValueError(
            f"penalty must be above 1 / (smallest eigenvalue of cov) = {1 / least:g}, "
            f"and finite, got {penalty}; under a smaller one the adversary's gain has "
            "no maximum."
        )


@jax.custom_jvp
def _direction(cov, v, epsilon):
    """[N, D] the unit vectors n for which ε n is the worst perturbation of v [N, D].

    At ε = 0 it is the limit, Σ⁻¹v / ‖Σ⁻¹v‖.
    """
    variances, basis = eigen(cov)
    w = v @ basis
    # What is left of a part along the smallest variance by rounding is none: its sign
    # would be chance, and another one under `jax.jit`.
    rounding = len(cov) * jnp.finfo(w.dtype).eps * (jnp.abs(v) @ jnp.abs(basis[:, 0]))
    w = w.at[:, 0].set(jnp.where(jnp.abs(w[:, 0]) > rounding, w[:, 0], 0))
    solve = functools.partial(_secular, variances, epsilon=epsilon)
    return jax.vmap(solve)(w) @ basis.T


def _secular(variances, w, epsilon):
    """The unit vector n for one v, in the basis of eigenvectors of rising variances.

    With r = σ / σ_min and μ = ε (λσ_min − 1), n = w / (μ r + ε (r − 1)): written so
    that nothing cancels where μ is small. ‖n‖ falls in μ, and the root of ‖n‖ = 1 lies
    between |w₀| and ‖w‖.
    """
    # In units of the larger of both, so that no square over- or underflows.
    size = jnp.maximum(jnp.max(jnp.abs(w)), epsilon)
    size = jnp.where(size > 0, size, 1)
    w, epsilon = w / size, epsilon / size
    # As a difference, the gap of the smallest variance is 0 in any rounding.
    gaps = (variances - variances[0]) / variances[0]
    first = jnp.arange(len(w)) == 0

    def along(mu):
        below = mu * (1 + gaps) + epsilon * gaps
        # Where v has no part there is none, also where below is 0.
        return jnp.where(w == 0, 0, w / jnp.where(w == 0, 1, below))

    low = jnp.abs(w[0])
    mu, _ = bracket(lambda mu: jnp.sum(along(mu) ** 2) > 1, low, jnp.linalg.norm(w))
    n = along(mu)
    # The hard case: v has no part along the smallest variance, and even μ = 0 leaves n
    # inside; what is missing goes there.
    missing = 1 - jnp.sum(along(jnp.zeros_like(mu)) ** 2)
    hard = (w[0] == 0) & (missing > 0)
    n = jnp.where(first & hard, jnp.sqrt(jnp.maximum(missing, 0)), n)
    norm = jnp.linalg.norm(n)
    return jnp.where(norm > 0, n / jnp.where(norm > 0, norm, 1), first.astype(w.dtype))


@_direction.defjvp
def _direction_jvp(primals, tangents):
    """Implicit: (Σ − cεI) n = c v and ‖n‖ = 1 determine n and c, also at ε = 0.

    By least squares, so that derivatives stay finite where there is none: where two
    perturbations are equally bad.
    """
    cov, v, epsilon = primals
    d_cov, d_v, d_epsilon = tangents
    n = _direction(cov, v, epsilon)

    def tangent(n, v, d_v):
        along = epsilon + n @ v  # Positive, but for v = 0 with ε = 0.
        c = n @ cov @ n / jnp.where(along > 0, along, 1)
        eye = jnp.eye(len(n), dtype=n.dtype)
        top = jnp.column_stack([cov - c * epsilon * eye, -(epsilon * n + v)])
        system = jnp.vstack([top, jnp.append(n, 0)[None]])
        right = c * d_v + c * d_epsilon * n - d_cov @ n
        return (jnp.linalg.pinv(system) @ jnp.append(right, 0))[:-1]

    return n, jax.vmap(tangent)(n, v, d_v)
