"""The worst perturbations of a Gaussian's likelihood, exactly.

With v = x − yμ the adversary climbs ½ (v + δ)ᵀ Σ⁻¹ (v + δ), a convex function: its
maximum over a ball lies on the sphere, and solving for it is a trust-region problem.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf.theory.gaussian import Gaussian, check, check_cov, check_samples, nll
from nrf.types import is_traced


def worst_perturbation(
    g: Gaussian, x: jax.Array, y: jax.Array, epsilon: float | jax.Array
) -> jax.Array:
    """[N, D] the δ of norm `epsilon` with the largest ℓ(x + δ; yμ, Σ), per sample.

    Lemma 1: δ = (λΣ − I)⁻¹ v with λ such that ‖δ‖ = ε. The paper leaves out which λ:
    of all that fit, it is the one above 1 / σ_min. It is found as the root of the
    secular equation; where v has no part along the smallest variance (the hard case:
    v = 0, for one) δ has either sign there, and the positive one is returned. Where
    the largest value is attained once, δ is differentiable in every argument.
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
    if not penalty * least > 1:
        raise ValueError(
            f"penalty must be above 1 / (smallest eigenvalue of cov) = {1 / least:g}, "
            f"got {penalty}; under a smaller one the adversary's gain has no maximum."
        )


@jax.custom_jvp
def _direction(cov, v, epsilon):
    """[N, D] the unit vectors n for which ε n is the worst perturbation of v [N, D].

    At ε = 0 it is the limit, Σ⁻¹v / ‖Σ⁻¹v‖.
    """
    variances, basis = jnp.linalg.eigh(cov)
    solve = functools.partial(_secular, variances / variances[0], epsilon=epsilon)
    return jax.vmap(solve)(v @ basis) @ basis.T


def _secular(r, w, epsilon):
    """The unit vector for one v, in the basis of eigenvectors.

    With r [D] the eigenvalues over the smallest, in rising order, and u = λσ_min − 1,
    δ = w / (u + (1 + u)(r − 1)): written so that nothing cancels near u = 0, and
    falling in u, so that the root of ‖δ‖ = ε is bisected in log u.
    """
    tiny = jnp.finfo(w.dtype).eps

    def delta(u):
        return w / (u + (1 + u) * (r - 1))

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        far = jnp.sum(delta(jnp.exp(middle)) ** 2) > epsilon**2
        return jnp.where(far, middle, low), jnp.where(far, high, middle)

    # From where a w[0] lost in rounding counts, to where only w's direction does.
    bracket = 2 * jnp.log(tiny), -jnp.log(tiny)
    low, high = jax.lax.fori_loop(0, 64, halve, bracket)
    root = delta(jnp.exp((low + high) / 2))
    # The hard case: even λ = 1 / σ_min leaves δ inside; what is missing goes along the
    # smallest variance.
    short = delta(jnp.exp(bracket[0]))
    missing = epsilon**2 - jnp.sum(short**2)
    side = jnp.where(w[0] < 0, -1, 1) * jnp.sqrt(jnp.maximum(missing, 0))
    first = jnp.arange(len(w)) == 0
    d = jnp.where(missing > 0, short + jnp.where(first, side, 0), root)
    norm = jnp.linalg.norm(d)
    # Only v = 0 with ε = 0 has no direction: any is right.
    return jnp.where(norm > 0, d / jnp.where(norm > 0, norm, 1), first.astype(w.dtype))


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
