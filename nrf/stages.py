"""The stages of the main experiment for one seed: what each makes, and from what."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from nrf import evaluate, features, synthesize
from nrf.config import SETS, Experiment, Features, Training
from nrf.data import Dataset
from nrf.kinds import JSON, Constructed
from nrf.programs import Programs
from nrf.seeds import Seed, Tick, Work
from nrf.types import Key

# The networks by the stage that trains them: what they are trained on, and how.
_NETWORKS = {
    "standard": ("D", "standard"),
    "robust": ("D", "adversarial"),
    **{f"on_{name}": (name, "standard") for name in SETS},
}


class Stages(Seed):
    """One seed of an experiment, in its folder."""

    def __init__(
        self,
        config: Experiment,
        seed: int,
        folder: Path,
        programs: Programs,
        sets: tuple[Dataset, Dataset],
        work: Work,
    ):
        super().__init__(
            seed, folder, dict(zip(("D", "test"), sets, strict=True)), work
        )
        self.config, self.programs = config, programs

    def run(self) -> list[dict[str, Any]]:
        config = self.config
        self.learn("standard", config.standard, "D")
        self.learn("robust", config.robust, "D")
        for name, source in zip(SETS, ("robust", *["standard"] * 3), strict=True):
            self.make(name, source)
        for name in SETS:
            self.learn(f"on_{name}", getattr(config.on, name), name)
        return [row for name in _NETWORKS for row in self.score(name)]

    def learn(self, name: str, settings: Training, on: str) -> None:
        self.fit(name, self.config.network, self.programs, settings, on)

    def make(self, name: str, source: str) -> Constructed:
        """One of SETS, by the network `source`."""
        config = self.config
        matched = name in ("D_R", "D_NR")
        return self.construct(
            name,
            config.network,
            config.matching if matched else config.mislabelling,
            config.storage,
            functools.partial(self.match, source=source)
            if matched
            else functools.partial(self.push, name=name, source=source),
            on="D",
            source=source,
            provenance={"data": config.data},
        )

    def match(self, key: Key, tick: Tick, *, source: str) -> tuple:
        made = synthesize.robustify(
            key,
            self.programs.match,
            self.done[source].params,
            self.sets["D"],
            start=self.config.matching.start,
            copies=self.config.matching.copies,
            batch_size=self.work.synthesis_batch,
            mesh=self.work.mesh,
            tick=tick,
        )
        measured = {
            "start_distance": float(made.start_distance.mean()),
            "final_distance": float(made.final_distance.mean()),
        }
        return made.images, made.labels, made.indices, measured

    def push(self, key: Key, tick: Tick, *, name: str, source: str) -> tuple:
        dataset = self.sets["D"]
        key, key_targets = jax.random.split(key)
        labels, classes = jnp.asarray(dataset.labels), dataset.num_classes
        if name == "D_rand":
            targets = synthesize.random_targets(key_targets, labels, classes)
        else:
            targets = synthesize.next_class(labels, classes)
        return self.mislabel(
            key,
            self.programs.perturb,
            self.config.mislabelling,
            self.done[source].params,
            dataset,
            targets,
            tick,
        )

    def score(self, name: str) -> list[dict[str, Any]]:
        evaluation = self.config.evaluation
        trained_on, how = _NETWORKS[name]
        test_set = self.sets["test"]

        def make(key, tick):
            rows = []
            for epsilon in (0.0, *evaluation.epsilons):
                score = evaluate.score(
                    jax.random.clone(key),
                    self.programs.robustly_correct
                    if epsilon
                    else self.programs.correct,
                    self.done[name].params,
                    test_set,
                    epsilon=epsilon,
                    batch_size=evaluation.batch_size,
                    mesh=self.work.mesh,
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
        examples = (1 + len(evaluation.epsilons)) * len(test_set.labels)
        return self.stage(
            f"score_{name}",
            examples,
            self.config.network,
            {"evaluation": about},
            [name, "test"],
            make,
            JSON,
        )

    def features(self, name: str, settings: Features) -> dict[str, Any]:
        """Usefulness and robust usefulness of the units of the network `name`."""
        test_set, params = self.sets["test"], self.done[name].params
        probe = self.programs.probe(settings)
        chosen = settings.chosen(len(test_set.labels))
        images, labels = test_set.images[chosen], test_set.labels[chosen]

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
            self.config.network,
            {"features": about},
            [name, "test"],
            make,
            JSON,
        )
        return {"network": name, "seed": self.seed, "images": len(images), **found}

    def provenance(self, name: str) -> dict[str, Any]:
        return self.done[name].provenance
