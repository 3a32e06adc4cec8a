"""ResNet-18 and ResNet-50, for CIFAR and ImageNet (https://arxiv.org/abs/1512.03385).

For CIFAR the stem is one 3x3 convolution of stride 1 without max-pooling, as in the
authors' library, so that 32x32 images reach the last stage at 4x4. For ImageNet it is
the published one, by which 224x224 images reach it at 7x7. Bottlenecks have their
stride in the 3x3 convolution, as torchvision's networks do ("v1.5").
"""

from collections.abc import Sequence

from flax import linen as nn

from nrf.models.model import Body


class ResNet(Body):
    """Four stages of residual blocks.

    Attributes:
      blocks: Residual blocks in each stage.
      bottleneck: 1x1, 3x3, 1x1 convolutions with fourfold output (ResNet-50) instead of
        two 3x3 ones (ResNet-18).
      width: Channels of the first stage, doubled by every later one; 64 as published.
      stem: "cifar", or "imagenet": a 7x7 convolution and max-pooling, of stride 2 each.
    """

    blocks: Sequence[int] = (2, 2, 2, 2)
    bottleneck: bool = False
    width: int = 64
    stem: str = "cifar"

    @nn.compact
    def __call__(self, x, train):
        imagenet = self.stem == "imagenet"
        x = self.normalise(x)
        x = self.conv(self.width, *((7, 2) if imagenet else (3, 1)))(x)
        x = nn.relu(self.norm(train)(x))
        if imagenet:
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                last = stage == len(self.blocks) - 1 and block == blocks - 1
                relu = self.last_relu if last else nn.relu
                stride = 2 if stage > 0 and block == 0 else 1
                x = relu(self.residual(x, self.width * 2**stage, stride, train))
        return self.output(x.mean((1, 2)))

    def residual(self, x, width, stride, train):
        if self.bottleneck:
            layers = [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]
        else:
            layers = [(width, 3, stride), (width, 3, 1)]
        y = x
        for channels, kernel, step in layers[:-1]:
            y = nn.relu(self.norm(train)(self.conv(channels, kernel, step)(y)))
        channels, kernel, step = layers[-1]
        y = self.norm(train)(self.conv(channels, kernel, step)(y))
        if x.shape != y.shape:
            x = self.norm(train)(self.conv(channels, 1, stride)(x))
        return x + y
