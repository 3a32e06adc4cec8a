"""A small convolutional network, for laptops and small images."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from nrf.models import onednn
from nrf.models.model import Body


class Small(Body):
    """For every width a 3x3 convolution, BatchNorm and ReLU; halved sizes in between.

    The image is halved by average pooling, not by strides: strided convolutions have
    slow gradients on CPUs.

    Attributes:
      widths: Channels of each convolution.
      patch: Side of the squares of pixels that the first convolution sees as the
        channels of one; 1 for pixels. 2 saves most of the time on 32x32 images.
    """

    widths: Sequence[int] = (32, 64, 128)
    patch: int = 1

    @nn.compact
    def __call__(self, x, train):
        x = self.normalise(x)
        b, h, w, c = x.shape
        p = self.patch
        if h % p or w % p:
            raise ValueError(f"images of {h} x {w} have no whole {p} x {p} patches.")
        self.require_side(x, p * 2 ** (len(self.widths) - 1))
        x = x.reshape(b, h // p, p, w // p, p, c).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(b, h // p, w // p, p * p * c)
        for width in self.widths[:-1]:
            x = nn.relu(self.norm(train)(self.conv(width)(x)))
            x = halve(x)
        x = self.last_relu(self.norm(train)(self.conv(self.widths[-1])(x)))
        return self.output(x.mean((1, 2)))


def halve(x):
    """[B, H, W, C] to [B, H // 2, W // 2, C], by the means of squares of four."""
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    squares = x.reshape(b, h // 2, 2, w // 2, 2, c)
    return _mean(squares) if onednn.in_use() else squares.mean((2, 4))


@jax.custom_jvp
def _mean(squares):
    # Not by `mean`: XLA's CPU backend does not fuse a reduction with what made x, and
    # writes an image of zeros for the ReLU before it. Beside its own convolutions that
    # is hardly felt, and numbers would change by rounding.
    wide = jnp.float32 if squares.dtype.itemsize < 4 else squares.dtype
    pairs = squares[:, :, 0].astype(wide) + squares[:, :, 1].astype(wide)
    return ((pairs[:, :, :, 0] + pairs[:, :, :, 1]) / 4).astype(squares.dtype)


# Of a mean the gradient is spread out, of a sum of slices it is put together.
_mean.defjvp(lambda x, dx: (_mean(*x), dx[0].mean((2, 4))))
