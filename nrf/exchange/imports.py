"""What others made as folders of this package: runs of one network, and sets."""

import hashlib
import json
from pathlib import Path
from typing import Any

from nrf import data as datasets
from nrf.exchange.readers import read_set
from nrf.exchange.weights import load_weights
from nrf.runs import Constructed, Trained, Weights, store
from nrf.runs.load import IMPORTED, RESULTS
from nrf.runs.provenance import describe, origin
from nrf.types import Dataset


def import_network(
    path: Path | str,
    layout: str,
    out: Path | str,
    *,
    name: str | None = None,
    data: str | None = None,
    data_dir: str | None = None,
    mean: Any = None,
    std: Any = None,
    command: str = "",
) -> Weights:
    """Reads a network as `load_weights` and keeps it as a run, in the folder `out`.

    `nrf.runs.load(out)`, `nrf verify` and `nrf.config.Given` take it from there.

    Args:
      path, layout, mean, std: As there.
      out: The run's folder, which holds no other run.
      name: Of the network in the run; that of the layout where it is not given.
      data: The data set that it is for, whose classes it names and whose test images
        `nrf verify` takes.
      data_dir: As `nrf.data.load`.
      command: Said in the folder.

    Raises:
      ValueError: as `load_weights`; the data have other classes; `out` is taken.
      OSError: `out` cannot be written.
    """
    path, out, name = Path(path), Path(out), name or layout
    taken = [file for file in RESULTS if (out / file).exists()]
    if taken:
        raise ValueError(f"{out} holds {taken[0]} already; choose another --out.")
    known = _example(data, data_dir)
    classes = known.num_classes if known else None
    weights = load_weights(path, layout, classes, mean=mean, std=std)
    names = known.names if known else tuple(map(str, range(weights.num_classes)))
    source = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "layout": layout,
    }
    settings = {"network": describe(weights.architecture), **source}
    about = {"step": name, "by": "nrf import", "settings": settings}
    store.save(out / "seed0" / name, Trained(weights.params, []), about)
    results = {
        "name": "import",
        "config": {
            "seeds": [0],
            "data": data,
            "data_dir": data_dir,
            "test_examples": None,
        },
        "data": data,
        "classes": list(names),
        "networks": [{"name": name}],
        "source": source,
        **origin(),
        "command": command,
    }
    store.write(out / IMPORTED, json.dumps(results, indent=1).encode())
    return weights


def import_set(
    path: Path | str,
    out: Path | str,
    *,
    data: str | None = None,
    data_dir: str | None = None,
) -> Constructed:
    """Reads a set as `read_set` and keeps it as a constructed set of a run is kept.

    `nrf run --data out` trains on it and tests on the test images of `data`.

    Args:
      path: As there.
      out: A new folder.
      data: The data set that it was made from, whose classes it names; what the file
        says where it is not given.
      data_dir: As `nrf.data.load`.

    Raises:
      ValueError: as `read_set`; the data have other classes; `out` is there.
      OSError: `out` cannot be written.
    """
    known = _example(data, data_dir)
    made = read_set(path, known.names if known else None)
    if data:
        made = made._replace(provenance={**made.provenance, "data": data})
    return store.save(Path(out), made, {"by": "nrf import", "file": str(path)})


def _example(data: str | None, data_dir: str | None) -> Dataset | None:
    """An image of the data set, for its classes."""
    if data is None:
        return None
    return datasets.load(data, data_dir=data_dir, train_examples=1, test_examples=1)[0]
