"""Residual networks that activate before they convolve.

PreActResNet-18 (https://arxiv.org/abs/1603.05027) and WideResNets
(https://arxiv.org/abs/1605.07146), as RobustBench has them: what `nrf.exchange` reads.
Those with Swish are of Gowal et al. (https://arxiv.org/abs/2010.03593).
"""

from collections.abc import Sequence

from flax import linen as nn

from nrf.models.model import Body


class PreAct(Body):
    """Stages of blocks of BatchNorm, ReLU and a 3x3 convolution, twice.

    Attributes:
      stem: Channels of the first convolution.
      widths: Channels of each stage; every stage but the first halves the image.
      blocks: Residual blocks in each stage.
      normed: Shortcuts that change the channels see the activated image, and BatchNorm
        and ReLU follow the last block. Without it they see the image as it comes, and
        the features are the means of the last block's sums.
      swish: x · sigmoid(x) instead of ReLU, and images that are halved are padded below
        and to the right, as TensorFlow's "SAME" does.
    """

    stem: int = 64
    widths: Sequence[int] = (64, 128, 256, 512)
    blocks: Sequence[int] = (2, 2, 2, 2)
    normed: bool = True
    swish: bool = False

    @nn.compact
    def __call__(self, x, train):
        x = self.conv(self.stem)(self.normalise(x))
        for stage, (width, blocks) in enumerate(
            zip(self.widths, self.blocks, strict=True)
        ):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = self.residual(x, width, stride, train)
        if self.normed:
            x = self.norm(train)(x)
            x = nn.swish(x) if self.swish else self.last_relu(x)
        return self.output(x.mean((1, 2)))

    def residual(self, x, width, stride, train):
        activate = nn.swish if self.swish else nn.relu
        padding = "SAME" if self.swish else None
        activated = activate(self.norm(train)(x))
        y = self.conv(width, 3, stride, padding)(activated)
        y = self.conv(width)(activate(self.norm(train)(y)))
        if x.shape != y.shape:
            x = self.conv(width, 1, stride)(activated if self.normed else x)
        return x + y
