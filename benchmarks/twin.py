"""Networks of `nrf.models` in PyTorch, as its users write them, with our weights.

For the benchmarks that put both sides beside each other.
"""

import copy
import datetime
import importlib.metadata
import os
import pathlib
import platform

import jax
import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Normalise(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))

    def forward(self, x):
        return (x - self.mean) / self.std


class Patches(nn.Module):
    """Squares of pixels as the channels of one, in our order: pixels, then colours."""

    def __init__(self, side):
        super().__init__()
        self.side = side

    def forward(self, x):
        b, _, h, w = x.shape
        x = nn.functional.pixel_unshuffle(x, self.side)
        x = x.reshape(b, -1, self.side**2, h // self.side, w // self.side)
        return x.transpose(1, 2).flatten(1, 2)


def conv_norm(channels, width, kernel=3, stride=1):
    conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(width)]


class Block(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.body = nn.Sequential(
            *conv_norm(channels, width, 3, stride), nn.ReLU(), *conv_norm(width, width)
        )
        same = channels == width and stride == 1
        self.shortcut = nn.Sequential(
            *([] if same else conv_norm(channels, width, 1, stride))
        )

    def forward(self, x):
        return nn.functional.relu(self.body(x) + self.shortcut(x))


class Torch(nn.Module):
    """nrf.models.Small, with these widths, or nrf.models.ResNet18, without."""

    def __init__(self, classes, *, mean, std, widths=None, patch=1):
        super().__init__()
        if widths:
            layers, channels = [Patches(patch)], len(mean) * patch**2
            for width in widths:
                layers += [*conv_norm(channels, width), nn.ReLU(), nn.AvgPool2d(2)]
                channels = width
            layers.pop()
        else:
            layers, channels = [*conv_norm(3, 64), nn.ReLU()], 64
            for stage in range(4):
                for block in range(2):
                    stride = 2 if stage > 0 and block == 0 else 1
                    layers.append(Block(channels, 64 * 2**stage, stride))
                    channels = 64 * 2**stage
        self.body = nn.Sequential(Normalise(mean, std), *layers)
        self.last = nn.Linear(channels, classes)

    def features(self, x):
        return self.body(x).mean((2, 3))

    def forward(self, x):
        return self.last(self.features(x))

    def copy(self, params):
        """Takes the Flax weights: both networks make their layers in one order."""

        def layers(kind, of="params"):
            names = [n for n in params[of] if n.startswith(kind)]
            return [
                jax.tree.map(lambda a: torch.tensor(np.array(a)), params[of][n])
                for n in sorted(names, key=lambda n: int(n.split("_")[-1]))
            ]

        conv, dense, norm = (
            iter(layers("Conv")),
            iter(layers("Dense")),
            iter(
                zip(
                    layers("BatchNorm"), layers("BatchNorm", "batch_stats"), strict=True
                )
            ),
        )
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.copy_(next(conv)["kernel"].permute(3, 2, 0, 1))
                elif isinstance(module, nn.BatchNorm2d):
                    weights, running = next(norm)
                    module.weight.copy_(weights["scale"])
                    module.bias.copy_(weights["bias"])
                    module.running_mean.copy_(running["mean"])
                    module.running_var.copy_(running["var"])
                elif isinstance(module, nn.Linear):
                    weights = next(dense)
                    module.weight.copy_(weights["kernel"].T)
                    module.bias.copy_(weights["bias"])
        return self.to(memory_format=torch.channels_last)


def folded(net):
    """A copy of the network for evaluation, with BatchNorm in the convolutions."""
    net = copy.deepcopy(net).eval()
    for part in [p for p in net.modules() if isinstance(p, nn.Sequential)]:
        for i, layer in enumerate(part):
            if isinstance(layer, nn.BatchNorm2d):
                part[i - 1] = fuse_conv_bn_eval(part[i - 1], layer)
                part[i] = nn.Identity()
    return net.to(memory_format=torch.channels_last)


class Layers(nn.Module):
    """A network of `conformance`, with the weights that its files have."""

    def __init__(self, layers, weights):
        super().__init__()
        self.layers = layers
        for name, array in weights.items():
            kernel = torch.tensor(array)
            turned = {2: (1, 0), 4: (3, 2, 0, 1)}.get(kernel.ndim)
            self.register_buffer(name, kernel.permute(turned) if turned else kernel)

    def forward(self, x):
        for number, layer in enumerate(self.layers):
            if layer == "conv":
                kernel, bias = self._weights(number)
                x = nn.functional.conv2d(x, kernel, bias, padding=1)
            elif layer == "pool":
                x = nn.functional.avg_pool2d(x, 2)
            elif layer == "flatten":
                x = x.permute(0, 2, 3, 1).flatten(1)
            elif layer == "relu":
                x = nn.functional.relu(x)
            else:
                x = nn.functional.linear(x, *self._weights(number))
        return x

    def _weights(self, number):
        return getattr(self, f"kernel{number}"), getattr(self, f"bias{number}")


def images(x):
    """[B, H, W, C] of ours as PyTorch's [B, C, H, W], in channels_last."""
    return torch.tensor(np.array(x)).permute(0, 3, 1, 2)


def use_all_cores():
    """Gives PyTorch the cores that JAX takes; how many."""
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    return cores


def header(*packages):
    """Machine, versions and date of a measurement that begins now."""
    return {
        "machine": {
            "cpu": cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "load_before": round(os.getloadavg()[0], 1),
        },
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "torch": torch.__version__,
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "date": datetime.date.today().isoformat(),
    }


def cpu():
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
