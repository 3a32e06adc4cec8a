"""Networks that others trained, and networks for others: weights by their names.

    weights = load_weights("cifar_l2_0_5.safetensors", "madry_resnet50")
    logits = weights.network(x)

See `nrf.exchange.layouts` for the names that are known.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from nrf.exchange import files, layouts
from nrf.exchange.layouts import LAYOUTS, Entry
from nrf.runs import Weights
from nrf.runs.load import rebuild
from nrf.runs.provenance import describe

OWN = "nrf"  # The layout of our own files: Flax's names.
NAMES = (*LAYOUTS, OWN)


def load_weights(
    path: Path | str,
    layout: str,
    num_classes: int | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Weights:
    """The network whose weights lie in a file, with the same logits.

    Width and depth follow from the shapes. Images [B, H, W, C] are in [0, 1], as
    everywhere here, and the network normalises them itself.

    Args:
      path: A .safetensors file, or a state dict saved by PyTorch (.pt), which needs it.
      layout: Whose names the entries have, one of `NAMES`.
      num_classes: K; that of the last layer where it is not given.
      mean, std: Of the pixels, for each channel or one for all, where the file has
        none; 0 and 1 for networks that take pixels as they are.

    Raises:
      ValueError: the file cannot be read; entries are missing, unknown or have other
        shapes; statistics are missing or given twice; there are other classes.
    """
    if layout not in NAMES:
        raise ValueError(
            f"there is no layout {layout!r}; there are {', '.join(NAMES)}."
        )
    path = Path(path)
    if layout == OWN:
        weights = _own(path, mean, std)
    else:
        weights = _theirs(path, layout, mean, std)
    if num_classes not in (None, weights.num_classes):
        raise ValueError(
            f"{path} is of {weights.num_classes} classes, and not of {num_classes}."
        )
    return weights


def _theirs(path: Path, name: str, mean: Any, std: Any) -> Weights:
    layout, state = LAYOUTS[name], layouts.plain(files.read(path))
    statistics = _statistics(path, state, layout, mean, std)
    shapes = {entry: value.shape for entry, value in state.items()}
    try:
        architecture = layout.architecture(shapes, *statistics)
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"{path} is no {name}: it has no {error}, but {_some(state)}."
        ) from error
    listed = list(layout.layers(architecture))
    first, last = (f"{listed[end][0]}.weight" for end in (0, -1))
    if last not in shapes:
        raise ValueError(f"{path} is no {name}: it has no {last}.")
    channels, classes = shapes[first][1], shapes[last][0]
    expected = layouts.entries(iter(listed), architecture.build(classes), channels)
    _check(path, name, shapes, {entry.name: entry.shape for entry in expected})
    params: dict[tuple[str, ...], np.ndarray] = {
        entry.path: np.asarray(state[entry.name], np.float32).transpose(entry.axes)
        for entry in expected
    }
    return Weights(architecture, classes, traverse_util.unflatten_dict(params))


def _statistics(
    path: Path, state: dict[str, np.ndarray], layout: layouts.Layout, *given: Any
) -> tuple[tuple[float, ...], ...]:
    """Mean and std of the pixels; those of the file are taken out of `state`."""
    found = [state.pop(name) for name in (layout.mean, layout.std) if name in state]
    if len(found) < 2:
        if given[0] is None or given[1] is None:
            raise ValueError(
                f"{path} does not say how pixels are normalised (it has no "
                f"{layout.mean} and {layout.std}); give mean and std, 0 and 1 for a "
                "network that takes them as they are."
            )
        return tuple(tuple(map(float, np.ravel(value))) for value in given)
    if given != (None, None):
        raise ValueError(
            f"{path} has its own {layout.mean} and {layout.std}; leave out mean and "
            "std."
        )
    return tuple(tuple(map(float, np.ravel(value))) for value in found)


def _check(
    path: Path, name: str, found: layouts.Shapes, expected: layouts.Shapes
) -> None:
    """Raises ValueError, in words, unless these are the same entries."""
    missing = [entry for entry in expected if entry not in found]
    unknown = [entry for entry in found if entry not in expected]
    faults = []
    if missing:
        faults.append(f"it has no {_some(missing)}")
    if unknown:
        faults.append(f"nobody knows its {_some(unknown)}")
    faults += [
        f"{entry} is {_words(found[entry])} instead of {_words(shape)}"
        for entry, shape in expected.items()
        if entry in found and found[entry] != shape
    ][:3]
    if faults:
        raise ValueError(f"{path} is no {name}: {'; '.join(faults)}.")


def _some(names: Any, count: int = 4) -> str:
    names = list(names)
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def _own(path: Path, mean: Any, std: Any) -> Weights:
    """What `save_weights` wrote, with the architecture that it wrote beside it."""
    if (mean, std) != (None, None):
        raise ValueError(f"{path} knows its own statistics; leave out mean and std.")
    state = files.read(path)
    said = files.metadata(path) if path.suffix == ".safetensors" else {}
    if not {"architecture", "num_classes"} <= said.keys():
        raise ValueError(
            f"{path} does not say its architecture, so that nrf did not write it; "
            f"other layouts are {', '.join(LAYOUTS)}."
        )
    tree = {tuple(name.split(".")): value for name, value in state.items()}
    params = traverse_util.unflatten_dict(tree)
    return Weights(rebuild(said["architecture"]), said["num_classes"], params)


def save_weights(path: Path | str, weights: Weights, layout: str = OWN) -> Path:
    """Writes the weights as a .safetensors file, by the names of a layout.

    As "nrf" the names are Flax's, joined by dots, and `load_weights(path, "nrf")`
    rebuilds the network; as another layout PyTorch loads them into that library's.

    Raises:
      ValueError: the layout is not of this architecture, or safetensors is missing.
      OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"weights are written as .safetensors, got {path}.")
    tree = traverse_util.flatten_dict(jax.tree.map(np.asarray, weights.params))
    if layout == OWN:
        arrays = {".".join(at): value for at, value in tree.items()}
        said = describe(weights.architecture)
    else:
        arrays, said = _named(weights, tree, layout), None
    about = {"architecture": said, "num_classes": weights.num_classes}
    return files.write_safetensors(path, arrays, about if said else {})


def _named(weights: Weights, tree: Mapping, name: str) -> dict[str, np.ndarray]:
    """The arrays by the names of another library, with the pixels' statistics."""
    layout, model = LAYOUTS[name], weights.network.model
    channels = tree["params", "Conv_0", "kernel"].shape[2]
    try:
        listed = layouts.entries(layout.layers(weights.architecture), model, channels)
        arrays = {entry.name: _back(entry, tree[entry.path]) for entry in listed}
    except (AttributeError, KeyError, AssertionError) as error:
        raise ValueError(
            f"{type(weights.architecture).__name__} has no layers as {name} has them; "
            f"leave out the layout, {OWN!r}."
        ) from error
    for entry, values in (
        (layout.mean, weights.architecture.mean),
        (layout.std, weights.architecture.std),
    ):
        full = np.broadcast_to(np.float32(values), (channels,))
        arrays[entry] = full.reshape(channels, 1, 1)
    return arrays


def _back(entry: Entry, ours: np.ndarray) -> np.ndarray:
    return ours.transpose(np.argsort(entry.axes))
