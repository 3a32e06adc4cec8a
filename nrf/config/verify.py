"""What `nrf verify` is asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nrf.config.parts import require, require_seeds


@dataclass(frozen=True)
class Verify:
    """Measures a robust accuracy by AutoAttack and writes a certificate of it.

    SOURCE is a run's folder, with --network, or package.module:function, with --data.
    With --check a certificate is measured again, from where it says or from SOURCE.
    """

    check: Path | None = None  # The certificate to be measured again.
    out: Path | None = None  # File of a new certificate, which must not be there.
    norm: Literal["linf", "l2", "l1"] | None = None  # The ball of the perturbations.
    epsilon: float | None = None  # Its radius, in [0, 1] pixels.
    images: int | None = None  # How many, evenly spaced; all where it is not given.
    seed: int | None = None  # Of all random numbers; 0 where it is not given.
    quick: bool = False  # Leave out the attacks that would find fault with AutoAttack.
    batch_size: int | None = None  # Images at once; changes no result.
    network: str | None = None  # The run's network, such as robust or on_D_R.
    run_seed: int | None = None  # Of the run; its first where it is not given.
    params: Path | None = None  # The function's parameters, an .npz file.
    data: str | None = None  # A data set, a folder, or an .npz of images and labels.
    data_dir: str | None = None  # Of data sets of TFDS; its own where it is not given.

    def require(self, source: str | None) -> None:
        """Raises ValueError where options are missing or do not go together."""
        made = ("out", "norm", "epsilon")
        settings = (*made, "images", "seed", "quick")
        given = [
            name
            for name in settings
            if getattr(self, name) is not None and getattr(self, name) is not False
        ]
        if self.check:
            require(
                not given,
                f"--check takes {_options(given)} from the certificate; leave out "
                "these options.",
            )
            return
        require(
            source is not None,
            "give a run's folder or package.module:function first, or --check.",
        )
        missing = [name for name in made if name not in given]
        require(not missing, f"a new certificate needs {_options(missing)}.")
        require_seeds((self.seed or 0,))


def _options(names: list[str]) -> str:
    return ", ".join(f"--{name}" for name in names)
