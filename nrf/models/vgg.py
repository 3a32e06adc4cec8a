"""VGG-16 with BatchNorm in CIFAR form (https://arxiv.org/abs/1409.1556).

As in the authors' library, one linear layer follows the convolutions instead of three.
"""

from flax import linen as nn

from nrf.models.model import Body


class VGG(Body):
    """Thirteen 3x3 convolutions in five stages, each halved by max-pooling.

    Attributes:
      width: Channels of the first stage, doubled by every later one up to eightfold; 64
        as published. Then there are 14,724,042 parameters for 10 classes: the
        14,728,266 of the authors' without the biases of convolutions before BatchNorm.
    """

    width: int = 64

    @nn.compact
    def __call__(self, x, train):
        self.require_side(x, 32)
        x = self.normalise(x)
        for stage, layers in enumerate((2, 2, 3, 3, 3)):
            for layer in range(layers):
                relu = self.last_relu if (stage, layer) == (4, 2) else nn.relu
                width = self.width * min(2**stage, 8)
                x = relu(self.norm(train)(self.conv(width)(x)))
            x = nn.max_pool(x, (2, 2), (2, 2))
        # The mean of one pixel, for 32x32 images.
        return self.output(x.mean((1, 2)))
