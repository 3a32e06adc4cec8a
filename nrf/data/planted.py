"""Images with one robust and one non-robust feature, planted so that truth is known.

Two classes, y = ±1. In an orthonormal basis of the 8 x 8 pixels, around grey 0.5,

    shade    (dark above, bright below)  ~ N(0.3 y, 0.225²)   large, 91 % right
    checker  (a fine chessboard)         ~ N(0.08 y, 0.032²)  small, 99 % right
    62 other directions                  ~ N(0, 0.1²)         nothing

A perturbation of ℓ2 norm 0.15 reverses the chessboard and not the shade: the best
classifier of these images is fooled by features, not by bugs. Everything about linear
classifiers of them has a closed form: see `nrf.theory.planted`.
"""

import numpy as np

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


def load(examples: int | None = None) -> tuple[Dataset, Dataset]:
    """Training and test set of images [8, 8, 1]; class 1 has y = +1.

    Of so many images each; 16,000 and 4,000 by default. With 4,000 to learn from
    networks learn the noise of these as well, and no classifier is near the best.
    """
    sizes = (16_000, 4_000) if examples is None else (examples, examples)
    return _draw(np.random.default_rng(1), sizes[0]), _draw(
        np.random.default_rng(2), sizes[1]
    )


def moments() -> tuple[np.ndarray, np.ndarray]:
    """[64] mean of y (x − 0.5) and [64] variances, in the basis' coordinates."""
    mean, variance = np.zeros(SIDE**2), np.full(SIDE**2, NOISE**2)
    mean[:2] = SHADE[0], CHECKER[0]
    variance[:2] = SHADE[1] ** 2, CHECKER[1] ** 2
    return mean, variance


def _draw(generator: np.random.Generator, examples: int) -> Dataset:
    labels = generator.permutation(np.arange(examples, dtype=np.int32) % 2)
    mean, variance = moments()
    noise = generator.standard_normal((examples, SIDE**2)) * np.sqrt(variance)
    coordinates = (2 * labels[:, None] - 1) * mean + noise
    pixels = 0.5 + coordinates @ basis()
    # Clipping touches about one pixel in a hundred thousand.
    images = np.clip(pixels, 0, 1).astype(np.float32)
    return Dataset(images.reshape(-1, SIDE, SIDE, 1), labels, NAMES)
