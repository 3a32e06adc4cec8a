"""A fully connected network, for data whose pixels have meaning one by one."""

from collections.abc import Sequence

from flax import linen as nn

from nrf.models.model import Body, Model, functional


class MLP(Body):
    widths: Sequence[int] = (32,)

    @nn.compact
    def __call__(self, x, train):
        x = self.normalise(x).reshape(len(x), -1)
        for i, width in enumerate(self.widths, 1):
            relu = self.last_relu if i == len(self.widths) else nn.relu
            x = relu(nn.Dense(width, dtype=self.dtype)(x))
        return self.output(x)


def mlp(num_classes: int, *, widths: Sequence[int], mean, std, **options) -> Model:
    """Hidden layers of `widths` ReLU units, no BatchNorm; features [B, widths[-1]].

    Without hidden layers it is a linear classifier, whose features are the pixels.

    `mean`, `std` and `options` are the attributes of `nrf.models.model.Body`.
    """
    return functional(
        MLP(num_classes, mean=mean, std=std, widths=tuple(widths), **options)
    )
