"""Noise whose rows are drawn when they are asked for.

images = Noise(jax.random.key(0), (50_000, 32, 32, 3))
images[rows]  # clip(0.5 + N(0, 1) / 20), the same ones whatever is drawn beside them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from nrf.rows import Lazy
from nrf.types import Key


class Noise(Lazy):
    """Grey images with Gaussian noise: [N, H, W, C] float32 in [0, 1]."""

    def __init__(self, key: Key, shape: tuple[int, ...]):
        super().__init__(shape, np.float32, within=True)
        self.key = key

    def read(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(_drawn(self.key, rows.astype(np.uint32), self.shape[1:]))


@functools.partial(jax.jit, static_argnums=2)
def _drawn(key, rows, shape):
    """[R, *shape], each by the key of its row."""

    def one(row):
        noise = jax.random.normal(jax.random.fold_in(key, row), shape, jnp.float32)
        return jnp.clip(0.5 + noise / 20, 0, 1)

    return jax.vmap(one)(rows)
