"""One seed of a run: its folder of stages, and what experiments have in common there.

Trainings with their history, constructed data sets, attacks towards labels.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import data, devices, evaluate, synthesize
from nrf import train as training
from nrf.config import Network, Norm, Training
from nrf.experiments.build import NetworkPrograms
from nrf.runs import store
from nrf.runs.formats import CONSTRUCTED, TRAINED, Constructed, Trained
from nrf.types import Dataset, Key

Tick = Callable[[int], None]  # Hears of so many more finished examples.
# progress(stage, examples) -> context manager of a Tick that will hear of so many.
Progress = Callable[[str, int], AbstractContextManager[Tick]]
# build(key, tick) -> images, labels, indices of the originals, what was measured.
Build = Callable[[Key, Tick], tuple[np.ndarray, np.ndarray, np.ndarray, dict]]


class Work(NamedTuple):
    """How a run works, which is the same for all its seeds and changes no result."""

    mesh: Mesh
    progress: Progress
    evaluation_batch: int
    synthesis_batch: int


def silent(stage: str, examples: int) -> AbstractContextManager[Tick]:
    """Progress that nobody sees."""
    return nullcontext(lambda done: None)


def check_training(settings: Training, examples: int, mesh: Mesh) -> None:
    """Raises ValueError if batches do not fit that many examples or the devices."""
    kept = training.kept(examples, settings.holdout)
    data.batch_indices(0, 0, kept, settings.batch_size)
    devices.check_batch(mesh, settings.batch_size)


def header(config: Any, classes: tuple[str, ...], command: str) -> dict[str, Any]:
    """The start of a results file: which run this is, and how it came about."""
    return {
        "name": config.name,
        "data": config.data,
        "data_note": config.data_note,
        "classes": list(classes),
        "config": dataclasses.asdict(config),
        **store.origin(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
    }


class Seed:
    """The stages of one seed, in its folder; `sets` has "test" and others to train on.

    `done` and `digests` have the value and the content of every stage so far.
    """

    def __init__(
        self, seed: int, folder: Path, sets: Mapping[str, Dataset], work: Work
    ):
        self.seed, self.folder, self.sets, self.work = seed, folder, sets, work
        self.digests = {name: store.content(tuple(of)) for name, of in sets.items()}
        self.done: dict[str, Any] = {}

    def stage(
        self,
        name: str,
        examples: int,
        network: Network,
        settings: dict[str, Any],
        inputs: list[str],
        make: Callable[[Key, Tick], Any],
        kind: store.Kind,
    ) -> Any:
        """The stage `name`, which hears of `examples` examples while it is made."""
        about = {
            "stage": name,
            "seed": self.seed,
            "network": dataclasses.asdict(network),
            **settings,
            "inputs": {source: self.digests[source] for source in inputs},
        }

        def visible():
            with self.work.progress(f"seed {self.seed}: {name}", examples) as tick:
                return make(store.key_for(self.seed, name), tick)

        self.done[name] = store.stage(self.folder / name, about, visible, kind)
        self.digests[name] = store.digest(self.folder / name)
        return self.done[name]

    def dataset(self, name: str) -> Dataset:
        if name in self.sets:
            return self.sets[name]
        made = self.done[name]
        return Dataset(made.images.astype(np.float32), made.labels, made.names)

    def fit(
        self,
        name: str,
        network: Network,
        programs: NetworkPrograms,
        settings: Training,
        on: str,
    ) -> Trained:
        """A fresh network, trained on the set or stage `on`."""
        dataset = self.dataset(on)

        def make(key, tick):
            return self.train(key, programs, settings, dataset, tick)

        about = {"training": dataclasses.asdict(settings)}
        trained_on = training.kept(len(dataset.labels), settings.holdout)
        # The last incomplete batch of an epoch is left out.
        batches = trained_on // settings.batch_size
        examples = settings.epochs * batches * settings.batch_size
        return self.stage(name, examples, network, about, [on, "test"], make, TRAINED)

    def train(
        self,
        key: Key,
        programs: NetworkPrograms,
        settings: Training,
        dataset: Dataset,
        tick: Tick,
    ) -> Trained:
        key_init, key_train, key_holdout = jax.random.split(key, 3)
        dataset, holdout = training.hold_out(key_holdout, dataset, settings.holdout)
        chain, update = programs.trainer(settings, len(dataset.labels))
        x = jnp.asarray(dataset.images[:1])
        state = training.init(key_init, programs.model, chain, x)
        history: list[dict[str, Any]] = []
        best, params = -1.0, None
        for trained, metrics in training.epochs(
            key_train,
            state,
            update,
            dataset,
            count=settings.epochs,
            batch_size=settings.batch_size,
            mesh=self.work.mesh,
            tick=tick,
        ):
            accuracy = self.accuracy(
                programs.correct, trained.params, self.sets["test"]
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
                correct = programs.holdout_correct(settings)
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
            batch_size=self.work.evaluation_batch,
            mesh=self.work.mesh,
        ).accuracy

    def construct(
        self,
        name: str,
        network: Network,
        settings: Any,
        storage: str,
        build: Build,
        *,
        on: str,
        source: str,
        inputs: Sequence[str] = (),
        copies: int = 1,
        provenance: dict[str, Any],
    ) -> Constructed:
        """A set made of the set `on`, so many times, with the stage `source`.

        That is mostly a trained network; `inputs` are others that it was made with.
        `settings` is a config, or None where there is none.
        """
        said = dataclasses.asdict(settings) if settings else {}
        about = {"settings": said, "storage": storage}
        dataset = self.dataset(on)

        def make(key: Key, tick: Tick) -> Constructed:
            images, labels, indices, measured = build(key, tick)
            return Constructed(
                images=images.astype(storage),
                labels=labels,
                original_labels=dataset.labels[indices],
                indices=indices,
                names=dataset.names,
                provenance={
                    "set": name,
                    "seed": self.seed,
                    **provenance,
                    "source": source,
                    "settings": about["settings"],
                    **measured,
                },
            )

        examples = copies * len(dataset.labels)
        of = [on, source, *inputs]
        return self.stage(name, examples, network, about, of, make, CONSTRUCTED)

    def mislabel(
        self,
        key: Key,
        perturb: Callable,
        norm: Norm,
        params: Any,
        dataset: Dataset,
        targets: Any,
        tick: Tick,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, float]]:
        """What a `Build` gives: the images of `dataset`, moved towards targets [N].

        `norm` is that of the perturbations, whose largest is told.
        """
        made = synthesize.mislabel(
            key,
            perturb,
            params,
            dataset,
            np.asarray(targets),
            batch_size=self.work.synthesis_batch,
            mesh=self.work.mesh,
            tick=tick,
        )
        moved = (made.images - dataset.images).reshape(len(dataset.images), -1)
        order = {"l2": 2, "linf": np.inf}[norm]
        measured = {
            "reached_target": float(made.reached.mean()),
            "max_norm": float(np.linalg.norm(moved, order, axis=1).max()),
        }
        return made.images, made.labels, np.arange(len(moved)), measured

    def seconds(self) -> dict[str, float]:
        return {
            f"seed{self.seed}/{name}": store.manifest(self.folder / name)["seconds"]
            for name in self.done
        }

    def history(self) -> dict[str, list[dict[str, Any]]]:
        return {
            f"seed{self.seed}/{name}": made.history
            for name, made in self.done.items()
            if isinstance(made, Trained)
        }
