"""The paper's main experiment, from a config to the rows of its figure.

For every seed: a standard and a robust network on D; D_R and D_NR from their features,
D_rand and D_det by attacking the standard one; a fresh network on each; accuracies of
all six on the untouched test set. Each stage is a folder that is made once.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from nrf import data, devices, features, seeds, store
from nrf.config import SETS, Experiment
from nrf.data import Dataset
from nrf.programs import Programs
from nrf.seeds import Progress, Work, silent
from nrf.stages import Stages


def run(
    config: Experiment, out: Path, *, progress: Progress = silent, command: str = ""
) -> dict[str, Any]:
    """Runs what is not yet in the folder `out`, and saves and returns the results.

    Raises:
      ValueError: before any work, if the data, devices or folder do not fit the
        config; before a stage, if it was made with other settings.
      OSError: `out` cannot be written.
      FloatingPointError: a training diverged; what is finished stays.
    """
    store.check_writable(out)
    mesh = devices.make_mesh(config.devices)
    sets = data.load(
        config.data,
        data_dir=config.data_dir,
        train_examples=config.train_examples,
        test_examples=config.test_examples,
    )
    _check_batches(config, len(sets[0].labels), mesh)
    if config.features:
        chosen = config.features.chosen(len(sets[1].labels))
        features.one_against_rest(sets[1].labels[chosen], sets[1].num_classes)
        devices.check_batch(mesh, config.features.batch_size)
    programs = Programs(config, sets[0].num_classes)
    work = Work(mesh, progress, config.evaluation.batch_size, config.synthesis_batch)
    stages = [
        Stages(config, seed, out / f"seed{seed}", programs, sets, work)
        for seed in config.seeds
    ]
    rows = [row for stage in stages for row in stage.run()]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **pictures(sets[0], stages[0].done))
    store.write(out / "pictures.npz", buffer.getvalue())
    found = [
        stage.features(name, config.features)
        for stage in stages
        if config.features
        for name in ("standard", "robust")
    ]
    if found:
        store.write(out / "features.csv", features.table(found).encode())
    results = {
        **seeds.header(config, sets[0].names, command),
        "seconds": {k: v for stage in stages for k, v in stage.seconds().items()},
        "history": {k: v for stage in stages for k, v in stage.history().items()},
        "attacks": [stage.provenance(name) for stage in stages for name in SETS[2:]],
        "matching": [stage.provenance(name) for stage in stages for name in SETS[:2]],
        "features": found,
        "rows": rows,
    }
    store.write(out / "results.json", json.dumps(results, indent=1).encode())
    return results


def _check_batches(config: Experiment, examples: int, mesh: Mesh) -> None:
    """Refuses at the start what the last stage would refuse after hours."""
    for training in (config.standard, config.robust, *vars(config.on).values()):
        seeds.check_training(training, examples, mesh)
    devices.check_batch(mesh, config.evaluation.batch_size)
    devices.check_batch(mesh, config.synthesis_batch)


def pictures(
    dataset: Dataset, made: dict[str, Any], count: int = 10
) -> dict[str, np.ndarray]:
    """The first image of each class, and what became of it in every set."""
    labels = dataset.labels
    present = [k for k in range(dataset.num_classes) if (labels == k).any()]
    # Fewer than `count` classes are shown several times each.
    nth = -(-count // len(present))
    chosen = np.stack([np.resize(np.flatnonzero(labels == k), nth) for k in present])
    chosen = chosen.T.ravel()[:count]
    shown = {"D": dataset.images[chosen], "D_labels": labels[chosen]}
    for name in SETS:
        where = [int(np.argmax(made[name].indices == i)) for i in chosen]
        shown[name] = made[name].images[where].astype(np.float32)
        shown[f"{name}_labels"] = made[name].labels[where]
    return shown
