"""The paper's main experiment, from a config to the rows of its figure.

For every seed: a standard and a robust network on D; D_R and D_NR from their features,
D_rand and D_det by attacking the standard one; a fresh network on each; accuracies of
all six on the untouched test set. Each stage is a folder that is made once.
"""

import dataclasses
import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import data, devices, evaluate, store, synthesize
from nrf import train as training
from nrf.config import SETS, Experiment, Training
from nrf.data import Dataset
from nrf.kinds import CONSTRUCTED, JSON, TRAINED, Constructed, Trained
from nrf.programs import Programs
from nrf.types import Key

Tick = Callable[[int], None]  # Hears of so many more finished examples.
# progress(stage, examples) -> context manager of a Tick that will hear of so many.
Progress = Callable[[str, int], AbstractContextManager[Tick]]
# The networks by the stage that trains them: what they are trained on, and how.
_NETWORKS = {
    "standard": ("D", "standard"),
    "robust": ("D", "adversarial"),
    **{f"on_{name}": (name, "standard") for name in SETS},
}


def silent(stage: str, examples: int) -> AbstractContextManager[Tick]:
    """Progress that nobody sees."""
    return nullcontext(lambda done: None)


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
    programs = Programs(config, sets[0].num_classes)
    stages = [
        Stages(config, seed, out / f"seed{seed}", programs, sets, mesh, progress)
        for seed in config.seeds
    ]
    rows = [row for stage in stages for row in stage.run()]
    pictures = stages[0].pictures()
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **pictures)
    store.write(out / "pictures.npz", buffer.getvalue())
    results = {
        "name": config.name,
        "data": config.data,
        "data_note": config.data_note,
        "classes": list(sets[0].names),
        "config": dataclasses.asdict(config),
        "versions": store.versions(),
        "device": store.device(),
        "date": datetime.now(UTC).date().isoformat(),
        "git": store.git_commit(),
        "command": command,
        "seconds": {k: v for stage in stages for k, v in stage.seconds().items()},
        "history": {k: v for stage in stages for k, v in stage.history().items()},
        "attacks": [stage.provenance(name) for stage in stages for name in SETS[2:]],
        "matching": [stage.provenance(name) for stage in stages for name in SETS[:2]],
        "rows": rows,
    }
    store.write(out / "results.json", json.dumps(results, indent=1).encode())
    return results


class Stages:
    """One seed of an experiment, in its folder."""

    def __init__(
        self,
        config: Experiment,
        seed: int,
        folder: Path,
        programs: Programs,
        sets: tuple[Dataset, Dataset],
        mesh: Mesh,
        progress: Progress,
    ):
        self.config, self.seed, self.folder = config, seed, folder
        self.programs, self.mesh, self.progress = programs, mesh, progress
        self.train_set, self.test_set = sets
        self.digests = {
            "D": store.content(tuple(self.train_set)),
            "test": store.content(tuple(self.test_set)),
        }
        self.done: dict[str, Any] = {}

    def run(self) -> list[dict[str, Any]]:
        config = self.config
        self.fit("standard", config.standard, "D")
        self.fit("robust", config.robust, "D")
        for name, source in zip(SETS, ("robust", *["standard"] * 3), strict=True):
            self.construct(name, source)
        for name in SETS:
            self.fit(f"on_{name}", getattr(config.on, name), name)
        return [row for name in _NETWORKS for row in self.score(name)]

    def stage(
        self,
        name: str,
        examples: int,
        settings: dict[str, Any],
        inputs: list[str],
        make: Callable[[Key, Tick], Any],
        kind: store.Kind,
    ) -> Any:
        """The stage `name`, which hears of `examples` examples while it is made."""
        about = {
            "stage": name,
            "seed": self.seed,
            "network": dataclasses.asdict(self.config.network),
            **settings,
            "inputs": {source: self.digests[source] for source in inputs},
        }

        def visible():
            with self.progress(f"seed {self.seed}: {name}", examples) as tick:
                return make(store.key_for(self.seed, name), tick)

        self.done[name] = store.stage(self.folder / name, about, visible, kind)
        self.digests[name] = store.digest(self.folder / name)
        return self.done[name]

    def dataset(self, name: str) -> Dataset:
        if name == "D":
            return self.train_set
        made = self.done[name]
        return Dataset(made.images.astype(np.float32), made.labels, made.names)

    def fit(self, name: str, settings: Training, on: str) -> Trained:
        dataset = self.dataset(on)

        def make(key, tick):
            return self.train(key, settings, dataset, tick)

        about = {"training": dataclasses.asdict(settings)}
        trained_on = len(dataset.labels) - round(settings.holdout * len(dataset.labels))
        # The last incomplete batch of an epoch is left out.
        batches = trained_on // settings.batch_size
        examples = settings.epochs * batches * settings.batch_size
        return self.stage(name, examples, about, [on, "test"], make, TRAINED)

    def train(
        self, key: Key, settings: Training, dataset: Dataset, tick: Tick
    ) -> Trained:
        key_init, key_train, key_holdout = jax.random.split(key, 3)
        held = round(settings.holdout * len(dataset.labels))
        if held:
            order = np.asarray(jax.random.permutation(key_holdout, len(dataset.labels)))
            rest, part = order[held:], order[:held]
            holdout = dataset._replace(
                images=dataset.images[part], labels=dataset.labels[part]
            )
            dataset = dataset._replace(
                images=dataset.images[rest], labels=dataset.labels[rest]
            )
        chain, update = self.programs.trainer(settings, len(dataset.labels))
        x = jnp.asarray(dataset.images[:1])
        state = training.init(key_init, self.programs.model, chain, x)
        history: list[dict[str, Any]] = []
        best, params = -1.0, None
        for trained, metrics in training.epochs(
            key_train,
            state,
            update,
            dataset,
            count=settings.epochs,
            batch_size=settings.batch_size,
            mesh=self.mesh,
            tick=tick,
        ):
            accuracy = self.accuracy(
                self.programs.correct, trained.params, self.test_set
            )
            history.append(
                {
                    "epoch": len(history) + 1,
                    "loss": float(metrics.loss),
                    "accuracy": float(metrics.accuracy),
                    "test_accuracy": accuracy,
                }
            )
            if held:
                correct = self.programs.holdout_correct(settings)
                accuracy = self.accuracy(correct, trained.params, holdout)
                history[-1]["holdout_accuracy"] = accuracy
                if accuracy > best:
                    best, params = accuracy, devices.fetch(trained.params)
        return Trained(params or devices.fetch(trained.params), history)

    def accuracy(self, correct: Any, params: Any, dataset: Dataset) -> float:
        return evaluate.score(
            store.key_for(self.seed, "accuracy"),
            correct,
            params,
            dataset,
            batch_size=self.config.evaluation.batch_size,
            mesh=self.mesh,
        ).accuracy

    def construct(self, name: str, source: str) -> Constructed:
        config, dataset = self.config, self.train_set
        matched = name in ("D_R", "D_NR")
        settings: Any = config.matching if matched else config.mislabelling
        about = {
            "settings": dataclasses.asdict(settings),
            "storage": config.storage,
        }

        def make(key, tick):
            shared: Any = {
                "batch_size": config.synthesis_batch,
                "mesh": self.mesh,
                "tick": tick,
            }
            made: Any
            params = self.done[source].params
            if matched:
                made = synthesize.robustify(
                    key,
                    self.programs.match,
                    params,
                    dataset,
                    start=settings.start,
                    copies=settings.copies,
                    **shared,
                )
                indices = made.indices
                measured = {
                    "start_distance": float(made.start_distance.mean()),
                    "final_distance": float(made.final_distance.mean()),
                }
            else:
                key, key_targets = jax.random.split(key)
                classes = dataset.num_classes
                targets = synthesize.next_class(dataset.labels, classes)
                if name == "D_rand":
                    targets = synthesize.random_targets(
                        key_targets, jnp.asarray(dataset.labels), classes
                    )
                made = synthesize.mislabel(
                    key,
                    self.programs.perturb,
                    params,
                    dataset,
                    np.asarray(targets),
                    **shared,
                )
                indices = np.arange(len(targets))
                moved = made.images - dataset.images
                order = {"l2": 2, "linf": np.inf}[settings.attack.norm]
                norms = np.linalg.norm(moved.reshape(len(moved), -1), order, axis=1)
                measured = {
                    "reached_target": float(made.reached.mean()),
                    "max_norm": float(norms.max()),
                }
            return Constructed(
                images=made.images.astype(config.storage),
                labels=made.labels,
                original_labels=dataset.labels[indices],
                indices=indices,
                names=dataset.names,
                provenance={
                    "set": name,
                    "seed": self.seed,
                    "data": config.data,
                    "source": source,
                    "settings": about["settings"],
                    **measured,
                },
            )

        examples = len(dataset.labels) * (settings.copies if matched else 1)
        return self.stage(name, examples, about, ["D", source], make, CONSTRUCTED)

    def score(self, name: str) -> list[dict[str, Any]]:
        evaluation = self.config.evaluation
        trained_on, how = _NETWORKS[name]

        def make(key, tick):
            rows = []
            for epsilon in (0.0, *evaluation.epsilons):
                score = evaluate.score(
                    jax.random.clone(key),
                    self.programs.robustly_correct
                    if epsilon
                    else self.programs.correct,
                    self.done[name].params,
                    self.test_set,
                    epsilon=epsilon,
                    batch_size=evaluation.batch_size,
                    mesh=self.mesh,
                    tick=tick,
                )
                rows.append(
                    {
                        "trained_on": trained_on,
                        "training": how,
                        "seed": self.seed,
                        "attack": "pgd" if epsilon else "none",
                        "norm": evaluation.norm if epsilon else None,
                        "epsilon": epsilon,
                        "steps": evaluation.steps if epsilon else 0,
                        "correct": score.correct,
                        "total": score.total,
                    }
                )
            return rows

        # How many images a batch holds changes no result.
        about = dataclasses.asdict(dataclasses.replace(evaluation, batch_size=1))
        examples = (1 + len(evaluation.epsilons)) * len(self.test_set.labels)
        return self.stage(
            f"score_{name}",
            examples,
            {"evaluation": about},
            [name, "test"],
            make,
            JSON,
        )

    def provenance(self, name: str) -> dict[str, Any]:
        return self.done[name].provenance

    def seconds(self) -> dict[str, float]:
        return {
            f"seed{self.seed}/{name}": store.manifest(self.folder / name)["seconds"]
            for name in self.done
        }

    def history(self) -> dict[str, list[dict[str, Any]]]:
        return {
            f"seed{self.seed}/{name}": self.done[name].history for name in _NETWORKS
        }

    def pictures(self, count: int = 10) -> dict[str, np.ndarray]:
        """The first image of each class, and what became of it in every set."""
        labels = self.train_set.labels
        present = [k for k in range(self.train_set.num_classes) if (labels == k).any()]
        # Fewer than `count` classes are shown several times each.
        nth = -(-count // len(present))
        chosen = np.stack([np.flatnonzero(labels == k)[:nth] for k in present])
        chosen = chosen.T.ravel()[:count]
        pictures = {"D": self.train_set.images[chosen], "D_labels": labels[chosen]}
        for name in SETS:
            made = self.done[name]
            where = [int(np.argmax(made.indices == i)) for i in chosen]
            pictures[name] = made.images[where].astype(np.float32)
            pictures[f"{name}_labels"] = made.labels[where]
        return pictures
