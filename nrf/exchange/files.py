"""Files of named arrays, as PyTorch's users have them; never a pickle of objects."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nrf.runs import store

PICKLED = (".pt", ".pth", ".ckpt", ".tar", ".best")
# What checkpoints call the state dict among epochs, optimizers and others.
_WITHIN = ("model", "state_dict", "model_state_dict", "last", "best")


def needs(package: str) -> ValueError:
    """The words for a package, as pip calls it, that is not installed."""
    return ValueError(f"this needs {package}: pip install {package}.")


def read(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of a .safetensors file, or of a state dict that PyTorch saved.

    What is read by PyTorch is read with `weights_only=True`, and no code of the file
    runs. Of a checkpoint with more in it, its state dict is meant.

    Raises:
      ValueError: there is no such file, it is damaged or holds no state dict, or a
        package is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix not in PICKLED:
        raise ValueError(
            f"{path} is neither .safetensors nor one of {', '.join(PICKLED)}, which "
            "PyTorch saves."
        )
    return _state_dict(load_tensors(path), path)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise needs("safetensors") from error
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no whole .safetensors file: {error}.") from error


def load_tensors(path: Path) -> Any:
    """What `torch.load` makes of a file of tensors, on the CPU.

    Raises:
      ValueError: it is damaged or holds other objects, or PyTorch is missing.
    """
    try:
        import torch
    except ImportError as error:
        raise needs("torch") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, or is damaged: {_first(error)} Code in "
            "it would run if it were loaded whole. Where you trust it, save its state "
            "dict alone, as docs/exchange.md shows."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(f"{path} is no whole file of PyTorch: {error}") from error


def _first(error: Exception) -> str:
    return str(error).partition(". ")[0].strip() + "."


def _state_dict(found: Any, path: Path) -> dict[str, np.ndarray]:
    while isinstance(found, Mapping):
        inner = [found[key] for key in _WITHIN if isinstance(found.get(key), Mapping)]
        if not inner:
            break
        found = inner[0]
    if not isinstance(found, Mapping) or not all(map(_is_tensor, found.values())):
        what = list(found)[:6] if isinstance(found, Mapping) else type(found).__name__
        raise ValueError(f"{path} holds no state dict of tensors, but {what}.")
    return {str(name): array(value) for name, value in found.items()}


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach")


def array(tensor: Any) -> np.ndarray:
    """A tensor of PyTorch in NumPy; half precision as float32, which NumPy has."""
    plain = tensor.detach().cpu()
    return (plain.float() if plain.is_floating_point() else plain).numpy()


def write_safetensors(
    path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> Path:
    """Writes the arrays, with `about` as JSON in the file's metadata.

    Raises:
      ValueError: safetensors is missing.
      OSError: it cannot be written.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise needs("safetensors") from error
    said = {"format": "np", "nrf": json.dumps(about)}
    plain = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    return store.write(path, save(plain, said))


def metadata(path: Path) -> dict[str, Any]:
    """What `write_safetensors` was told beside the arrays; {} of other files."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return json.loads((file.metadata() or {}).get("nrf", "{}"))
