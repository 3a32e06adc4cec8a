"""Images with one robust and one non-robust feature, planted so that truth is known.

Two classes, y = ±1. In an orthonormal basis of the 8 x 8 pixels, around grey 0.5,

    shade    (dark above, bright below)  ~ N(0.3 y, 0.225²)   large, 91 % right
    checker  (a fine chessboard)         ~ N(0.08 y, 0.032²)  small, 99 % right
    62 other directions                  ~ N(0, 0.1²)         nothing

A perturbation of ℓ2 norm 0.15 reverses the chessboard and not the shade: the best
classifier of these images is fooled by features, not by bugs. Everything about linear
classifiers of them has a closed form; `python -m nrf.data.planted` prints the right answers.
"""

import jax.numpy as jnp
import numpy as np

from nrf import theory
from nrf.types import Dataset

SIDE = 8
SHADE = (0.3, 0.225)  # Mean times y, standard deviation.
CHECKER = (0.08, 0.032)
NOISE = 0.1
NAMES = ("bright above", "bright below")


def basis() -> np.ndarray:
    """[64, 64] orthonormal rows: the shade, the chessboard, and what is left."""
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    shade = np.where(row < SIDE // 2, -1.0, 1.0) / SIDE
    checker = np.where((row + column) % 2, -1.0, 1.0) / SIDE
    others = np.random.default_rng(0).standard_normal((SIDE**2 - 2, SIDE**2))
    q, r = np.linalg.qr(np.stack([shade, checker, *others]).T)
    return (q * np.sign(np.diag(r))).T


def load(examples: int = 4000) -> tuple[Dataset, Dataset]:
    """Training and test set of so many images [8, 8, 1]; class 1 has y = +1."""
    return _draw(np.random.default_rng(1), examples), _draw(
        np.random.default_rng(2), examples
    )


def moments() -> tuple[np.ndarray, np.ndarray]:
    """[64] mean of y (x − 0.5) and [64] variances, in the basis' coordinates."""
    mean, variance = np.zeros(SIDE**2), np.full(SIDE**2, NOISE**2)
    mean[:2] = SHADE[0], CHECKER[0]
    variance[:2] = SHADE[1] ** 2, CHECKER[1] ** 2
    return mean, variance


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
    found = theory.accuracy(gaussian(), jnp.float32(robust), epsilon_train)
    best = robust[int(found.argmax())]
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


def _draw(generator: np.random.Generator, examples: int) -> Dataset:
    labels = generator.permutation(np.arange(examples, dtype=np.int32) % 2)
    mean, variance = moments()
    noise = generator.standard_normal((examples, SIDE**2)) * np.sqrt(variance)
    coordinates = (2 * labels[:, None] - 1) * mean + noise
    pixels = 0.5 + coordinates @ basis()
    # Clipping touches about one pixel in a hundred thousand.
    images = np.clip(pixels, 0, 1).astype(np.float32)
    return Dataset(images.reshape(-1, SIDE, SIDE, 1), labels, NAMES)


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
