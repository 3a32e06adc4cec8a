"""A small network that learns CIFAR-10 in seconds, in the manner of airbench94.

Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024),
https://arxiv.org/abs/2404.00498. What its recipe asks of the network is here, so that
plain gradient descent at one rate trains it: see `configs/cifar10_minute.py`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from nrf.models.convolution import conv
from nrf.models.model import Body, he_normal
from nrf.types import Output

# Added to the variances of patches, in normalised pixels, as published.
_LEAST = 5e-4


class Airbench(Body):
    """Fixed filters that whiten 2x2 patches, then three blocks of two convolutions.

    The filters are computed from the images that `init` is given, and kept among
    the variables as "whitening", which no optimizer changes. Attacks see gradients
    without kinks but for maxima: activations are GELU. Features are the maxima of the
    last block over the image, divided by 9.

    Differences from the published network: whitening takes the mean of the patches
    away, its bias is trained to the end, and BatchNorm's epsilon is 1e-5 rather than
    1e-12, so that a channel that is constant is not blown up for attacks to find.

    Attributes:
      widths: Channels of the blocks; (64, 256, 256) as published.
    """

    widths: Sequence[int] = (64, 256, 256)

    @nn.compact
    def __call__(self, x, train):
        self.require_side(x, 2)
        x = nn.gelu(self.whiten(self.normalise(x)))
        for width in self.widths:
            x = halve(self.conv(width, kernel_init=identity)(x))
            x = nn.gelu(Shift(self.dtype)(x, train))
            x = self.conv(width, kernel_init=identity)(x)
            x = nn.gelu(Shift(self.dtype)(x, train))
        features = x.max((1, 2)).astype(jnp.float32) / 9
        last = nn.Dense(self.num_classes, use_bias=False, kernel_init=small)
        return Output(last(features), features)

    def whiten(self, x):
        """[B, H, W, C] to [B, H - 1, W - 1, 8 C]."""
        filters = self.variable("whitening", "filters", whitening, x).value
        bias = self.param("bias", nn.initializers.zeros, (filters.shape[-1],))
        numbers = jax.lax.conv_dimension_numbers(
            x.shape, filters.shape, ("NHWC", "HWIO", "NHWC")
        )
        filters = filters.astype(self.dtype)
        y = conv(x, filters, (1, 1), "VALID", dimension_numbers=numbers)
        return y + bias.astype(self.dtype)[None, None, None]


class Shift(nn.Module):
    """BatchNorm with a bias and without a scale.

    The bias is eight times its parameter: its steps are 64 times as long, by which
    the published recipe multiplies its rate, and its decay remains that of the others.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x, train):
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.6,
            epsilon=1e-5,
            dtype=self.dtype,
            use_scale=False,
            use_bias=False,
        )(x)
        return x + (8 * bias).astype(self.dtype)[None, None, None]


def whitening(x):
    """Filters [2, 2, C, 8 C] by which the patches of x [B, H, W, C] are uncorrelated.

    The first 4 C are the eigenvectors v of the covariance of patches, each divided by
    √(λ + 5e-4), those of the largest variance λ first; the others are their negatives.
    """
    _, h, w, c = x.shape
    views = [x[:, i : h - 1 + i, j : w - 1 + j] for i in (0, 1) for j in (0, 1)]
    patches = jnp.concatenate(views, -1).reshape(-1, 4 * c).astype(jnp.float32)
    patches -= patches.mean(0, keepdims=True)
    product = jnp.matmul(patches.T, patches, precision=jax.lax.Precision.HIGHEST)
    variances, vectors = jnp.linalg.eigh(product / len(patches))
    scale = jax.lax.rsqrt(jnp.maximum(variances, 0) + _LEAST)
    filters = (vectors * scale[None])[:, ::-1]
    return jnp.concatenate([filters, -filters], -1).reshape(2, 2, c, 8 * c)


def identity(key, shape, dtype=jnp.float32):
    """A kernel [h, w, I, O] whose first outputs are its inputs; others are `small`."""
    inputs, outputs = shape[2:]
    count = min(inputs, outputs)
    passed = (
        jnp.zeros(shape, dtype)
        .at[shape[0] // 2, shape[1] // 2]
        .set(jnp.eye(inputs, outputs, dtype=dtype))
    )
    first = jnp.arange(outputs)[None, None, None] < count
    return jnp.where(first, passed, small(key, shape, dtype))


def small(key, shape, dtype=jnp.float32):
    """Of variance 1 / (3 inputs), which PyTorch's layers begin with; normal here."""
    return he_normal(key, shape, dtype) / jnp.sqrt(jnp.asarray(6, dtype))


def halve(x):
    """[B, H, W, C] to [B, H // 2, W // 2, C], maxima of squares; a side of 1 stays.

    Their gradients are faster than those of a window's maximum, on CPUs above all.
    """
    b, h, w, c = x.shape
    down, right = min(h, 2), min(w, 2)
    x = x[:, : h // down * down, : w // right * right]
    return x.reshape(b, h // down, down, w // right, right, c).max((2, 4))
