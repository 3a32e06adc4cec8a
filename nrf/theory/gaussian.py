"""The model: two Gaussians with opposite means, their likelihood and its metric."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import multivariate_normal

from nrf.types import Key, is_traced


class Gaussian(NamedTuple):
    """y is −1 or +1 with equal chance, and x ~ N(y mean, cov)."""

    mean: jax.Array  # [D]
    cov: jax.Array  # [D, D], symmetric and positive definite.


def sample(key: Key, g: Gaussian, n: int) -> tuple[jax.Array, jax.Array]:
    """`n` draws: x [n, D] and y [n], −1 or +1 in the same floating type."""
    check(g)
    key_x, key_y = jax.random.split(key)
    y = jax.random.rademacher(key_y, (n,), g.mean.dtype)
    noise = jax.random.multivariate_normal(key_x, jnp.zeros_like(g.mean), g.cov, (n,))
    return y[:, None] * g.mean[None] + noise, y


def mle(x: jax.Array, y: jax.Array) -> Gaussian:
    """The maximum of the likelihood of samples x [N, D], y [N]: the standard problem.

    Raises:
      ValueError: the shapes do not fit, or D + 1 samples are not there.
    """
    check_samples(x, y)
    if len(x) <= x.shape[1]:
        raise ValueError(
            f"{len(x)} samples of {x.shape[1]} dimensions have a singular covariance; "
            f"at least {x.shape[1] + 1} are needed."
        )
    z = y[:, None] * x
    mean = z.mean(0)
    v = z - mean[None]
    return Gaussian(mean, v.T @ v / len(x))


def nll(g: Gaussian, x: jax.Array, y: jax.Array) -> jax.Array:
    """[N] negative log-likelihoods of x [N, D] given y [N]; the paper's ℓ(x; yμ, Σ)."""
    check(g)
    check_samples(x, y, g)
    # By symmetry x given y is as likely as y x given +1, up to the draw of y.
    logpdf: Any = jax.vmap(multivariate_normal.logpdf, (0, None, None))
    return -logpdf(y[:, None] * x, g.mean, g.cov)


def weights(g: Gaussian) -> jax.Array:
    """[D] Σ⁻¹μ: the likelihood test is sign(xᵀΣ⁻¹μ), and this its gradient in x.

    The paper writes argmax over y of ℓ; as ℓ is a negative log-likelihood, the test is
    its argmin.
    """
    check(g)
    return jnp.linalg.solve(g.cov, g.mean)


def check(g: Gaussian, epsilon: Any = 0.0) -> None:
    """Raises ValueError unless `g` is a Gaussian and `epsilon` a radius."""
    if g.mean.ndim != 1 or not jnp.issubdtype(g.mean.dtype, jnp.floating):
        raise ValueError(
            f"mean must be a floating [D], got {g.mean.dtype} {tuple(g.mean.shape)}; "
            "several problems at once are what jax.vmap is for."
        )
    check_cov(g.cov)
    if len(g.cov) != len(g.mean):
        raise ValueError(
            f"mean has {len(g.mean)} dimensions, cov {tuple(g.cov.shape)} has others."
        )
    check_epsilon(epsilon)


def check_cov(cov: jax.Array) -> None:
    """Raises ValueError unless `cov` is symmetric and positive definite."""
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1]:
        raise ValueError(
            f"cov must be [D, D], got {tuple(cov.shape)}; "
            "for variances along the axes write jnp.diag(variances)."
        )
    if not jnp.issubdtype(cov.dtype, jnp.floating):
        raise ValueError(f"cov must be floating point, got {cov.dtype}.")
    if is_traced(cov):
        return
    values = np.asarray(cov)
    if not np.allclose(values, values.T, rtol=1e-5, atol=1e-7 * np.abs(values).max()):
        raise ValueError("cov must be symmetric; (cov + cov.T) / 2 may be meant.")
    least = float(np.linalg.eigvalsh(values)[0])
    if not least > 0:
        raise ValueError(
            f"cov must be positive definite, got an eigenvalue of {least:g}; "
            "a direction without variance has no likelihood."
        )


def check_epsilon(epsilon: Any) -> None:
    if not is_traced(epsilon) and not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon must be at least 0 and finite, got {epsilon}.")


def check_samples(x: jax.Array, y: jax.Array, g: Gaussian | None = None) -> None:
    """Raises ValueError unless x [N, D] and y [N] of −1 and +1 fit together and `g`."""
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(
            "samples must be x [N, D] with y [N], "
            f"got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    if g is not None and x.shape[1] != len(g.mean):
        raise ValueError(
            f"x has {x.shape[1]} dimensions, the Gaussian has {len(g.mean)}."
        )
    if not is_traced(y) and not np.isin(np.asarray(y), (-1, 1)).all():
        raise ValueError(
            f"y must be −1 or +1, got {np.unique(np.asarray(y))[:5]}; "
            "for labels 0 and 1 write 2 * y - 1."
        )
