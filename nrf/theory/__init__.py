"""The paper's section 4: what robust training learns of two Gaussians, exactly.

    g = theory.Gaussian(jnp.array([-10.0, 1.0]), jnp.diag(jnp.array([25.0, 0.5])))
    robust = theory.robust_mle(g, epsilon=1.0)  # Theorem 2: mean kept, cov inflated
    theory.alignment(robust)  # Theorem 3: its gradient, along the classes' difference

y is −1 or +1 with equal chance and x ~ N(y μ, Σ); an adversary may move x by ε in ℓ2.
gaussian.py has the model, adversary.py its worst perturbations and Theorem 1, robust.py
what is learned under them (Theorem 2, and by gradient), linear.py the accuracy and
gradient of classifiers (Theorem 3) and the usefulness of features. Docstrings say where
the paper's print (https://arxiv.org/abs/1905.02175v4) differs, and why.

Everything is a pure function, in the precision of its arguments. Arguments are checked
when they are known; under `jax.jit` or `jax.vmap` only their shapes are.
"""

from nrf.theory.adversary import (
    penalised_perturbation,
    robust_nll,
    vulnerability,
    worst_perturbation,
)
from nrf.theory.gaussian import Gaussian, mle, nll, sample, weights
from nrf.theory.linear import (
    accuracy,
    alignment,
    condition_number,
    usefulness,
    worst_alignment,
)
from nrf.theory.robust import (
    Perturb,
    exact,
    exact_robust_mle,
    fit_robust_mle,
    multiplier,
    pgd,
    robust_mle,
)

__all__ = [
    "Gaussian",
    "Perturb",
    "accuracy",
    "alignment",
    "condition_number",
    "exact",
    "exact_robust_mle",
    "fit_robust_mle",
    "mle",
    "multiplier",
    "nll",
    "penalised_perturbation",
    "pgd",
    "robust_mle",
    "robust_nll",
    "sample",
    "usefulness",
    "vulnerability",
    "weights",
    "worst_alignment",
    "worst_perturbation",
]
