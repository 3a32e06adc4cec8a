"""Inception-v3 in CIFAR form (https://arxiv.org/abs/1512.00567).

As in the authors' library: a stem of stride 1 without max-pooling, so that 32x32 images
pass through the three kinds of blocks at 30x30, 14x14 and 6x6; no auxiliary classifier;
3x3 instead of 1x1 convolutions after the pooling in the first kind. Their dropout
before the linear layer is left out: networks here see variables and images alone.
"""

import functools
import math

import jax.numpy as jnp
from flax import linen as nn

from nrf.models.model import Body

TALL, WIDE = (7, 1), (1, 7)  # Kernels; together they see 7x7 pixels.
HALVED = (3, 2, "VALID")  # Kernel, stride and padding.


class Inception(Body):
    """Blocks of parallel branches of convolutions, concatenated.

    Attributes:
      width: 64 as published, with 22,133,738 parameters for 10 classes; channels are
        multiplied by width / 64, and rounded up.
    """

    width: int = 64

    @nn.compact
    def __call__(self, x, train):
        self.require_side(x, 9)
        x = self.normalise(x)
        x = self.chain(train, x, (32, 3), (32, 3), (64, 3), (80, 1))
        x = self.chain(train, x, (192, 3, 1, "VALID"))
        for pooled in (32, 64, 64):
            x = self.square(train, x, pooled)
        x = self.halve_square(train, x)
        for inner in (128, 160, 160, 192):
            x = self.long(train, x, inner)
        x = self.halve_long(train, x)
        x = self.forked(train, x, nn.relu)
        x = self.forked(train, x, self.last_relu)
        return self.output(x.mean((1, 2)))

    def chain(self, train, x, *layers, relu=nn.relu):
        """Convolution, BatchNorm and ReLU for every layer; `relu` is the last one's.

        A layer is (channels as published, kernel), or more arguments of `self.conv`.
        """
        for i, (channels, *shape) in enumerate(layers):
            conv = self.conv(math.ceil(channels * self.width / 64), *shape)
            x = self.norm(train)(conv(x))
            x = relu(x) if i == len(layers) - 1 else nn.relu(x)
        return x

    def square(self, train, x, pooled):
        chain = functools.partial(self.chain, train)
        return concatenate(
            chain(x, (64, 1)),
            chain(x, (48, 1), (64, 5)),
            chain(x, (64, 1), (96, 3), (96, 3)),
            chain(average(pad(x)), (pooled, 3)),
        )

    def halve_square(self, train, x):
        chain = functools.partial(self.chain, train)
        return concatenate(
            chain(x, (384, *HALVED)),
            chain(x, (64, 1), (96, 3), (96, *HALVED)),
            nn.max_pool(x, (3, 3), (2, 2)),
        )

    def long(self, train, x, inner):
        chain = functools.partial(self.chain, train)
        tall, wide, last = (inner, TALL), (inner, WIDE), (192, WIDE)
        return concatenate(
            chain(x, (192, 1)),
            chain(x, (inner, 1), tall, last),
            chain(x, (inner, 1), tall, wide, tall, last),
            chain(average(pad(x)), (192, 1)),
        )

    def halve_long(self, train, x):
        chain = functools.partial(self.chain, train)
        return concatenate(
            chain(x, (192, 1), (320, *HALVED)),
            chain(x, (192, 1), (192, WIDE), (192, TALL), (192, *HALVED)),
            average(x)[:, ::2, ::2],
        )

    def forked(self, train, x, relu):
        chain = functools.partial(self.chain, train)
        last = functools.partial(self.chain, train, relu=relu)

        def fork(x):
            return [last(x, (384, kernel)) for kernel in ((1, 3), (3, 1))]

        return concatenate(
            last(x, (320, 1)),
            *fork(chain(x, (384, 1))),
            *fork(chain(x, (448, 1), (384, 3))),
            last(average(pad(x)), (192, 1)),
        )


def concatenate(*branches):
    return jnp.concatenate(branches, axis=-1)


def pad(x):
    """A border of one pixel of zeros."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def average(x):
    """[B, H, W, C] to [B, H - 2, W - 2, C], by the means of all squares of nine."""
    x = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    return (x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]) / 9
