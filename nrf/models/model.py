"""The parts that the architectures share."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from nrf.models.convolution import conv
from nrf.types import Output

# The standard deviation of a normal variable that is drawn again beyond two of its own.
_TRUNCATED = 0.87962566103423978


class Body(nn.Module):
    """Base of the networks: normalised images in, `Output` out.

    Attributes:
      num_classes: K.
      mean, std: Per channel (or one for all), in [0, 1] pixels.
      dtype: Of the computation; parameters, statistics and outputs stay float32.
      identity_relu: Send the gradient through the last ReLU as if it were the
        identity, so that dead units can be matched (the authors' `fake_relu`).
    """

    num_classes: int
    mean: Sequence[float]
    std: Sequence[float]
    dtype: Any = jnp.float32
    identity_relu: bool = False

    def normalise(self, x):
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, x.shape[-1]):
                raise ValueError(
                    f"{name} must be one number or one for each of the "
                    f"{x.shape[-1]} channels of the images, got {tuple(values)}."
                )
        # [1, 1, 1, C or 1]: the package runs with rank promotion forbidden.
        mean = jnp.asarray(self.mean, x.dtype).reshape(1, 1, 1, -1)
        std = jnp.asarray(self.std, x.dtype).reshape(1, 1, 1, -1)
        return ((x - mean) / std).astype(self.dtype)

    def require_side(self, x, smallest):
        if min(x.shape[1:3]) < smallest:
            raise ValueError(
                f"{type(self).__name__} halves its images too often for "
                f"{x.shape[1]} x {x.shape[2]}; the smallest side is {smallest}."
            )

    def conv(self, width, kernel=3, stride=1, padding=None, kernel_init=None):
        """`kernel` is a side or (height, width); `padding` by default half of it."""
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        return nn.Conv(
            width,
            sides,
            (stride, stride),
            padding=padding or [side // 2 for side in sides],
            use_bias=False,
            dtype=self.dtype,
            kernel_init=kernel_init or he_normal,
            conv_general_dilated=conv,
        )

    def norm(self, train, scale_init=nn.initializers.ones):
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
            scale_init=scale_init,
        )

    def last_relu(self, x):
        return identity_gradient_relu(x) if self.identity_relu else nn.relu(x)

    def output(self, features):
        features = features.astype(jnp.float32)
        return Output(nn.Dense(self.num_classes)(features), features)


def he_normal(key, shape, dtype=jnp.float32):
    """He's initialisation of a kernel, with the numbers of Flax's `he_normal`.

    XLA compiles one generator for every shape, which takes longer than training steps
    do; deep networks have a hundred shapes, and few powers of two above their sizes.
    """
    size = math.prod(shape)
    drawn = _draw(key, 1 << max(size - 1, 1023).bit_length(), dtype)[:size]
    deviation = math.sqrt(2 / math.prod(shape[:-1])) / _TRUNCATED
    return drawn.reshape(shape) * jnp.asarray(deviation, dtype)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _draw(key, size, dtype):
    return jax.random.truncated_normal(key, -2, 2, (size,), dtype)


@jax.custom_jvp
def identity_gradient_relu(x):
    return nn.relu(x)


identity_gradient_relu.defjvp(lambda x, dx: (nn.relu(x[0]), dx[0]))
