"""The right answers for the planted images: linear classifiers of them, in closed form.

python -m nrf.theory.planted  # prints usefulness and accuracies
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from nrf import theory
from nrf.config import Experiment
from nrf.data.planted import SIDE, moments


def gaussian() -> theory.Gaussian:
    """What the basis' coordinates are drawn from, before they are clipped."""
    mean, variance = moments()
    return theory.Gaussian(jnp.float32(mean), jnp.diag(jnp.float32(variance)))


def accuracy(a: np.ndarray, epsilon: float = 0.0) -> float:
    """Of the classifier sign(aᵀ coordinates), under ℓ2 attacks of radius epsilon."""
    return float(theory.accuracy(gaussian(), jnp.float32(a), epsilon))


def usefulness(a: np.ndarray, epsilon: float = 0.0) -> float:
    """γ(ε) of the feature aᵀ coordinates at unit variance; ρ at ε = 0 (section 2)."""
    return float(theory.usefulness(gaussian(), jnp.float32(a), epsilon))


def answers(epsilon_train: float, epsilon_toward: float) -> dict[str, np.ndarray]:
    """The right answers: linear discriminants of D and of what is made from it.

    A set whose classes have means ±m and a common covariance C has the discriminant
    C⁻¹m. For D these are μ and Σ; its best classifier under attacks is (Σ + τI)⁻¹μ,
    with τ at its largest robust accuracy. Matching the unit feature a of either moves
    a start x₀ to x₀ + a aᵀ(x − x₀), where x₀ does not know the label. Attacking the
    standard classifier adds ε a t to x: m is ε a − μ on D_det. D_rand is half D_det and
    half images pushed to where they were; D_det's is the half that is hard to tell
    apart, so its discriminant decides.
    """
    mean, variance = moments()
    sigma, size = np.diag(variance), np.eye(len(mean))

    robust = mean / (variance + np.geomspace(1e-6, 1e3, 1000)[:, None])
    accuracies = theory.accuracy(gaussian(), jnp.float32(robust), epsilon_train)
    best = robust[int(accuracies.argmax())]
    standard = mean / variance

    def matched(a: np.ndarray) -> np.ndarray:
        a = a / np.linalg.norm(a)
        kept = np.outer(a, a)
        start = sigma + np.outer(mean, mean)
        covariance = kept @ sigma @ kept + (size - kept) @ start @ (size - kept)
        return np.linalg.solve(covariance, a)

    push = epsilon_toward * standard / np.linalg.norm(standard)
    changed = (push - mean) / variance
    return {
        "D": standard,
        "D, adversarial": best,
        "D_R": matched(best),
        "D_NR": matched(standard),
        "D_rand": changed,
        "D_det": changed,
    }


def right_answers(config: Experiment) -> dict[str, list[dict[str, float]]]:
    """By network, the accuracies of its data's best linear classifier at each radius.

    Of an experiment with the sets of configs/planted.py, and with networks "standard"
    and "robust": of those of them that it has. The first adversarial training says at
    which radius robust is, and D_det, or D_rand, how far images are pushed.
    """
    attacks = [one.attack for one in config.networks.values() if one.attack]
    recipes: dict[str, Any] = {one.name: one.recipe for one in config.sets}
    pushed = [recipes[name] for name in ("D_det", "D_rand") if name in recipes]
    known = answers(
        attacks[0].epsilon if attacks else 0.0,
        pushed[0].attack.epsilon if pushed else 0.0,
    )
    names = {"standard": "D", "robust": "D, adversarial"}
    asked = {name: names[name] for name in config.networks if name in names}
    asked |= {f"on_{name}": name for name in recipes if name in known}
    radii = (0.0, *config.evaluation.epsilons)
    return {
        network: [{"epsilon": e, "accuracy": accuracy(known[of], e)} for e in radii]
        for network, of in asked.items()
    }


def main() -> None:
    radii = (0.0, 0.075, 0.15)
    print("feature   ", *(f"gamma({epsilon:g})" for epsilon in radii))
    for name, a in zip(("shade", "checker"), np.eye(SIDE**2), strict=False):
        print(f"{name:9s}", *(f"{usefulness(a, epsilon):9.2f}" for epsilon in radii))
    print("\ntrained on     ", *(f"  at {epsilon:<5g}" for epsilon in radii))
    for name, a in answers(0.15, 0.2).items():
        print(
            f"{name:15s}",
            *(f"{100 * accuracy(a, epsilon):7.1f} %" for epsilon in radii),
        )


if __name__ == "__main__":
    main()
