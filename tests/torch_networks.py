"""The networks of MadryLab's and RobustBench's repositories in PyTorch, narrower.

Written after https://github.com/MadryLab/robustness (cifar_models/resnet.py,
attacker.py) and https://github.com/RobustBench/robustbench (model_zoo/architectures),
with their names of modules. `python tests/torch_networks.py` writes peers.json: names
and shapes of all entries, and logits, for machines without PyTorch.
"""

import json

import numpy as np
import peers
import torch
from torch import nn
from torch.nn import functional as F


def conv(inside, outside, kernel=3, stride=1):
    return nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2, bias=False)


class Basic(nn.Module):
    expansion = 1

    def __init__(self, inside, width, stride):
        super().__init__()
        self.conv1 = conv(inside, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != width:
            self.shortcut = nn.Sequential(
                conv(inside, width, 1, stride), nn.BatchNorm2d(width)
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inside, width, stride):
        super().__init__()
        self.conv1 = conv(inside, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != 4 * width:
            self.shortcut = nn.Sequential(
                conv(inside, 4 * width, 1, stride), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


class PreActBlock(nn.Module):
    expansion = 1
    activated = False  # Whether the shortcut sees the activated image.

    def __init__(self, inside, width, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = conv(inside, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width)
        if stride != 1 or inside != width:
            self.shortcut = nn.Sequential(conv(inside, width, 1, stride))

    def forward(self, x):
        out = F.relu(self.bn1(x))
        short = x
        if hasattr(self, "shortcut"):
            short = self.shortcut(out if self.activated else x)
        return self.conv2(F.relu(self.bn2(self.conv1(out)))) + short


class PreActBlockV2(PreActBlock):
    activated = True


def stage(block, inside, width, count, stride):
    blocks = []
    for number in range(count):
        blocks.append(block(inside, width, stride if number == 0 else 1))
        inside = width * block.expansion
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    def __init__(self, block, counts, width=2, classes=10):
        super().__init__()
        self.conv1 = conv(3, width)
        self.bn1 = nn.BatchNorm2d(width)
        inside = width
        for number, count in enumerate(counts):
            stride, wide = 1 if number == 0 else 2, width * 2**number
            layer = stage(block, inside, wide, count, stride)
            setattr(self, f"layer{number + 1}", layer)
            inside = wide * block.expansion
        self.linear = nn.Linear(inside, classes)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return self.linear(F.avg_pool2d(out, 4).flatten(1))


class PreActResNet(nn.Module):
    def __init__(self, block, bn_before_fc, width=2, classes=10):
        super().__init__()
        self.conv1 = conv(3, width)
        inside = width
        for number in range(4):
            stride, wide = 1 if number == 0 else 2, width * 2**number
            layer = stage(block, inside, wide, 2, stride)
            setattr(self, f"layer{number + 1}", layer)
            inside = wide
        if bn_before_fc:
            self.bn = nn.BatchNorm2d(inside)
        self.linear = nn.Linear(inside, classes)

    def forward(self, x):
        out = self.conv1(x)
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        if hasattr(self, "bn"):
            out = F.relu(self.bn(out))
        return self.linear(F.avg_pool2d(out, 4).flatten(1))


class WideBlock(nn.Module):
    def __init__(self, inside, width, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = conv(inside, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width)
        self.equal = inside == width
        self.convShortcut = None if self.equal else conv(inside, width, 1, stride)

    def forward(self, x):
        out = F.relu(self.bn1(x))
        if not self.equal:
            x = out
        out = self.conv2(F.relu(self.bn2(self.conv1(out))))
        return (x if self.equal else self.convShortcut(x)) + out


class WideStage(nn.Module):
    def __init__(self, inside, width, count, stride):
        super().__init__()
        WideBlock.expansion = 1
        self.layer = stage(WideBlock, inside, width, count, stride)

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, depth, widen, sub_block1, width=2, classes=10):
        super().__init__()
        count, wide = (depth - 4) // 6, width * widen
        self.conv1 = conv(3, width)
        self.block1 = WideStage(width, wide, count, 1)
        if sub_block1:  # Never called.
            self.sub_block1 = WideStage(width, wide, count, 1)
        self.block2 = WideStage(wide, 2 * wide, count, 2)
        self.block3 = WideStage(2 * wide, 4 * wide, count, 2)
        self.bn1 = nn.BatchNorm2d(4 * wide)
        self.fc = nn.Linear(4 * wide, classes)

    def forward(self, x):
        out = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.avg_pool2d(F.relu(self.bn1(out)), 8).flatten(1))


class DMBlock(nn.Module):
    expansion = 1

    def __init__(self, inside, width, stride):
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(inside)
        self.conv_0 = nn.Conv2d(inside, width, 3, stride, padding=0, bias=False)
        self.batchnorm_1 = nn.BatchNorm2d(width)
        self.conv_1 = conv(width, width)
        self.shortcut = None
        if inside != width:
            self.shortcut = conv(inside, width, 1, stride)
        # TensorFlow's "SAME".
        self.pads = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)

    def forward(self, x):
        out = F.silu(self.batchnorm_0(x))
        if self.shortcut is not None:
            x = self.shortcut(out)
        out = F.silu(self.batchnorm_1(self.conv_0(F.pad(out, self.pads))))
        return x + self.conv_1(out)


class DMGroup(nn.Module):
    def __init__(self, *arguments):
        super().__init__()
        self.block = stage(DMBlock, *arguments)

    def forward(self, x):
        return self.block(x)


class DMWideResNet(nn.Module):
    def __init__(self, depth, widen, width=2, classes=10):
        super().__init__()
        count, wide = (depth - 4) // 6, width * widen
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))
        self.init_conv = conv(3, width)
        self.layer = nn.Sequential(
            DMGroup(width, wide, count, 1),
            DMGroup(wide, 2 * wide, count, 2),
            DMGroup(2 * wide, 4 * wide, count, 2),
        )
        self.batchnorm = nn.BatchNorm2d(4 * wide)
        self.logits = nn.Linear(4 * wide, classes)

    def forward(self, x):
        out = self.layer(self.init_conv((x - self.mean) / self.std))
        out = F.silu(self.batchnorm(out))
        return self.logits(F.avg_pool2d(out, 8).flatten(1))


class InputNormalize(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("new_mean", torch.zeros(3, 1, 1))
        self.register_buffer("new_std", torch.ones(3, 1, 1))

    def forward(self, x):
        return (x - self.new_mean) / self.new_std


class Attacker(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.normalize = InputNormalize()
        self.model = model


class AttackerModel(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.normalizer = InputNormalize()
        self.model = model
        self.attacker = Attacker(model)

    def forward(self, x):
        return self.model(self.normalizer(x))


class Parallel(nn.Module):
    """The names that nn.DataParallel adds."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)


def normalising(network):
    """As RobustBench's classes for single entries of its list are."""
    network.register_buffer("mu", torch.zeros(1, 3, 1, 1))
    network.register_buffer("sigma", torch.ones(1, 3, 1, 1))
    forward = network.forward
    network.forward = lambda x: forward((x - network.mu) / network.sigma)
    return network


def networks():
    """By a name of ours: the layout, and the network."""
    return {
        "madry_resnet50": (
            "madry_resnet50",
            Parallel(AttackerModel(ResNet(Bottleneck, (3, 4, 6, 3)))),
        ),
        "madry_resnet18": (
            "madry_resnet18",
            Parallel(AttackerModel(ResNet(Basic, (2, 2, 2, 2)))),
        ),
        "Engstrom2019Robustness": (
            "robustbench_resnet50",
            normalising(ResNet(Bottleneck, (3, 4, 6, 3))),
        ),
        "Addepalli2021Towards_RN18": (
            "robustbench_resnet18",
            ResNet(Basic, (2, 2, 2, 2)),
        ),
        "Wong2020Fast": (
            "robustbench_preactresnet18",
            normalising(PreActResNet(PreActBlock, bn_before_fc=False)),
        ),
        "Rice2020OverfittingL2": (
            "robustbench_preactresnet18",
            normalising(PreActResNet(PreActBlockV2, bn_before_fc=True)),
        ),
        "Carmon2019Unlabeled": (
            "robustbench_wideresnet",
            Parallel(WideResNet(depth=28, widen=2, sub_block1=True)),
        ),
        "Gowal2020Uncovering": (
            "deepmind_wideresnet",
            DMWideResNet(depth=16, widen=3),
        ),
        "Rony2019Decoupling": (
            "robustbench_wideresnet",
            normalising(WideResNet(depth=10, widen=1, sub_block1=False)),
        ),
    }


def filled(network):
    """The network with the weights that are drawn from its names."""
    shapes = {name: tuple(v.shape) for name, v in network.state_dict().items()}
    arrays = peers.drawn(shapes)
    network.load_state_dict({n: torch.tensor(a) for n, a in arrays.items()})
    return network.eval(), shapes


def logits(network, images):
    with torch.no_grad():
        return network(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()


def main():
    made = {}
    for name, (layout, network) in networks().items():
        network, shapes = filled(network)
        made[name] = {
            "layout": layout,
            "entries": shapes,
            "logits": np.round(logits(network, peers.images()), 6).tolist(),
        }
    lines = [f"{json.dumps(name)}: {json.dumps(one)}" for name, one in made.items()]
    peers.FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
