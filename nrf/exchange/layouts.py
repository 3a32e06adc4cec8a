"""Names and shapes of other libraries' weights, and those of the same network here.

A layout is told from the entries of a file: how wide and how deep the network is. Its
layers are listed in the order in which Flax numbers them.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf import models
from nrf.types import Model

Shapes = Mapping[str, tuple[int, ...]]
Layers = Iterator[tuple[str, str]]  # Their name of a layer, and its kind in Flax.
_CONV, _NORM, _DENSE = "Conv", "BatchNorm", "Dense"
_SIDE = 32  # Of images that are large enough for every network here.


class Layout(NamedTuple):
    """How a library writes down a family of networks.

    Attributes:
      architecture: Called with the shapes of the entries by name, mean and std of the
        pixels; gives one of `nrf.models`. KeyError: an entry is missing.
      layers: Of such an architecture.
      mean, std: The names of the pixels' statistics, where they are written.
    """

    architecture: Callable[[Shapes, tuple, tuple], Any]
    layers: Callable[[Any], Layers]
    mean: str
    std: str


class Entry(NamedTuple):
    """An array of theirs, which is one of ours with its axes in another order."""

    name: str  # Theirs, "layer1.0.conv1.weight".
    path: tuple[str, ...]  # Ours, ("params", "Conv_1", "kernel").
    axes: tuple[int, ...]  # ours = theirs.transpose(axes)
    shape: tuple[int, ...]  # Theirs.


def entries(layers: Layers, model: Model, channels: int) -> list[Entry]:
    """Every array of the network for images of so many channels."""
    x = jax.ShapeDtypeStruct((1, _SIDE, _SIDE, channels), jnp.float32)
    ours = jax.eval_shape(model.init, jax.random.key(0), x)
    found, numbers = [], dict.fromkeys((_CONV, _NORM, _DENSE), 0)
    for name, kind in layers:
        layer = f"{kind}_{numbers[kind]}"
        numbers[kind] += 1
        for theirs, tree, leaf, axes in _ARRAYS[kind]:
            shape = ours[tree][layer][leaf].shape
            there = tuple(shape[axis] for axis in np.argsort(axes))
            found.append(Entry(f"{name}.{theirs}", (tree, layer, leaf), axes, there))
    assert len(found) == len(jax.tree.leaves(ours)), "a layer is not listed"
    return found


# Of a layer: their name of an array, where it is in Flax, and the order of its axes.
_ARRAYS: dict[str, list[tuple[str, str, str, tuple[int, ...]]]] = {
    _CONV: [("weight", "params", "kernel", (2, 3, 1, 0))],
    _DENSE: [
        ("weight", "params", "kernel", (1, 0)),
        ("bias", "params", "bias", (0,)),
    ],
    _NORM: [
        ("weight", "params", "scale", (0,)),
        ("bias", "params", "bias", (0,)),
        ("running_mean", "batch_stats", "mean", (0,)),
        ("running_var", "batch_stats", "var", (0,)),
    ],
}


def plain(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Entries without what wrappers add to their names, and without copies.

    DataParallel adds "module.", MadryLab's `AttackerModel` and others "model.". The
    attacker holds the same network once more, RobustBench's `sub_block1` is never
    called, and BatchNorm's counters do nothing here.
    """
    kept = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        if name.startswith(("attacker.", "model.attacker.")):
            continue
        name = name.removeprefix("model.")
        if name.startswith("sub_block1.") or name.endswith("num_batches_tracked"):
            continue
        kept[name] = value
    return kept


def _resnet(kind: Any) -> Callable[[Shapes, tuple, tuple], Any]:
    return lambda shapes, mean, std: kind(mean, std, shapes["conv1.weight"][0])


def _resnet_layers(network: models.ResNet18 | models.ResNet50) -> Layers:
    deep = isinstance(network, models.ResNet50)
    yield "conv1", _CONV
    yield "bn1", _NORM
    for stage, blocks in enumerate((3, 4, 6, 3) if deep else (2, 2, 2, 2), 1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            for number in range(1, 4 if deep else 3):
                yield f"{at}.conv{number}", _CONV
                yield f"{at}.bn{number}", _NORM
            if block == 0 and (deep or stage > 1):
                yield f"{at}.shortcut.0", _CONV
                yield f"{at}.shortcut.1", _NORM
    yield "linear", _DENSE


def _preact(shapes: Shapes, mean: tuple, std: tuple) -> models.PreActResNet18:
    # Of RobustBench's two blocks, the one whose shortcuts are activated is always
    # followed by this BatchNorm, and the other never.
    normed = "bn.weight" in shapes
    width = shapes["conv1.weight"][0]
    return models.PreActResNet18(mean, std, width, normed=normed)


def _preact_layers(network: models.PreActResNet18) -> Layers:
    yield "conv1", _CONV
    for stage in range(1, 5):
        for block in range(2):
            at = f"layer{stage}.{block}"
            yield from _activated(at)
            if block == 0 and stage > 1:
                yield f"{at}.shortcut.0", _CONV
    if network.normed:
        yield "bn", _NORM
    yield "linear", _DENSE


def _activated(at: str) -> Layers:
    for number in (1, 2):
        yield f"{at}.bn{number}", _NORM
        yield f"{at}.conv{number}", _CONV


def _deepmind(shapes: Shapes, mean: tuple, std: tuple) -> models.WideResNet:
    width = shapes["init_conv.weight"][0]
    blocks = len({n.split(".")[3] for n in shapes if n.startswith("layer.0.block.")})
    widen = shapes["layer.0.block.0.conv_0.weight"][0] // width
    # In RobustBench's list all of these have Swish, which no entry tells.
    return models.WideResNet(mean, std, 6 * blocks + 4, widen, width, swish=True)


def _deepmind_layers(network: models.WideResNet) -> Layers:
    yield "init_conv", _CONV
    for stage in range(3):
        for block in range((network.depth - 4) // 6):
            at = f"layer.{stage}.block.{block}"
            for number in (0, 1):
                yield f"{at}.batchnorm_{number}", _NORM
                yield f"{at}.conv_{number}", _CONV
            if block == 0 and (stage > 0 or network.widen > 1):
                yield f"{at}.shortcut", _CONV
    yield "batchnorm", _NORM
    yield "logits", _DENSE


def _wide(shapes: Shapes, mean: tuple, std: tuple) -> models.WideResNet:
    width = shapes["conv1.weight"][0]
    blocks = len({n.split(".")[2] for n in shapes if n.startswith("block1.layer.")})
    widen = shapes["block1.layer.0.conv1.weight"][0] // width
    return models.WideResNet(mean, std, 6 * blocks + 4, widen, width)


def _wide_layers(network: models.WideResNet) -> Layers:
    yield "conv1", _CONV
    for stage in range(1, 4):
        for block in range((network.depth - 4) // 6):
            at = f"block{stage}.layer.{block}"
            yield from _activated(at)
            if block == 0 and (stage > 1 or network.widen > 1):
                yield f"{at}.convShortcut", _CONV
    yield "bn1", _NORM
    yield "fc", _DENSE


_MADRY = ("normalizer.new_mean", "normalizer.new_std")
_ROBUSTBENCH = ("mu", "sigma")
LAYOUTS = {
    "madry_resnet18": Layout(_resnet(models.ResNet18), _resnet_layers, *_MADRY),
    "madry_resnet50": Layout(_resnet(models.ResNet50), _resnet_layers, *_MADRY),
    "robustbench_resnet18": Layout(
        _resnet(models.ResNet18), _resnet_layers, *_ROBUSTBENCH
    ),
    "robustbench_resnet50": Layout(
        _resnet(models.ResNet50), _resnet_layers, *_ROBUSTBENCH
    ),
    "robustbench_preactresnet18": Layout(_preact, _preact_layers, *_ROBUSTBENCH),
    "robustbench_wideresnet": Layout(_wide, _wide_layers, *_ROBUSTBENCH),
    "deepmind_wideresnet": Layout(_deepmind, _deepmind_layers, "mean", "std"),
}
