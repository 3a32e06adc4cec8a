"""Networks as pairs of pure functions, with the representation beside the logits.

    model = models.ResNet18(mean=…, std=…).build(num_classes=10)
    params = model.init(key, x)
    logits, features = model.apply(params, x)

Images enter in [0, 1]; every network normalises them itself. `features` is the input of
the last linear layer, the paper's g(x). `linen`, `nnx` and `function` make a `Model` of
a network written elsewhere.
"""

from nrf.models.adapters import function, linen, nnx
from nrf.models.architectures import (
    MLP,
    VGG16,
    Airbench,
    DenseNet121,
    InceptionV3,
    Linear,
    PreActResNet18,
    ResNet18,
    ResNet50,
    Small,
    WideResNet,
)
from nrf.types import Model, Output

__all__ = [
    "MLP",
    "VGG16",
    "Airbench",
    "DenseNet121",
    "InceptionV3",
    "Linear",
    "Model",
    "Output",
    "PreActResNet18",
    "ResNet18",
    "ResNet50",
    "Small",
    "WideResNet",
    "function",
    "linen",
    "nnx",
]
