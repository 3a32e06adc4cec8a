"""Noise whose rows are drawn when they are asked for.

noise = Noise(jax.random.key(0), (50_000, 32, 32, 3))
noise[rows]  # As those of clip(0.5 + jax.random.normal(key, shape) / 20, 0, 1).
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32

from nrf.rows import Lazy
from nrf.types import Key


class Noise(Lazy):
    """Grey images with Gaussian noise: [N, H, W, C] in [0, 1], bit for bit as above."""

    def __init__(self, key: Key, shape: tuple[int, ...]):
        super().__init__(shape, np.float32, within=True)
        self.key = key

    def read(self, rows: np.ndarray) -> np.ndarray:
        each = math.prod(self.shape[1:])
        first = rows.astype(np.uint64) * np.uint64(each)
        high, low = (first >> np.uint64(32)), first & np.uint64(2**32 - 1)
        words = jax.random.key_data(self.key)
        drawn = _normal(words, high.astype(np.uint32), low.astype(np.uint32), each)
        noise = np.clip(np.asarray(0.5 + drawn / 20), 0, 1)
        return noise.reshape(len(rows), *self.shape[1:])


@functools.partial(jax.jit, static_argnums=3)
def _normal(words, high, low, each):
    """[R, each] what `jax.random.normal` draws from there on: numbers high · 2³² + low.

    With `jax_threefry_partitionable`, which runs need, the n-th number is one of a
    counter n, whatever is drawn beside it.
    """
    counter = low[:, None] + jnp.arange(each, dtype=jnp.uint32)[None]
    carried = (counter < low[:, None]).astype(jnp.uint32)
    counts = jnp.stack([high[:, None] + carried, counter]).reshape(-1)
    bits = jnp.bitwise_xor(*threefry_2x32(words, counts).reshape(2, -1, each))
    # From here on as there: bits of a number in [1, 2), then a uniform in (-1, 1).
    one = jax.lax.bitcast_convert_type(bits >> 9 | jnp.uint32(0x3F800000), jnp.float32)
    least = np.nextafter(np.float32(-1), np.float32(0), dtype=np.float32)
    uniform = jnp.maximum(least, (one - 1) * (np.float32(1) - least) + least)
    return np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform)
