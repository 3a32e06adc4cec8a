"""The architectures as settings: frozen dataclasses, each of which builds its `Model`.

    model = Small(mean=(0.5,), std=(0.25,), widths=(32, 64)).build(num_classes=10)

An architecture of your own is a frozen dataclass with `build(num_classes) -> Model`;
its fields are options of the command line like those of the ones here.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import jax.numpy as jnp

from nrf.models import airbench, densenet, inception, mlp, preact, resnet, small, vgg
from nrf.models.adapters import linen
from nrf.models.model import Body
from nrf.types import Model


@dataclass(frozen=True)
class Architecture:
    """What the architectures here have in common."""

    # Mean of the pixels, for each channel or one for all, in [0, 1].
    mean: tuple[float, ...]
    # Standard deviation of the pixels, by which they are divided.
    std: tuple[float, ...]
    # Of the computation; parameters and outputs are always float32.
    dtype: Literal["float32", "bfloat16"] = field(default="float32", kw_only=True)

    def __post_init__(self):
        for name in ("mean", "std"):
            values = getattr(self, name)
            # Tuples, because settings are looked up by their hashes.
            if not isinstance(values, tuple) or not values:
                raise ValueError(
                    f"{name} must be a tuple of one number, or of one for each "
                    f"channel, got {values!r}; for grey images write (0.5,)."
                )
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}; it divides.")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(
                f"dtype must be 'float32' or 'bfloat16', got {self.dtype!r}; "
                "parameters stay float32."
            )

    def _model(self, module: type[Body], num_classes: int, **shape) -> Model:
        common: dict[str, Any] = {
            "mean": self.mean,
            "std": self.std,
            "dtype": jnp.dtype(self.dtype),
        }
        body = module(num_classes, **common, **shape)
        # The same parameters: only gradients differ.
        identity = linen(body.clone(identity_relu=True))
        return linen(body)._replace(identity_relu=identity.apply)


@dataclass(frozen=True)
class Small(Architecture):
    """A plain network of 3x3 convolutions, for laptops; features [B, widths[-1]]."""

    # Channels of each convolution; images are halved between them.
    widths: tuple[int, ...] = (32, 64, 128)
    # Side of the squares of pixels that the first convolution sees as one.
    patch: int = 1

    def __post_init__(self):
        super().__post_init__()
        if not self.widths:
            raise ValueError("widths must name at least one convolution, got ().")
        _check_positive(widths=self.widths, patch=(self.patch,))

    def build(self, num_classes: int) -> Model:
        shape = {"widths": self.widths, "patch": self.patch}
        return self._model(small.Small, num_classes, **shape)


@dataclass(frozen=True)
class Airbench(Architecture):
    """A network for speed, in the manner of airbench94; features [B, widths[-1]].

    Its first layer is computed from the first thousand images of the training set.
    """

    # Channels of the blocks, of two convolutions each; images are halved by each.
    widths: tuple[int, ...] = (64, 256, 256)

    def __post_init__(self):
        super().__post_init__()
        if not self.widths:
            raise ValueError("widths must name at least one block, got ().")
        _check_positive(widths=self.widths)

    def build(self, num_classes: int) -> Model:
        body = airbench.Airbench(
            num_classes, self.mean, self.std, jnp.dtype(self.dtype), widths=self.widths
        )
        # Without `identity_relu`: GELU has no units that are dead.
        return linen(body)._replace(examples=1000)


@dataclass(frozen=True)
class MLP(Architecture):
    """A fully connected network without BatchNorm; features [B, widths[-1]]."""

    # ReLU units of each hidden layer; without any it is `Linear`.
    widths: tuple[int, ...] = (32,)

    def __post_init__(self):
        super().__post_init__()
        _check_positive(widths=self.widths)

    def build(self, num_classes: int) -> Model:
        return self._model(mlp.MLP, num_classes, widths=self.widths)


@dataclass(frozen=True)
class Linear(Architecture):
    """A linear classifier of the normalised pixels, which are its features."""

    def build(self, num_classes: int) -> Model:
        return self._model(mlp.MLP, num_classes, widths=())


@dataclass(frozen=True)
class _Deep(Architecture):
    # Channels of the first stage, which set those of all others; 64 as published.
    width: int = 64

    def __post_init__(self):
        super().__post_init__()
        _check_positive(width=(self.width,))


@dataclass(frozen=True)
class _ResNet(_Deep):
    # "cifar": one 3x3 convolution; "imagenet": 7x7 and max-pooling, of stride 2 each.
    stem: Literal["cifar", "imagenet"] = field(
        default="cifar", metadata={"later": True}
    )

    def __post_init__(self):
        super().__post_init__()
        if self.stem not in ("cifar", "imagenet"):
            raise ValueError(f"stem must be 'cifar' or 'imagenet', got {self.stem!r}.")

    def _resnet(self, num_classes: int, **shape) -> Model:
        shape |= {"width": self.width, "stem": self.stem}
        return self._model(resnet.ResNet, num_classes, **shape)


@dataclass(frozen=True)
class ResNet18(_ResNet):
    """ResNet-18 for CIFAR or ImageNet; features [B, 8 * width]."""

    def build(self, num_classes: int) -> Model:
        return self._resnet(num_classes)


@dataclass(frozen=True)
class ResNet50(_ResNet):
    """ResNet-50 for CIFAR or ImageNet; features [B, 32 * width]."""

    def build(self, num_classes: int) -> Model:
        return self._resnet(num_classes, blocks=(3, 4, 6, 3), bottleneck=True)


@dataclass(frozen=True)
class PreActResNet18(_Deep):
    """ResNet-18 that activates before it convolves; features [B, 8 * width]."""

    # BatchNorm and ReLU after the last block, and shortcuts of activated images.
    normed: bool = True

    def build(self, num_classes: int) -> Model:
        widths = tuple(self.width * 2**stage for stage in range(4))
        shape = {"stem": self.width, "widths": widths, "normed": self.normed}
        return self._model(preact.PreAct, num_classes, **shape)


@dataclass(frozen=True)
class WideResNet(Architecture):
    """A WideResNet, WRN-depth-widen; features [B, 4 * width * widen]."""

    # Layers: 4 and 6 for each block of a stage.
    depth: int = 28
    # By how much the stages are wider than 16, 32 and 64 channels.
    widen: int = 10
    # Channels of the first convolution; 16 as published.
    width: int = 16
    # Swish instead of ReLU, and padding as in Gowal et al.'s.
    swish: bool = False

    def __post_init__(self):
        super().__post_init__()
        _check_positive(depth=(self.depth,), widen=(self.widen,), width=(self.width,))
        if self.depth < 10 or self.depth % 6 != 4:
            raise ValueError(
                f"depth must be 10, 16, 22, 28, …, 4 more than a multiple of 6; got "
                f"{self.depth}."
            )

    def build(self, num_classes: int) -> Model:
        blocks = (self.depth - 4) // 6
        wide = self.width * self.widen
        return self._model(
            preact.PreAct,
            num_classes,
            stem=self.width,
            widths=(wide, 2 * wide, 4 * wide),
            blocks=(blocks,) * 3,
            swish=self.swish,
        )


@dataclass(frozen=True)
class VGG16(_Deep):
    """VGG-16 with BatchNorm in CIFAR form; features [B, 8 * width]."""

    def build(self, num_classes: int) -> Model:
        return self._model(vgg.VGG, num_classes, width=self.width)


@dataclass(frozen=True)
class InceptionV3(_Deep):
    """Inception-v3 in CIFAR form; features [B, 32 * width]."""

    def build(self, num_classes: int) -> Model:
        return self._model(inception.Inception, num_classes, width=self.width)


@dataclass(frozen=True)
class DenseNet121(_Deep):
    """DenseNet-121 in CIFAR form; features [B, 16 * width]."""

    def build(self, num_classes: int) -> Model:
        return self._model(densenet.DenseNet, num_classes, width=self.width)


def _check_positive(**fields):
    for name, values in fields.items():
        for value in values:
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"{name} must be positive whole numbers, got {value!r}."
                )
