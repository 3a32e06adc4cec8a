"""The stages of the main experiment for one seed: what each makes, and from what."""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import devices, evaluate, features, store, synthesize
from nrf import train as training
from nrf.config import SETS, Experiment, Features, Training
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
        trained_on = training.kept(len(dataset.labels), settings.holdout)
        # The last incomplete batch of an epoch is left out.
        batches = trained_on // settings.batch_size
        examples = settings.epochs * batches * settings.batch_size
        return self.stage(name, examples, about, [on, "test"], make, TRAINED)

    def train(
        self, key: Key, settings: Training, dataset: Dataset, tick: Tick
    ) -> Trained:
        key_init, key_train, key_holdout = jax.random.split(key, 3)
        dataset, holdout = training.hold_out(key_holdout, dataset, settings.holdout)
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
            if len(holdout.labels):
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
        """One of SETS, by the network `source`."""
        matched = name in ("D_R", "D_NR")
        settings = self.config.matching if matched else self.config.mislabelling
        about = {
            "settings": dataclasses.asdict(settings),
            "storage": self.config.storage,
        }

        def make(key: Key, tick: Tick) -> Constructed:
            build = self.match if matched else self.mislabel
            images, labels, indices, measured = build(key, name, source, tick)
            return Constructed(
                images=images.astype(self.config.storage),
                labels=labels,
                original_labels=self.train_set.labels[indices],
                indices=indices,
                names=self.train_set.names,
                provenance={
                    "set": name,
                    "seed": self.seed,
                    "data": self.config.data,
                    "source": source,
                    "settings": about["settings"],
                    **measured,
                },
            )

        copies = self.config.matching.copies if matched else 1
        examples = copies * len(self.train_set.labels)
        return self.stage(name, examples, about, ["D", source], make, CONSTRUCTED)

    def match(self, key: Key, name: str, source: str, tick: Tick) -> tuple:
        made = synthesize.robustify(
            key,
            self.programs.match,
            self.done[source].params,
            self.train_set,
            start=self.config.matching.start,
            copies=self.config.matching.copies,
            batch_size=self.config.synthesis_batch,
            mesh=self.mesh,
            tick=tick,
        )
        measured = {
            "start_distance": float(made.start_distance.mean()),
            "final_distance": float(made.final_distance.mean()),
        }
        return made.images, made.labels, made.indices, measured

    def mislabel(self, key: Key, name: str, source: str, tick: Tick) -> tuple:
        dataset = self.train_set
        key, key_targets = jax.random.split(key)
        labels, classes = jnp.asarray(dataset.labels), dataset.num_classes
        if name == "D_rand":
            targets = synthesize.random_targets(key_targets, labels, classes)
        else:
            targets = synthesize.next_class(labels, classes)
        made = synthesize.mislabel(
            key,
            self.programs.perturb,
            self.done[source].params,
            dataset,
            np.asarray(targets),
            batch_size=self.config.synthesis_batch,
            mesh=self.mesh,
            tick=tick,
        )
        moved = (made.images - dataset.images).reshape(len(dataset.images), -1)
        order = {"l2": 2, "linf": np.inf}[self.config.mislabelling.attack.norm]
        measured = {
            "reached_target": float(made.reached.mean()),
            "max_norm": float(np.linalg.norm(moved, order, axis=1).max()),
        }
        return made.images, made.labels, np.arange(len(moved)), measured

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

    def features(self, name: str, settings: Features) -> dict[str, Any]:
        """Usefulness and robust usefulness of the units of the network `name`."""
        test_set, params = self.test_set, self.done[name].params
        probe = self.programs.probe(settings)
        chosen = settings.chosen(len(test_set.labels))
        images, labels = test_set.images[chosen], test_set.labels[chosen]

        def make(key: Key, tick: Tick) -> dict[str, Any]:
            shared: Any = {
                "epsilon": settings.epsilon,
                "batch_size": settings.batch_size,
                "mesh": self.mesh,
            }
            key_units, key_layer = jax.random.split(key)
            measured = features.measure(
                key_units,
                probe,
                params,
                Dataset(images, labels, test_set.names),
                chunk=settings.chunk,
                useful=settings.useful,
                trust_attack=True,
                drop_constant=True,
                tick=tick,
                **shared,
            )
            return {
                "layer_robustness": features.layer_robustness(
                    key_layer, probe, params, images, **shared
                ),
                "constant": measured.constant.tolist(),
                "rows": features.rows(measured, test_set.names),
            }

        # How many are attacked at once changes no result.
        about = dataclasses.asdict(dataclasses.replace(settings, batch_size=1, chunk=1))
        units = jax.eval_shape(probe.values, params, images).shape[1]
        found = self.stage(
            f"features_{name}",
            -(-units // settings.chunk) * len(images),
            {"features": about},
            [name, "test"],
            make,
            JSON,
        )
        return {"network": name, "seed": self.seed, "images": len(images), **found}

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
