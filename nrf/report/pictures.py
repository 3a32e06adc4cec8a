"""The same images in every data set, and what attacks changed in them."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH = 96  # Screen pixels to aim at, so that 8 × 8 can be read.


def load(out: Path) -> dict[str, np.ndarray]:
    """The arrays of pictures.npz; {} where a run saved none."""
    path = Path(out) / "pictures.npz"
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def changes(images: Mapping[str, np.ndarray], name: str) -> list[tuple]:
    """What was added to D's images to make those of a set: a picture and its ℓ₂ norm.

    Blue where pixels became darker, orange where brighter. [] for a matched set, which
    was not made from D's images, and where nothing was changed.
    """
    change = images[name] - images["D"]
    if f"{name}_start" in images or not change.any():
        return []
    # 99 % of the changes are inside the scale, which all images of a row share.
    scale = float(np.quantile(np.abs(change), 0.99)) or 1.0
    signed = np.clip(change.mean(-1, keepdims=True) / scale, -1, 1)
    towards = np.where(signed < 0, (0.0, 0.45, 0.7), (0.84, 0.37, 0.0))
    colors = 1 - np.abs(signed) * (1 - towards)
    norms = np.sqrt((change**2).sum((1, 2, 3)))
    return list(zip(colors, norms, strict=True))


def attributes(image: np.ndarray) -> dict[str, str]:
    """Those of an <img> of [H, W, C] in [0, 1], but for its description."""
    height, width = image.shape[:2]
    # Whole screen pixels per pixel keep it crisp.
    scale = max(1, round(WIDTH / max(height, width)))
    return {
        "src": f"data:image/png;base64,{png(image)}",
        "width": str(min(WIDTH, width * scale)),
        "style": f"aspect-ratio: {width} / {height}",
    }


def png(image: np.ndarray) -> str:
    """Base64 PNG of [H, W, C] in [0, 1]; grey unless there are three channels."""
    pixels = np.asarray(np.clip(image, 0, 1) * 255 + 0.5, np.uint8)
    if pixels.shape[-1] != 3:
        pixels = np.asarray(pixels.mean(-1), np.uint8)
    small = Image.fromarray(pixels)
    small.thumbnail((WIDTH, WIDTH))  # Leaves smaller ones as they are.
    stream = io.BytesIO()
    small.save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()
