"""The same images in every data set, and what attacks changed in them."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nrf.report.page import text

SETS = ("D", "D_R", "D_NR", "D_rand", "D_det")
WHAT = {
    "D": "original",
    "D_R": "robust features",
    "D_NR": "non-robust features",
    "D_rand": "random target",
    "D_det": "next class",
}
FACTORS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
WIDTH = 64  # Screen pixels to aim at; larger images are reduced to WIDEST.
WIDEST = 96


def load(out: Path) -> dict[str, np.ndarray]:
    """The arrays of pictures.npz; {} where a run saved none."""
    path = Path(out) / "pictures.npz"
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def amplification(pictures: Mapping[str, np.ndarray]) -> int:
    """The factor that brings 99 % of the attacks' changes into [0, 1]."""
    changes = [
        np.abs(pictures[name] - pictures["D"]).ravel()
        for name in ("D_rand", "D_det")
        if name in pictures
    ]
    size = float(np.quantile(np.concatenate(changes), 0.99)) if changes else 0.0
    return max((f for f in FACTORS if f * size <= 0.5), default=1) if size else 1


def grid(pictures: Mapping[str, np.ndarray], classes: Sequence[str]) -> str:
    """HTML: a row per data set, a column per image, labels under them.

    D_rand and D_det are followed by a row of x' - x, amplified around middle grey.
    """
    factor = amplification(pictures)
    rows = []
    names = [name for name in SETS if name in pictures]
    for name in names + [n for n in pictures if _extra(n, pictures)]:
        labels = pictures[f"{name}_labels"]
        cells = []
        for i, image in enumerate(pictures[name]):
            said = classes[int(labels[i])]
            changed = int(labels[i]) != int(pictures["D_labels"][i])
            mark = f'<span class="changed">→ {text(said)}</span>'
            alt = f"Image {i + 1} in {name}, labelled {said}"
            cells.append(_img(image, alt) + (mark if changed else text(said)))
        rows.append(_row(name, WHAT.get(name, ""), cells))
        if name in ("D_rand", "D_det"):
            change = 0.5 + factor * (pictures[name] - pictures["D"])
            cells = [
                _img(image, f"Change of image {i + 1} in {name}, amplified")
                for i, image in enumerate(change)
            ]
            rows.append(_row(f"{name} − D", f"{factor} times the change", cells))
    body = "\n".join(rows)
    return f'<div class="scroll"><table class="pictures">\n{body}\n</table></div>'


def _extra(name: str, pictures: Mapping[str, np.ndarray]) -> bool:
    return name not in SETS and f"{name}_labels" in pictures


def _row(name: str, what: str, cells: Sequence[str]) -> str:
    head = f'<th scope="row">{text(name)}<small>{text(what)}</small></th>'
    return f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _img(image: np.ndarray, alt: str) -> str:
    """An <img> of [H, W, C] in [0, 1]; whole screen pixels per pixel keep it crisp."""
    height, width = image.shape[:2]
    scale = max(1, round(WIDTH / max(height, width)))
    alt = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return (
        f'<img src="data:image/png;base64,{png(image)}" alt="{alt}" '
        f'width="{min(WIDEST, width * scale)}" '
        f'style="aspect-ratio: {width} / {height}">'
    )


def png(image: np.ndarray) -> str:
    """Base64 PNG of [H, W, C] in [0, 1]; grey unless there are three channels."""
    pixels = np.asarray(np.clip(image, 0, 1) * 255 + 0.5, np.uint8)
    if pixels.shape[-1] != 3:
        pixels = np.asarray(pixels.mean(-1), np.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((WIDEST, WIDEST))  # Leaves smaller ones as they are.
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()
