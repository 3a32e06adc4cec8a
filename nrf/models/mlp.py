"""A fully connected network, for data whose pixels have meaning one by one."""

from collections.abc import Sequence

from flax import linen as nn

from nrf.models.model import Body


class MLP(Body):
    widths: Sequence[int] = (32,)

    @nn.compact
    def __call__(self, x, train):
        x = self.normalise(x).reshape(len(x), -1)
        for i, width in enumerate(self.widths, 1):
            relu = self.last_relu if i == len(self.widths) else nn.relu
            x = relu(nn.Dense(width, dtype=self.dtype)(x))
        return self.output(x)
