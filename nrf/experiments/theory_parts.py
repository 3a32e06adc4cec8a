"""The numbers of the theory's page: each function makes one part of theory.json.

Closed forms beside what is found without them, in the precision that JAX is set to.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nrf import theory
from nrf.config import Theory
from nrf.theory import Gaussian
from nrf.types import Key

Part = dict[str, Any]
DRAWN = 300  # Points of a picture.


def figure(config: Theory, key: Key) -> Part:
    """Figure 4: what maximum likelihood learns, standard and robust."""
    g = _problem(config)
    key_samples, key_points = jax.random.split(key)
    x, y = theory.sample(key_samples, g, config.samples)
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
            "radius": config.radius,
            "perturbations": theory.worst_perturbation(
                robust, points[:8], labels[:8], config.radius
            ),
            "standard_accuracy": theory.accuracy(g, w),
            "robust_accuracy": theory.accuracy(g, w, config.radius),
        }

    return {
        "problem": {"mean": g.mean, "cov": g.cov, "samples": config.samples},
        "points": {"x": points, "y": labels},
        "panels": [panel(epsilon) for epsilon in config.panels],
    }


def curve(config: Theory, key: Key) -> Part:
    """Σ_r and λ against ε: Theorem 2 by its formula, and equation 12 without it."""
    g = _problem(config)
    epsilons = jnp.geomspace(0.01, 100, 40)

    def at(epsilon):
        robust = theory.robust_mle(g, epsilon)
        return {
            "multiplier": theory.multiplier(g.cov, epsilon),
            "eigenvalues": jnp.diag(robust.cov),
            "condition_number": theory.condition_number(robust.cov),
            "alignment": theory.alignment(robust),
        }

    x = _matched(key, g, config.samples)
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


def fits(config: Theory, key: Key) -> Part:
    """Adversarial training by the exact adversary and by PGD, on the same samples."""
    g = _problem(config)
    x, y = theory.sample(key, g, config.fit_samples)
    epsilons = jnp.asarray(config.fit_epsilons)

    def train(adversary: Callable[[jax.Array], theory.Perturb]) -> Gaussian:
        fit = jax.vmap(lambda e: theory.fit_robust_mle(x, y, adversary(e)))
        return jax.jit(fit)(epsilons)

    def pgd(steps: int, size: float) -> Gaussian:
        return train(lambda e: theory.pgd(e, steps=steps, step_size=size * e))

    best = train(theory.exact)
    found = [(None, None, best), *((k, size, pgd(k, size)) for k, size in config.pgd)]
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
        for steps, size, fitted in found
        for i, epsilon in enumerate(config.fit_epsilons)
    ]
    return {"fits": rows}


def dimensions(config: Theory, key: Key) -> Part:
    """How far Theorem 2's relaxation is from equation 12 as dimensions grow."""

    def row(spectrum: str, d: int, variances: np.ndarray, epsilon: float) -> Part:
        cov = jnp.diag(jnp.asarray(variances))
        g = Gaussian(jnp.ones(d), cov)
        x = _matched(jax.random.fold_in(key, d), g, config.dimension_samples)
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
    for d in config.dimensions:
        even = np.linspace(0.1, 1, d)
        rows.append(row("uniform", d, even, float(0.3 * np.sqrt(even.sum()))))
    for d in config.dimensions:
        tiny = np.append(1e-4, np.ones(d - 1))
        rows.append(row("one tiny direction", d, tiny, 0.02))
    return {"dimensions": rows}


def vulnerability(config: Theory, key: Key) -> Part:
    """Theorem 1: its formula beside a Monte Carlo estimate, and its minimiser."""
    key_turn, key_samples = jax.random.split(key)
    d, penalty = len(config.eigenvalues), config.penalty
    turn = jax.random.orthogonal(key_turn, d)
    cov = (turn * jnp.asarray(config.eigenvalues)[None]) @ turn.T
    g = Gaussian(jnp.zeros(d), cov)

    @jax.jit
    def rise(key):
        x, y = theory.sample(key, g, config.draws)
        attacked = x + theory.penalised_perturbation(g, x, y, penalty)
        gap = theory.nll(g, attacked, y) - theory.nll(g, x, y)
        return gap.mean(), gap.std() / np.sqrt(config.draws)

    estimate, error = rise(key_samples)
    trace = jnp.trace(cov)
    formula = theory.vulnerability(cov, penalty)
    return {
        "vulnerability": {
            "penalty": penalty,
            "eigenvalues": config.eigenvalues,
            "samples": config.draws,
            "formula": formula,
            "monte_carlo": estimate,
            "standard_error": error,
            "printed": 2 * formula,
            "isotropic": theory.vulnerability(trace / d * jnp.eye(d), penalty),
            "descent": _descend(cov, penalty),
        }
    }


def _descend(cov: jax.Array, penalty: float, steps: int = 400) -> Part:
    """Gradient descent on the vulnerability over all Σ of one trace."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, steps))

    def fixed(root):
        free = root @ root.T
        return free * jnp.trace(cov) / jnp.trace(free)

    def step(carry, _):
        root, state = carry
        value, gradient = jax.value_and_grad(
            lambda root: theory.vulnerability(fixed(root), penalty)
        )(root)
        updates, state = optimizer.update(gradient, state)
        now = value, jnp.linalg.eigvalsh(fixed(root))
        return (optax.apply_updates(root, updates), state), now

    root = jnp.linalg.cholesky(cov)
    start = root, optimizer.init(root)
    values, eigenvalues = jax.jit(lambda: jax.lax.scan(step, start, length=steps))()[1]
    shown = slice(None, None, 4)
    return {
        "step": np.arange(steps)[shown],
        "vulnerability": values[shown],
        "eigenvalues": eigenvalues[shown],
    }


def alignment(config: Theory, key: Key) -> Part:
    """Theorem 3: for an example, and on random problems of 2 to 11 dimensions."""
    cov = jnp.diag(jnp.asarray(config.spectrum))
    epsilons = (0.0, 0.1, 0.5, 1.0, 3.0, 10.0)
    covs = [theory.robust_mle(Gaussian(jnp.ones(3), cov), e).cov for e in epsilons]

    def gain(key, d):
        keys = jax.random.split(key, 4)
        turn = jax.random.orthogonal(keys[0], d)
        spread = jnp.exp(2 * jax.random.normal(keys[1], (d,)))
        g = Gaussian(jax.random.normal(keys[2], (d,)), (turn * spread[None]) @ turn.T)
        epsilon = 10 ** jax.random.uniform(keys[3], minval=-2, maxval=1)
        return theory.alignment(theory.robust_mle(g, epsilon)) - theory.alignment(g)

    sizes = (2, 3, 11)
    keys = jax.random.split(key, (len(sizes), -(-config.problems // len(sizes))))
    gains = jnp.stack(
        [
            jax.jit(jax.vmap(lambda key, d=d: gain(key, d)))(keys[i])
            for i, d in enumerate(sizes)
        ]
    )
    return {
        "alignment": {
            "eigenvalues": config.spectrum,
            "epsilon": epsilons,
            "condition_number": [theory.condition_number(c) for c in covs],
            "worst_alignment": [theory.worst_alignment(c) for c in covs],
            "problems": gains.size,
            # Less than this is rounding.
            "violations": (gains < -1e-12).sum(),
            "least_gain": gains.min(),
        }
    }


def tradeoff(config: Theory, key: Key) -> Part:
    """Accuracy and usefulness under attack, of what is learned for several radii."""
    g = _problem(config)
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


PARTS = (figure, curve, fits, dimensions, vulnerability, alignment, tradeoff)


def _problem(config: Theory) -> Gaussian:
    return Gaussian(jnp.asarray(config.mean), jnp.diag(jnp.asarray(config.variances)))


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
