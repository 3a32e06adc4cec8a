"""A run's measurements and pictures for TensorBoard, while it works."""

from pathlib import Path
from typing import Any

import numpy as np

from nrf.exchange.files import needs
from nrf.runs import Progress


class Board(Progress):
    """Writes what is measured in every epoch, and in the end the run's pictures.

    Every training is a curve of its own, called "seed0/robust".

    Args:
      folder: `tensorboard --logdir` of it shows them.
      out: The run's folder, which has its pictures when it is done.

    Raises:
      ValueError: tensorboardX is missing.
    """

    def __init__(self, folder: Path, out: Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise needs("tensorboardX") from error
        self.make, self.folder, self.out = SummaryWriter, Path(folder), Path(out)
        self.writers: dict[str, Any] = {}

    def metrics(self, step: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if name != "epoch":
                self._writer(step).add_scalar(name, value, values["epoch"])

    def close(self) -> None:
        path = self.out / "pictures.npz"
        if path.is_file():
            with np.load(path) as pictures:
                for name, images in pictures.items():
                    if images.ndim == 4:  # The others are their labels.
                        self._writer("pictures").add_images(
                            name, images, dataformats="NHWC"
                        )
        for writer in self.writers.values():
            writer.close()

    def _writer(self, name: str) -> Any:
        if name not in self.writers:
            self.writers[name] = self.make(str(self.folder / name))
        return self.writers[name]
