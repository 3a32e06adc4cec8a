"""The stages of the main experiment for one seed: what each makes, and from what."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from nrf import evaluate, features, synthesize
from nrf.config import (
    SETS,
    Evaluation,
    Experiment,
    Features,
    Matching,
    Training,
    evenly,
)
from nrf.experiments.build import Programs
from nrf.experiments.seeds import Seed, Tick, Work
from nrf.runs.formats import JSON, Constructed
from nrf.types import Dataset, Key, Labels

Row = dict[str, Any]
# targets(key, labels, num_classes) -> the classes that images are pushed towards.
Targets = Callable[[Key, Labels, int], Labels]

# The six networks of the paper's figure, by the stages that train them.
NETWORKS = ("standard", "robust", *(f"on_{name}" for name in SETS))
TARGETS: dict[str, Targets] = {
    "D_rand": synthesize.random_targets,
    "D_det": lambda key, labels, classes: synthesize.next_class(labels, classes),
}


class Stages(Seed):
    """One seed of an experiment, in its folder.

    `sets` has "D" and "test", and others that networks are tested on.
    """

    def __init__(
        self,
        config: Experiment,
        seed: int,
        folder: Path,
        programs: Programs,
        sets: dict[str, Dataset],
        work: Work,
    ):
        super().__init__(seed, folder, sets, work)
        self.config, self.programs = config, programs

    def run(self) -> list[Row]:
        """The six networks of the paper's figure, and their rows."""
        config = self.config
        self.learn("standard", config.standard, "D")
        self.learn("robust", config.robust, "D")
        self.match("D_R", "robust", config.matching)
        self.match("D_NR", "standard", config.matching)
        for name in TARGETS:
            self.push(name, "standard", TARGETS[name])
        for name in SETS:
            self.learn(f"on_{name}", getattr(config.on, name), name)
        return [row for name in NETWORKS for row in self.score(name)]

    def learn(self, name: str, settings: Training, on: str) -> None:
        self.fit(name, self.config.network, self.programs, settings, on)

    def match(
        self, name: str, source: str, settings: Matching, *, on: str = "D"
    ) -> None:
        """The set `name`: images with the features of `on`, as `source` sees them."""

        def build(key: Key, tick: Tick) -> tuple:
            made = synthesize.robustify(
                key,
                self.programs.match(settings),
                self.done[source].params,
                self.sets[on],
                start=settings.start,
                copies=settings.copies,
                batch_size=self.work.synthesis_batch,
                mesh=self.work.mesh,
                tick=tick,
            )
            measured = {
                "start_distance": float(made.start_distance.mean()),
                "final_distance": float(made.final_distance.mean()),
            }
            return made.images, made.labels, made.indices, measured

        self.make(name, settings, build, source=source, on=on, copies=settings.copies)

    def push(self, name: str, source: str, targets_of: Targets) -> None:
        """The set `name`: D, attacked until `source` says the targets; so labelled."""
        settings = self.config.mislabelling

        def build(key: Key, tick: Tick) -> tuple:
            dataset = self.sets["D"]
            key, key_targets = jax.random.split(key)
            labels = jnp.asarray(dataset.labels)
            return self.mislabel(
                key,
                self.programs.perturb,
                settings.attack.norm,
                self.done[source].params,
                dataset,
                targets_of(key_targets, labels, dataset.num_classes),
                tick,
            )

        self.make(name, settings, build, source=source)

    def make(self, name: str, settings: Any, build: Callable, **options: Any) -> None:
        """A constructed set of this experiment; `options` of `Seed.construct`."""
        self.construct(
            name,
            self.config.network,
            settings,
            self.config.storage,
            build,
            provenance={"data": self.config.data},
            **{"on": "D", **options},
        )

    def score(
        self, name: str, evaluation: Evaluation | None = None, *, on: str = "test"
    ) -> list[Row]:
        """Accuracies of the network of the stage `name`, without attack and under it.

        On the set or stage `on`, or as many of its first images as there are test
        images; by the experiment's evaluation where no other is given. Rows under
        attack carry their evidence, which is thorough for the experiment's.

        Raises:
          ValueError: an accuracy is not believable, and the evaluation refuses it.
        """
        asked = evaluation or self.config.evaluation
        dataset = self.dataset(on)
        count = min(len(dataset.labels), len(self.sets["test"].labels))
        images, labels = dataset.images[:count], dataset.labels[:count]
        first = Dataset(images, labels, dataset.names)

        def make(key: Key, tick: Tick) -> list[dict[str, Any]]:
            clean = evaluate.score(
                jax.random.clone(key),
                self.programs.correct,
                self.done[name].params,
                first,
                batch_size=asked.batch_size,
                mesh=self.work.mesh,
                tick=tick,
            )
            rows: list[dict[str, Any]] = [
                {
                    "attack": "none",
                    "norm": None,
                    "epsilon": 0.0,
                    "steps": 0,
                    **clean._asdict(),
                }
            ]
            for epsilon in asked.epsilons:
                seen = evaluate.gather(
                    jax.random.clone(key),
                    self.programs.checks(asked),
                    self.done[name].params,
                    first,
                    epsilon=epsilon,
                    batch_size=asked.batch_size,
                    mesh=self.work.mesh,
                    thorough=evaluation is None,
                    tick=tick,
                )
                attack = "pgd" if asked.loss == "cross_entropy" else f"pgd {asked.loss}"
                rows.append(
                    {
                        "attack": attack,
                        "norm": asked.norm,
                        "epsilon": epsilon,
                        "steps": asked.steps,
                        "correct": seen.withstood,
                        "total": seen.total,
                        "evidence": seen.as_dict(),
                    }
                )
            return rows

        passes = self.programs.checks(asked).passes(evaluation is None)
        where = "" if on == "test" else f"_at_{on}"
        if evaluation is not None and evaluation.epsilons:
            where += f"_{asked.steps}_{asked.loss}"
        rows = self.stage(
            f"score_{name}{where}",
            (1 + len(asked.epsilons) * passes) * count,
            self.config.network,
            {"evaluation": without_work(asked)},
            [name, on],
            make,
            JSON,
        )
        if asked.refuse:
            for row in rows[1:]:
                evaluate.Evidence.from_dict(row["evidence"]).refuse()
        return [{**self.network(name), "tested_on": on, **row} for row in rows]

    def network(self, name: str) -> Row:
        """How rows call the network of the stage `name`."""
        return {
            "trained_on": name.removeprefix("on_") if name.startswith("on_") else "D",
            "training": "adversarial" if name == "robust" else "standard",
            "seed": self.seed,
        }

    def some(self, count: int) -> Dataset:
        """So many of the test images, evenly spaced."""
        test_set = self.sets["test"]
        chosen = evenly(count, len(test_set.labels))
        images, labels = test_set.images[chosen], test_set.labels[chosen]
        return Dataset(images, labels, test_set.names)

    def features(self, name: str, settings: Features) -> dict[str, Any]:
        """Usefulness and robust usefulness of the units of the network `name`."""
        test_set, params = self.some(settings.images), self.done[name].params
        probe, images = self.programs.probe(settings), test_set.images

        def make(key: Key, tick: Tick) -> dict[str, Any]:
            shared: Any = {
                "epsilon": settings.epsilon,
                "batch_size": settings.batch_size,
                "mesh": self.work.mesh,
            }
            key_units, key_layer = jax.random.split(key)
            measured = features.measure(
                key_units,
                probe,
                params,
                test_set,
                chunk=settings.chunk,
                useful=settings.useful,
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
            self.config.network,
            {"features": about},
            [name, "test"],
            make,
            JSON,
        )
        return {"network": name, "seed": self.seed, "images": len(images), **found}

    def provenance(self, name: str) -> dict[str, Any]:
        return self.done[name].provenance

    def others(self) -> list[dict[str, Any]]:
        """The provenance of every set that the main experiment does not have."""
        return [
            made.provenance
            for name, made in self.done.items()
            if isinstance(made, Constructed) and name not in SETS
        ]


def without_work(evaluation: Evaluation) -> dict[str, Any]:
    """The settings without those that change no result."""
    return {**dataclasses.asdict(evaluation), "batch_size": 1, "refuse": False}
