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

from nrf import data, devices, features
from nrf.config import SETS, Experiment, evenly
from nrf.experiments import autoattack, controls, seeds, tables
from nrf.experiments.build import Programs
from nrf.experiments.seeds import Progress, Work, silent
from nrf.experiments.stages import Stages
from nrf.runs import store
from nrf.types import Dataset


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
    sets = load(config)
    dataset, test_set = sets["D"], sets["test"]
    _check_batches(config, len(dataset.labels), mesh)
    if config.features:
        chosen = evenly(config.features.images, len(test_set.labels))
        features.one_against_rest(test_set.labels[chosen], test_set.num_classes)
        devices.check_batch(mesh, config.features.batch_size)
    programs = Programs(config, dataset.num_classes)
    work = Work(mesh, progress, config.evaluation.batch_size, config.synthesis_batch)
    stages = [
        Stages(config, seed, out / f"seed{seed}", programs, sets, work)
        for seed in config.seeds
    ]
    rows = [row for stage in stages for row in stage.run()]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **pictures(dataset, stages[0].done))
    store.write(out / "pictures.npz", buffer.getvalue())
    found = [
        stage.features(name, config.features)
        for stage in stages
        if config.features
        for name in ("standard", "robust")
    ]
    if found:
        store.write(out / "features.csv", features.table(found).encode())
    others = [
        row
        for stage in stages
        if config.appendix
        for row in tables.run(stage, config.appendix)
    ]
    beside = [
        controls.run(stage, config.controls) for stage in stages if config.controls
    ]
    verified = [
        found
        for stage in stages
        if config.suite
        for found in autoattack.run(stage, config.suite)
    ]
    results = {
        **seeds.header(config, dataset.names, command),
        "seconds": {k: v for stage in stages for k, v in stage.seconds().items()},
        "history": {k: v for stage in stages for k, v in stage.history().items()},
        "attacks": [stage.provenance(name) for stage in stages for name in SETS[2:]],
        "matching": [stage.provenance(name) for stage in stages for name in SETS[:2]],
        "features": found,
        "sets": [made for stage in stages for made in stage.others()],
        "appendix": others,
        "controls": [row for found in beside for row in found["rows"]],
        **{
            name: [found[name] for found in beside if name in found]
            for name in ("bugs", "leakage", "plane")
        },
        "suite": verified,
        "rows": rows,
    }
    store.write(out / "results.json", json.dumps(results, indent=1).encode())
    return results


def load(config: Experiment) -> dict[str, Dataset]:
    """D and its test set, and what else networks are tested on.

    Raises:
      ValueError: they are not there, or do not fit the config.
    """
    train_set, test_set = data.load(
        config.data,
        data_dir=config.data_dir,
        train_examples=config.train_examples,
        test_examples=config.test_examples,
    )
    found = {"D": train_set, "test": test_set}
    if config.appendix:
        labels = (test_set.labels + 1) % test_set.num_classes
        found["relabelled"] = test_set._replace(labels=labels)
        if second := config.appendix.second_test:
            found["second_test"] = data.load_test(
                second, test_set, data_dir=config.data_dir
            )
    if config.controls and config.controls.plane:
        classes = config.controls.plane.classes
        if max(classes) >= test_set.num_classes:
            raise ValueError(
                f"the plane is of classes {classes}; there are 0 .. "
                f"{test_set.num_classes - 1}."
            )
    return found


def _check_batches(config: Experiment, examples: int, mesh: Mesh) -> None:
    """Refuses at the start what the last stage would refuse after hours."""
    beside = config.controls.trainings if config.controls else []
    students = vars(config.on).values()
    for training in (config.standard, config.robust, *students, *beside):
        seeds.check_training(training, examples, mesh)
    devices.check_batch(mesh, config.evaluation.batch_size)
    devices.check_batch(mesh, config.synthesis_batch)
    if config.suite:
        devices.check_batch(mesh, config.suite.batch_size)


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
