"""DenseNet-121 in CIFAR form (https://arxiv.org/abs/1608.06993).

The stem is one 3x3 convolution of stride 1 without max-pooling, as in the authors'
library, so that 32x32 images reach the last stage at 4x4.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from nrf.models.model import Body
from nrf.models.small import halve


class DenseNet(Body):
    """Four stages of layers that see the outputs of all layers before them.

    Attributes:
      layers: Pairs of a 1x1 and a 3x3 convolution in each stage.
      width: Channels of the stem, and twice those that every pair adds (the growth); 64
        as published. Then there are 6,956,298 parameters for 10 classes.
    """

    layers: Sequence[int] = (6, 12, 24, 16)
    width: int = 64

    @nn.compact
    def __call__(self, x, train):
        self.require_side(x, 8)
        growth = (self.width + 1) // 2
        x = self.conv(self.width)(self.normalise(x))
        for stage, layers in enumerate(self.layers):
            if stage > 0:
                x = halve(self.layer(x, x.shape[-1] // 2, 1, train))
            for _ in range(layers):
                y = self.layer(x, 4 * growth, 1, train)
                y = self.layer(y, growth, 3, train)
                x = jnp.concatenate([y, x], axis=-1)
        x = self.last_relu(self.norm(train)(x))
        return self.output(x.mean((1, 2)))

    def layer(self, x, width, kernel, train):
        return self.conv(width, kernel)(nn.relu(self.norm(train)(x)))
