"""The numbers of the theory's page: each step makes one part of theory.json.

Closed forms beside what is computed without them, in double precision.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf import theory
from nrf.runs import Env
from nrf.theory import Gaussian
from nrf.types import Key

Part = dict[str, Any]
Problem = tuple[tuple[float, ...], tuple[float, ...]]  # Mean and variances.
DRAWN = 300  # Points of a picture.


def part(compute: Callable[..., Part]) -> Callable[..., Part]:
    """A step from what computes one part: in double precision, as JSON's numbers."""

    @functools.wraps(compute)
    def step(key: Key, *, env: Env, **settings: Any) -> Part:
        with jax.enable_x64(True):
            return jax.tree.map(plain, compute(key, **settings))

    return step


def plain(leaf: Any) -> Any:
    """An array as the lists and numbers of JSON."""
    return leaf if isinstance(leaf, str | None) else np.asarray(leaf).tolist()


@part
def figure(
    key: Key,
    *,
    problem: Problem,
    samples: int,
    panels: tuple[float, ...],
    radius: float,
) -> Part:
    """Figure 4: what maximum likelihood learns, standard and robust."""
    g = _gaussian(problem)
    key_samples, key_points = jax.random.split(key)
    x, y = theory.sample(key_samples, g, samples)
    points, labels = theory.sample(key_points, g, DRAWN)
    fit = jax.jit(theory.exact_robust_mle)

    def panel(epsilon: float) -> Part:
        robust, fitted = theory.robust_mle(g, epsilon), fit(x, y, epsilon)
        w = theory.weights(robust)
        return {
            "epsilon": epsilon,
            "mean": robust.mean,
            "cov": robust.cov,
            "fitted_mean": fitted.mean,
            "fitted_cov": fitted.cov,
            "weights": w,
            "alignment": theory.alignment(robust),
            "radius": radius,
            "perturbations": theory.worst_perturbation(
                robust, points[:8], labels[:8], radius
            ),
            "standard_accuracy": theory.accuracy(g, w),
            "robust_accuracy": theory.accuracy(g, w, radius),
        }

    return {
        "problem": {"mean": g.mean, "cov": g.cov, "samples": samples},
        "points": {"x": points, "y": labels},
        "panels": [panel(epsilon) for epsilon in panels],
    }


@part
def curve(key: Key, *, problem: Problem, samples: int) -> Part:
    """Σ_r and λ against ε: Theorem 2 by its formula, and equation 12 without it."""
    g = _gaussian(problem)
    epsilons = jnp.geomspace(0.01, 100, 40)

    def at(epsilon):
        robust = theory.robust_mle(g, epsilon)
        return {
            "multiplier": theory.multiplier(g.cov, epsilon),
            "eigenvalues": jnp.diag(robust.cov),
            "condition_number": theory.condition_number(robust.cov),
            "alignment": theory.alignment(robust),
        }

    x = _matched(key, g, samples)
    fit = jax.jit(lambda epsilon: theory.exact_robust_mle(x, jnp.ones(len(x)), epsilon))
    some = np.geomspace(0.1, 100, 7)
    return {
        "curve": {"epsilon": epsilons, **jax.vmap(at)(epsilons)},
        "exact": {
            "epsilon": some,
            "eigenvalues": [jnp.diag(fit(epsilon).cov) for epsilon in some],
            "points": len(x),
        },
    }


@part
def fits(
    key: Key,
    *,
    problem: Problem,
    samples: int,
    radii: tuple[float, ...],
    maximisers: tuple[tuple[int, float], ...],
) -> Part:
    """Adversarial training by the exact adversary and by PGD, on the same samples."""
    g = _gaussian(problem)
    x, y = theory.sample(key, g, samples)
    epsilons = jnp.asarray(radii)

    def train(adversary: Callable[[jax.Array], theory.Perturb]) -> Gaussian:
        fit = jax.vmap(lambda e: theory.fit_robust_mle(x, y, adversary(e)))
        return jax.jit(fit)(epsilons)

    def pgd(steps: int, size: float) -> Gaussian:
        return train(lambda e: theory.pgd(e, steps=steps, step_size=size * e))

    best = train(theory.exact)
    fitted_by = [
        (None, None, best),
        *((k, size, pgd(k, size)) for k, size in maximisers),
    ]
    rows = [
        {
            "maximiser": "pgd" if steps else "exact",
            "steps": steps,
            "step_size": size,  # As a part of epsilon.
            "epsilon": epsilon,
            "mean": fitted.mean[i],
            "cov": fitted.cov[i],
            "difference": _distance(fitted.cov[i], best.cov[i]),
            "error": _distance(fitted.cov[i], theory.robust_mle(g, epsilon).cov),
            "monte_carlo": _distance(theory.mle(x, y).cov, g.cov),
        }
        for steps, size, fitted in fitted_by
        for i, epsilon in enumerate(radii)
    ]
    return {"fits": rows}


@part
def dimensions(key: Key, *, sizes: tuple[int, ...], samples: int) -> Part:
    """How far Theorem 2's relaxation is from equation 12 as dimensions grow."""

    def row(spectrum: str, d: int, variances: np.ndarray, epsilon: float) -> Part:
        cov = jnp.diag(jnp.asarray(variances))
        g = Gaussian(jnp.ones(d), cov)
        x = _matched(jax.random.fold_in(key, d), g, samples)
        exact = jax.jit(theory.exact_robust_mle)(x, jnp.ones(len(x)), epsilon)
        relaxed = jnp.diag(theory.robust_mle(g, epsilon).cov)
        spent = jnp.sqrt(relaxed) - jnp.sqrt(jnp.diag(cov))
        return {
            "spectrum": spectrum,
            "dimension": d,
            "epsilon": epsilon,
            "samples": len(x),
            "difference": jnp.abs(jnp.diag(exact.cov) / relaxed - 1).max(),
            "concentration": jnp.sum(spent**4) / epsilon**4,
        }

    rows = []
    for d in sizes:
        even = np.linspace(0.1, 1, d)
        rows.append(row("uniform", d, even, float(0.3 * np.sqrt(even.sum()))))
    for d in sizes:
        tiny = np.append(1e-4, np.ones(d - 1))
        rows.append(row("one tiny direction", d, tiny, 0.02))
    return {"dimensions": rows}


@part
def tradeoff(key: Key, *, problem: Problem) -> Part:
    """Accuracy and usefulness under attack, of what is learned for several radii."""
    g = _gaussian(problem)
    radii = jnp.linspace(0, 2 * jnp.linalg.norm(g.mean) / 3, 30)
    trained = (0.0, 1.0, 3.0, 10.0)
    w = {e: theory.weights(theory.robust_mle(g, e)) for e in trained}
    features = {
        "x1": jnp.array([-1.0, 0.0]),
        "x2": jnp.array([0.0, 1.0]),
        "maximum likelihood": w[0.0],
        "robust, ε = 10": w[10.0],
    }
    return {
        "tradeoff": {
            "test_epsilon": radii,
            "train_epsilon": trained,
            "accuracy": [[theory.accuracy(g, w[e], r) for r in radii] for e in trained],
        },
        "usefulness": [
            {
                "feature": name,
                "weights": a,
                "epsilon": radii,
                "gamma": [theory.usefulness(g, a, r) for r in radii],
            }
            for name, a in features.items()
        ],
    }


def _gaussian(problem: Problem) -> Gaussian:
    mean, variances = problem
    return Gaussian(jnp.asarray(mean), jnp.diag(jnp.asarray(variances)))


def _matched(key: Key, g: Gaussian, n: int) -> jax.Array:
    """[n, D] draws of y x moved to have exactly the mean and covariance of `g`.

    Only their higher moments are left to chance.
    """
    x = jax.random.normal(key, (n, len(g.mean)))
    x = x - x.mean(0)[None]
    white = jnp.linalg.solve(jnp.linalg.cholesky(x.T @ x / n), x.T)
    return g.mean[None] + (jnp.linalg.cholesky(g.cov) @ white).T


def _distance(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.linalg.norm(a - b) / jnp.linalg.norm(b)
