"""The model: two Gaussians with opposite means, their likelihood and its metric."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import multivariate_normal

from nrf.types import Key, check_key, is_traced


class Gaussian(NamedTuple):
    """y is −1 or +1 with equal chance, and x ~ N(y mean, cov)."""

    mean: jax.Array  # [D]
    cov: jax.Array  # [D, D], symmetric and positive definite.


def sample(key: Key, g: Gaussian, n: int) -> tuple[jax.Array, jax.Array]:
    """`n` draws: x [n, D] and y [n], −1 or +1 in the same floating type."""
    check(g)
    check_key(key)
    key_x, key_y = jax.random.split(key)
    # As of `jax.random.rademacher`, whose draws depend on JAX's settings.
    up = jax.random.bernoulli(key_y, jnp.asarray(0.5, g.mean.dtype), (n,))
    y = jnp.where(up, 1, -1).astype(g.mean.dtype)
    noise = jax.random.multivariate_normal(
        key_x, jnp.zeros_like(g.mean), g.cov, (n,), g.mean.dtype
    )
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


def eigen(cov: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues [D] of a covariance, rising, and eigenvectors in columns [D, D]."""
    variances, basis = jnp.linalg.eigh(cov)
    return _known(variances), basis


def eigenvalues(cov: jax.Array) -> jax.Array:
    """[D] eigenvalues of a covariance, rising."""
    return _known(jnp.linalg.eigvalsh(cov))


def _known(variances):
    """None below the rounding of the largest.

    Under `jax.jit`, where a covariance that is singular cannot be refused, what is made
    of them is near its limit then, and not NaN.
    """
    return jnp.maximum(variances, jnp.finfo(variances.dtype).eps * variances[-1])


def check(g: Gaussian, epsilon: Any = 0.0) -> None:
    """Raises ValueError unless `g` is a Gaussian and `epsilon` a radius."""
    if g.mean.ndim != 1:
        raise ValueError(
            f"mean must be [D], got {tuple(g.mean.shape)}; "
            "several problems at once are what jax.vmap is for."
        )
    check_floating("mean", g.mean)
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
    check_floating("cov", cov)
    if is_traced(cov):
        return
    values = np.asarray(cov)
    if not np.allclose(values, values.T, rtol=1e-5, atol=1e-7 * np.abs(values).max()):
        raise ValueError("cov must be symmetric; (cov + cov.T) / 2 may be meant.")
    eigenvalues = np.linalg.eigvalsh(values)
    least, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    if not least > 0:
        raise ValueError(
            f"cov must be positive definite, got an eigenvalue of {least:g}; "
            "a direction without variance has no likelihood."
        )
    # Eigenvalues are known to about this much.
    if not least > len(values) * np.finfo(values.dtype).eps * largest:
        raise ValueError(
            f"cov is singular in {values.dtype}: its eigenvalues go from {least:g} to "
            f"{largest:g}. Nearly equal variances are needed, or float64, under "
            "jax.enable_x64(True)."
        )


def check_floating(name: str, a: jax.Array) -> None:
    """Raises ValueError unless `a` is finite, in float32 or float64."""
    if not jnp.issubdtype(a.dtype, jnp.floating) or jnp.finfo(a.dtype).bits < 32:
        raise ValueError(
            f"{name} must be floating point, float32 or more, got {a.dtype}."
        )
    if not is_traced(a) and not np.isfinite(np.asarray(a)).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity.")


def check_epsilon(epsilon: Any) -> None:
    if np.shape(epsilon) != ():
        raise ValueError(
            f"epsilon must be one number, got shape {np.shape(epsilon)}; several radii "
            "at once are what jax.vmap is for."
        )
    if not is_traced(epsilon) and not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon must be at least 0 and finite, got {epsilon}.")


def check_samples(x: jax.Array, y: jax.Array, g: Gaussian | None = None) -> None:
    """Raises ValueError unless x [N, D] and y [N] of −1 and +1 fit together and `g`."""
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(
            "samples must be x [N, D] with y [N], "
            f"got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    check_floating("x", x)
    if g is not None and x.shape[1] != len(g.mean):
        raise ValueError(
            f"x has {x.shape[1]} dimensions, the Gaussian has {len(g.mean)}."
        )
    if not is_traced(y) and not np.isin(np.asarray(y), (-1, 1)).all():
        raise ValueError(
            f"y must be −1 or +1, got {np.unique(np.asarray(y))[:5]}; "
            "for labels 0 and 1 write 2 * y - 1."
        )
