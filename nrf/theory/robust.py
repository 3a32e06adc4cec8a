"""What maximum likelihood learns under attack: in closed form, and by gradient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from nrf import attacks
from nrf.theory.adversary import robust_nll, worst_perturbation
from nrf.theory.gaussian import (
    Gaussian,
    check,
    check_cov,
    check_epsilon,
    eigen,
    eigenvalues,
    mle,
    nll,
)
from nrf.types import KEYS

# perturb(g, x, y) -> δ [N, D], the adversary's answer to a model.
Perturb = Callable[[Gaussian, jax.Array, jax.Array], jax.Array]


def multiplier(cov: jax.Array, epsilon: float | jax.Array) -> jax.Array:
    """Theorem 2's λ(ε), a scalar; infinite at ε = 0.

    The paper calls it implicit and bounds it for small ε. It is one root, for every ε:
    with τ = 4 / λ,

        ε² = ¼ Σᵢ (√(σᵢ + τ) − √σᵢ)²

    over the eigenvalues of Σ, which rises in τ. The ε of the paper's bounds (in its
    appendix E.3.5 to E.3.7) is the square of this radius.
    """
    check_cov(cov)
    check_epsilon(epsilon)
    return 1 / _inflation(cov, jnp.asarray(epsilon, cov.dtype))


def robust_mle(g: Gaussian, epsilon: float | jax.Array) -> Gaussian:
    """Theorem 2: the robust maximum likelihood of data from `g`.

    The mean stays and Σ becomes ½Σ + I/λ + √(Σ/λ + ¼Σ²): standard deviations are the
    averages of √σ and √(σ + 4/λ). At ε = 0 it is Σ; for large ε it goes to (ε²/d) I.

    The adversary is that of the paper's relaxation: δ = M (x − yμ) with one matrix M
    for all samples and E‖δ‖² = ε². `exact_robust_mle`, under ‖δ‖ ≤ ε for every sample,
    comes closer as dimensions grow, as long as the adversary spreads ε over many of
    them.
    """
    check(g, epsilon)
    kappa = _inflation(g.cov, jnp.asarray(epsilon, g.cov.dtype))
    return Gaussian(g.mean, _inflate(g.cov, kappa))


def exact_robust_mle(
    x: jax.Array, y: jax.Array, epsilon: float | jax.Array, *, steps: int = 100
) -> Gaussian:
    """The paper's equation 12 on samples x [N, D], y [N]: Theorem 2, not relaxed.

    The g with the least mean of `robust_nll`. That is convex in Σ⁻¹ and Σ⁻¹μ, so what
    L-BFGS finds, from the maximum likelihood and in at most `steps`, is the best.
    """
    check_epsilon(epsilon)
    start = mle(x, y)
    root = jnp.linalg.cholesky(start.cov)

    def model(theta):
        # In units of the start, in which the problem is well conditioned; a factor of
        # Σ⁻¹ with a positive diagonal stands for every Σ once.
        shift, lower = theta
        factor = jnp.tril(lower, -1) + jnp.diag(jnp.exp(jnp.diag(lower)))
        half = jax.scipy.linalg.solve_triangular(factor, root.T, lower=True)
        return Gaussian(start.mean + root @ shift, half.T @ half)

    def objective(theta):
        return robust_nll(model(theta), x, y, epsilon).mean()

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(carry):
        theta, state, before, _, count = carry
        value, gradient = value_and_grad(theta, state=state)
        updates, state = optimizer.update(
            gradient, state, theta, value=value, grad=gradient, value_fn=objective
        )
        return optax.apply_updates(theta, updates), state, value, before, count + 1

    def unfinished(carry):
        _, _, value, before, count = carry
        rounding = jnp.finfo(x.dtype).eps * jnp.abs(value)
        return (count < steps) & ((count < 2) | (before - value > rounding))

    zero = jnp.zeros_like(start.mean), jnp.zeros_like(start.cov)
    nothing = jnp.zeros((), x.dtype)
    first = zero, optimizer.init(zero), nothing, nothing, 0
    return model(jax.lax.while_loop(unfinished, step, first)[0])


def fit_robust_mle(
    x: jax.Array, y: jax.Array, perturb: Perturb, *, steps: int = 100
) -> Gaussian:
    """Adversarial training of a Gaussian on samples x [N, D], y [N].

    Each step moves the mean and covariance along the natural gradient of the likelihood
    at the samples that `perturb` makes of x against the present model (Danskin's
    gradient, in the Fisher metric): towards the mean and covariance of those. With
    `exact` it finds `exact_robust_mle`; with `pgd`, what an inexact adversary teaches.
    """
    start = mle(x, y)

    def step(g, count):
        v = y[:, None] * (x + perturb(g, x, y)) - g.mean[None]
        # Strong adversaries answer a step by a larger one back: only shorter and
        # shorter steps settle for every epsilon.
        rate = (1 + count) ** -0.75
        mean = g.mean + rate * v.mean(0)
        return Gaussian(mean, g.cov + rate * (v.T @ v / len(x) - g.cov)), None

    return jax.lax.scan(step, start, jnp.arange(steps, dtype=x.dtype))[0]


def exact(epsilon: float | jax.Array) -> Perturb:
    """The adversary that finds `worst_perturbation`, for `fit_robust_mle`."""
    return lambda g, x, y: worst_perturbation(g, x, y, epsilon)


def pgd(
    epsilon: float | jax.Array, *, steps: int, step_size: float | jax.Array
) -> Perturb:
    """The adversary of the rest of the package, `nrf.attacks`, for `fit_robust_mle`.

    From δ = 0, which keeps it from worse maxima: random starts end in those.
    """

    def perturb(g, x, y):
        # Attacks see pixels in [0, 1]: everything in reach goes there, to one scale.
        scale = 0.5 / (jnp.abs(x).max() + epsilon)

        def loss(g, images, y):
            return nll(g, (images.reshape(x.shape) - 0.5) / scale, y)

        attack = attacks.pgd(
            loss,
            attacks.l2(epsilon * scale),
            steps=steps,
            step_size=step_size * scale,
        )
        images = (0.5 + x * scale)[:, None, None]
        key = jax.random.key(0, impl=KEYS)  # Nothing is drawn from it.
        return (attack(key, g, images, y) - images).reshape(x.shape) / scale

    return perturb


def _inflation(cov, epsilon):
    """1 / λ, as ε times m: m has a derivative at ε = 0, where 1 / λ is 0."""
    variances = eigenvalues(cov)

    def excess(m):
        # r = √σ_r − √σ, written so that nothing cancels, over ε.
        r = 2 * m / (jnp.sqrt(variances + 4 * epsilon * m) + jnp.sqrt(variances))
        return jnp.sum(r**2) - 1

    def solve(excess, _):
        least, d = jnp.sqrt(variances[0]), jnp.sqrt(jnp.asarray(len(cov), cov.dtype))
        # The largest r is of the least variance, and between ε / √d and ε.
        bracket = (least + epsilon / d) / d, least + epsilon

        def halve(_, bracket):
            low, high = bracket
            middle = (low + high) / 2
            short = excess(middle) < 0
            return jnp.where(short, middle, low), jnp.where(short, high, middle)

        low, high = jax.lax.fori_loop(0, 64, halve, bracket)
        return (low + high) / 2

    m = jax.lax.custom_root(excess, variances[0], solve, lambda g, y: y / g(1.0))
    return epsilon * m


@jax.custom_jvp
def _inflate(cov, kappa):
    """Σ_r of Σ and 1 / λ."""
    variances, basis = eigen(cov)
    return _matrix(basis, _inflated(variances, kappa))


def _matrix(basis, eigenvalues):
    return (basis * eigenvalues[None]) @ basis.T


def _inflated(variances, kappa):
    return variances / 2 + kappa + jnp.sqrt(kappa * variances + variances**2 / 4)


@_inflate.defjvp
def _inflate_jvp(primals, tangents):
    """Daleckii and Krein's: eigenvectors turn fast where eigenvalues are close, and
    have no derivative where they meet, but Σ_r has."""
    cov, kappa = primals
    d_cov, d_kappa = tangents
    variances, basis = eigen(cov)
    q = jnp.sqrt(kappa * variances + variances**2 / 4)
    pairs = variances[:, None] + variances[None]
    slopes = 0.5 + (kappa + pairs / 4) / (q[:, None] + q[None])
    turned = basis @ (slopes * (basis.T @ d_cov @ basis)) @ basis.T
    grown = _matrix(basis, 1 + variances / (2 * q))
    return _matrix(basis, _inflated(variances, kappa)), turned + d_kappa * grown
