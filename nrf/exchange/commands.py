"""`nrf import` and `nrf export`: what they are told by options."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from nrf import runs
from nrf.config.options import OptionError
from nrf.exchange import exports, imports, weights
from nrf.experiments.certificate import read

_SET = "set"
_Source = Annotated[Path, tyro.conf.Positional]
_As = Annotated[str, tyro.conf.arg(name="as")]


def import_(args: Sequence[str], begin: Sequence[str]) -> str:
    """What `nrf import` says."""
    command = shlex.join([*begin, *args])

    def bring(
        source: _Source,
        /,
        layout: _As,
        out: Path,
        name: str | None = None,
        data: str | None = None,
        data_dir: Path | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> str:
        """Reads a network, or a set of images, that others made.

        Args:
            source: The file of weights, .safetensors or .pt; or the file or folder of a
                set.
            layout: How its entries are called: madry_resnet18, madry_resnet50,
                robustbench_resnet18, robustbench_resnet50, robustbench_preactresnet18,
                robustbench_wideresnet, deepmind_wideresnet, nrf; or "set" for a set.
            out: The new folder: a run, or a data set.
            name: Of the network in the run; the layout's where it is not given.
            data: The data set that it belongs to, such as cifar10.
            data_dir: Of data sets of TFDS; its own where it is not given.
            mean: Of the pixels, where the file does not say it; 0 for none.
            std: Standard deviation of the pixels, where the file does not say it.
        """
        place = None if data_dir is None else str(data_dir)
        if layout == _SET:
            if (name, mean, std) != (None, None, None):
                raise OptionError("--name, --mean and --std are of networks.")
            made = imports.import_set(source, out, data=data, data_dir=place)
            return f"{len(made.labels)} images of {len(made.names)} classes: {out}"
        found = imports.import_network(
            source,
            layout,
            out,
            name=name,
            data=data,
            data_dir=place,
            mean=mean,
            std=std,
            command=command,
        )
        return f"{type(found.architecture).__name__}, {name or layout}: {out}"

    return tyro.cli(bring, prog=shlex.join(begin), args=args)


def export(args: Sequence[str], begin: Sequence[str]) -> str:
    """What `nrf export` says."""

    def write(
        run: _Source,
        /,
        to: Path,
        network: str | None = None,
        set: str | None = None,
        layout: _As = weights.OWN,
        format: str = "parquet",
        certificate: Path | None = None,
        seed: int | None = None,
    ) -> str:
        """Writes a network or a set of a run for others, with a card.

        Args:
            run: The folder that was --out.
            to: A new file, .safetensors, of a network; or a new folder of a set.
            network: The network's name, such as robust or on_D_R.
            set: The set's name, such as D_R.
            layout: How the network's entries are called: nrf, or as `nrf import` reads
                them, for PyTorch.
            format: Of the set: parquet (Hugging Face), npz, png or madry (PyTorch).
            certificate: Of the network, as `nrf verify` makes them, for its card.
            seed: Of the run; its first where it is not given.
        """
        if (network is None) == (set is None):
            raise OptionError("give one of --network NAME and --set NAME.")
        opened = runs.load(run)
        if set is not None:
            return str(exports.export_set(opened, set, to, format, seed=seed))
        said = read(certificate) if certificate else None
        file, card = exports.export_network(
            opened, str(network), to, layout=layout, seed=seed, certificate=said
        )
        return f"{file}\n{card}"

    return tyro.cli(write, prog=shlex.join(begin), args=args)
