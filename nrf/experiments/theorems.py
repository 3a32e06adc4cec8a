"""Theorems 1 and 3 by numbers: steps that make parts of theory.json."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nrf import theory
from nrf.experiments.theory_parts import Part, part
from nrf.theory import Gaussian
from nrf.types import Key


@part
def vulnerability(
    key: Key, *, eigenvalues: tuple[float, ...], penalty: float, samples: int
) -> Part:
    """Theorem 1: its formula beside a Monte Carlo estimate, and its minimiser."""
    key_turn, key_samples = jax.random.split(key)
    d = len(eigenvalues)
    turn = jax.random.orthogonal(key_turn, d)
    cov = (turn * jnp.asarray(eigenvalues)[None]) @ turn.T
    g = Gaussian(jnp.zeros(d), cov)

    @jax.jit
    def rise(key):
        x, y = theory.sample(key, g, samples)
        attacked = x + theory.penalised_perturbation(g, x, y, penalty)
        gap = theory.nll(g, attacked, y) - theory.nll(g, x, y)
        return gap.mean(), gap.std() / np.sqrt(samples)

    estimate, error = rise(key_samples)
    trace = jnp.trace(cov)
    formula = theory.vulnerability(cov, penalty)
    return {
        "vulnerability": {
            "penalty": penalty,
            "eigenvalues": eigenvalues,
            "samples": samples,
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


@part
def alignment(key: Key, *, spectrum: tuple[float, ...], problems: int) -> Part:
    """Theorem 3: for an example, and on random problems of 2 to 11 dimensions."""
    cov = jnp.diag(jnp.asarray(spectrum))
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
    keys = jax.random.split(key, (len(sizes), -(-problems // len(sizes))))
    gains = jnp.stack(
        [
            jax.jit(jax.vmap(lambda key, d=d: gain(key, d)))(keys[i])
            for i, d in enumerate(sizes)
        ]
    )
    return {
        "alignment": {
            "eigenvalues": spectrum,
            "epsilon": epsilons,
            "condition_number": [theory.condition_number(c) for c in covs],
            "worst_alignment": [theory.worst_alignment(c) for c in covs],
            "problems": gains.size,
            # Less than this is rounding.
            "violations": (gains < -1e-12).sum(),
            "least_gain": gains.min(),
        }
    }
