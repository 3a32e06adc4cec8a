"""Networks as pairs of pure functions, with the representation beside the logits.

    model = models.resnet18(num_classes=10, mean=..., std=...)
    params = model.init(key, x)
    logits, features = model.apply(params, x)

Images enter in [0, 1]; every network normalises them itself. `features` is the input of
the last linear layer, the paper's g(x).
"""

from nrf.models.densenet import densenet121
from nrf.models.inception import inception_v3
from nrf.models.mlp import mlp
from nrf.models.resnet import resnet18, resnet50
from nrf.models.small import small
from nrf.models.vgg import vgg16
from nrf.types import Model, Output

__all__ = [
    "Model",
    "Output",
    "densenet121",
    "inception_v3",
    "mlp",
    "resnet18",
    "resnet50",
    "small",
    "vgg16",
]
