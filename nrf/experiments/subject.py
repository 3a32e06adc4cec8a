"""What `nrf verify` is told by names: which network, and on which images.

nrf verify runs/digits --network robust --norm l2 --epsilon 0.5 --out robust.json
nrf verify mine:apply --params mine.npz --data test.npz --norm linf ...
nrf verify --check robust.json
"""

import importlib
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from nrf import data, runs
from nrf.config import Verify
from nrf.experiments import certificate, verify
from nrf.types import Dataset, Model, Network


class Names(NamedTuple):
    """Of a network, and of the images it is tested on; None is what follows from it."""

    of: str  # A run's folder, or package.module:function.
    network: str | None = None
    run_seed: int | None = None
    params: str | None = None
    data: str | None = None
    data_dir: str | None = None


def certify(asked: Verify, of: str) -> str:
    """Writes the certificate that is asked for; what it says, and where it is.

    Raises:
      ValueError: before any attack, in words; as `verify.certify`.
      OSError: it cannot be written.
    """
    assert asked.out and asked.norm and asked.epsilon, asked  # See Verify.require.
    threat = verify.THREATS[asked.norm](asked.epsilon)
    certificate.check_new(asked.out)
    names = _named(asked, of)
    network, params, test = load(names)
    made = verify.certify(
        network,
        test,
        threat,
        params=params,
        images=asked.images,
        seed=asked.seed or 0,
        thorough=not asked.quick,
        batch_size=asked.batch_size,
        source=names._asdict(),
    )
    path = certificate.write(asked.out, made)
    low, high = (100 * end for end in made["intervals"]["withstood"])
    interval = f"95 % interval of the share: {low:.1f} to {high:.1f} %."
    verdict = f"The evidence: {made['evidence']['verdict']}."
    open_ = " ".join(made["leaves_open"])
    return "\n".join([f"{made['claims']} {interval}", f"{verdict} {open_}", str(path)])


def check(asked: Verify, of: str | None) -> verify.Comparison:
    """Measures a certificate again, from where it says unless `asked` has other names.

    Raises:
      ValueError: it is none or damaged, or what it names is not there.
    """
    assert asked.check, asked
    said = certificate.read(asked.check)
    names = {name: said["source"].get(name) for name in Names._fields}
    given = _named(asked, of)._asdict()
    names |= {name: value for name, value in given.items() if value is not None}
    if names["of"] is None:
        raise ValueError(
            f"{asked.check} does not say where its network lies; give a run's folder "
            "or package.module:function before --check."
        )
    network, params, test = load(Names(**names))
    return verify.check(said, network, test, params=params, batch_size=asked.batch_size)


def _named(asked: Verify, of: Any) -> Names:
    params = str(asked.params) if asked.params else None
    return Names(of, asked.network, asked.run_seed, params, asked.data, asked.data_dir)


def load(names: Names) -> tuple[Any, Any, Dataset]:
    """The network, its parameters where they lie apart, and its test images.

    Raises:
      ValueError: something is missing, damaged, or not what it should be.
    """
    if ":" in names.of and not Path(names.of).exists():
        return _function(names)
    if names.params:
        raise ValueError(
            f"{names.of} is a run, whose networks have their own parameters; leave out "
            "--params."
        )
    run = runs.load(names.of)
    if names.network is None:
        there = ", ".join(one["name"] for one in run.results.get("networks", []))
        raise ValueError(f"which network of {names.of}? Write --network NAME: {there}.")
    network = run.network(names.network, seed=names.run_seed)
    return network, None, _run_images(run, names)


def _run_images(run: runs.Run, names: Names) -> Dataset:
    """The test images of the run, unless others are named."""
    config = run.results["config"]
    if names.data:
        return _images(names.data, names.data_dir)
    name = run.results.get("data", config["data"])
    if name is None:
        raise ValueError(
            f"{run.folder} does not say which images it is for; give --data: the name "
            "of a data set, a folder, or an .npz file of images and labels."
        )
    if name == "arrays":
        raise ValueError(
            f"{run.folder} was made from arrays, which it does not keep; write "
            "np.savez('test.npz', images=x, labels=y) and --data test.npz."
        )
    folder = names.data_dir or config["data_dir"]
    return _images(name, folder, config["test_examples"])


def _images(name: str, folder: str | None, examples: int | None = None) -> Dataset:
    """Test images by the name of their data set, or from an .npz file."""
    if not name.endswith(".npz"):
        return data.load(name, data_dir=folder, test_examples=examples)[1]
    arrays = _arrays(name)
    if not {"images", "labels"} <= set(arrays):
        raise ValueError(
            f"{name} holds {', '.join(arrays) or 'nothing'}; write np.savez('{name}', "
            "images=x, labels=y)."
        )
    pair = arrays["images"], arrays["labels"]
    return data.load((pair, pair))[1]


def _function(names: Names) -> tuple[Any, Any, Dataset]:
    """A function, Model or Network of a module that lies here or is installed."""
    if names.network is not None or names.run_seed is not None:
        raise ValueError(
            f"{names.of} is a function; --network and --run-seed are of runs."
        )
    if names.data is None:
        raise ValueError(
            f"{names.of} needs --data: the name of a data set, a folder, or an .npz "
            "file of images and labels."
        )
    network = _import(names.of)
    params = None
    if names.params:
        params = traverse_util.unflatten_dict(_arrays(names.params), sep="/")
    elif isinstance(network, Model):
        raise ValueError(f"{names.of} is a Model without parameters; give --params.")
    elif not isinstance(network, Network):
        params = {}
    return network, params, _images(names.data, names.data_dir)


def _import(name: str) -> Any:
    module, _, path = name.partition(":")
    if "" not in sys.path:  # As `python -m` does: modules that lie here are found.
        sys.path.append("")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{name}: the module {module} cannot be imported: {error}."
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{name}: {module} has no {path}.")
        found = getattr(found, part)
    return found


_BAD_FILES = (zipfile.BadZipFile, zlib.error)


def _arrays(path: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; what is pickled is refused."""
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}.")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (*_BAD_FILES, OSError, ValueError, EOFError, TypeError) as error:
        raise ValueError(f"{path} is no whole .npz file of arrays: {error}.") from error
