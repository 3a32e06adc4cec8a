"""The paper's study of transferability, from a config to the points of its figure.

Figures 3 and 13: adversarial examples of one network, the source, fool some
architectures more than others, and those are the ones that learn more from the source's
D_det. For every seed: the source; its attacks on the test images; D_det; and each
architecture trained on D and on D_det. Each stage is a folder that is made once.
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import data, devices, evaluate, losses, synthesize, train
from nrf.config import Network, Transfer
from nrf.config import Training as Settings
from nrf.experiments import seeds
from nrf.experiments.build import NetworkPrograms, attack, perturb
from nrf.experiments.seeds import Progress, Seed, Tick, Work, silent
from nrf.runs import store
from nrf.runs.formats import ARRAYS
from nrf.types import Dataset, Key

Row = dict[str, Any]


def run(
    config: Transfer, out: Path, *, progress: Progress = silent, command: str = ""
) -> dict[str, Any]:
    """Runs what is not yet in the folder `out`, and saves and returns the results.

    Raises:
      ValueError: before any work, if the data, networks, devices or folder do not fit
        the config; before a stage, if it was made with other settings.
      OSError: `out` cannot be written.
      FloatingPointError: a training diverged; what is finished stays.
    """
    store.check_writable(out)
    mesh = devices.make_mesh(config.devices)
    train_set, test_set = data.load(
        config.data,
        data_dir=config.data_dir,
        train_examples=config.train_examples,
        test_examples=config.test_examples,
    )
    programs = _Programs(config, train_set.num_classes)
    _check(config, programs, train_set, mesh)
    work = Work(mesh, progress, config.evaluation_batch, config.synthesis_batch)
    rows, studies = [], []
    for seed in config.seeds:
        sets = halves(seed, train_set) if config.halves else (train_set, train_set)
        named = {"D of the source": sets[0], "D": sets[1], "test": test_set}
        study = _Study(config, seed, out / f"seed{seed}", named, programs, work)
        rows += study.run()
        studies.append(study)
    results = {
        **seeds.header(config, train_set.names, command),
        "seconds": {k: v for study in studies for k, v in study.seconds().items()},
        "history": {k: v for study in studies for k, v in study.history().items()},
        "attacks": [study.done["D_det"].provenance for study in studies],
        "rows": rows,
    }
    store.write(out / "transfer.json", json.dumps(results, indent=1).encode())
    return results


def halves(seed: int, dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Two random halves of the data set, for the source and for the others."""
    return train.hold_out(store.key_for(seed, "halves"), dataset, 0.5)


def counts(clean: Any, untargeted: Any, targeted: Any, before: Any) -> dict[str, int]:
    """How a network fares on test images that were attacked to fool another one.

    The paper does not say whether its transfer rate counts images that the network gets
    wrong anyway. `fooled` and `reached` leave them out; `wrong` and `said` do not.

    Args:
      clean: [N] bool, whether it is right without an attack.
      untargeted: [N] bool, whether it is right under the attack away from the label.
      targeted: [N] bool, whether it says the target under the attack towards it.
      before: [N] bool, whether it says this target without an attack.
    """
    found = {
        "right": clean,
        "fooled": clean & ~untargeted,
        "reached": clean & targeted,
        "wrong": ~untargeted,
        "said": targeted,
        "said_before": before,
    }
    return {"total": len(clean), **{name: int(of.sum()) for name, of in found.items()}}


class _Programs:
    """The compiled functions of a study, shared by its seeds."""

    def __init__(self, config: Transfer, num_classes: int):
        # A learner may be the source's network; it has one set of programs then.
        of = functools.cache(lambda network: NetworkPrograms(network, num_classes))
        self.of = of
        source = self.of(config.source)
        self.push = perturb(config.mislabelling, config.source, num_classes)
        self.away, self.toward = (
            synthesize.make_mislabel(source.model.apply, attack(config.attack, loss))
            for loss in (source.loss, losses.negate(source.loss))
        )


def _check(config: Transfer, programs: _Programs, dataset: Dataset, mesh: Mesh) -> None:
    """Refuses at the start what the last stage would refuse after hours."""
    total = len(dataset.labels)
    first = train.kept(total, 0.5) if config.halves else total
    second = total - first if config.halves else total
    plans: list[tuple[Network, Settings, int]] = [
        (config.source, config.source_training, first)
    ]
    for learner in config.learners:
        plans.append((learner.network, learner.on_D, second))
        plans.append((learner.network, learner.on_D_det, first))
    for _, settings, examples in plans:
        seeds.check_training(settings, examples, mesh)
    devices.check_batch(mesh, config.evaluation_batch)
    devices.check_batch(mesh, config.synthesis_batch)
    x = jax.ShapeDtypeStruct((1, *dataset.images.shape[1:]), jnp.float32)
    for network in dict.fromkeys(network for network, _, _ in plans):
        # Raises where images are too small for an architecture.
        jax.eval_shape(programs.of(network).model.init, jax.random.key(0), x)


class _Study(Seed):
    """One seed of the study, in its folder."""

    def __init__(
        self,
        config: Transfer,
        seed: int,
        folder: Path,
        sets: dict[str, Dataset],
        programs: _Programs,
        work: Work,
    ):
        super().__init__(seed, folder, sets, work)
        self.config, self.programs = config, programs
        test = sets["test"]
        next_class = synthesize.next_class(jnp.asarray(test.labels), test.num_classes)
        self.targets = np.asarray(next_class)

    def run(self) -> list[Row]:
        config, of = self.config, self.programs.of
        source = config.source
        self.fit(
            "source", source, of(source), config.source_training, "D of the source"
        )
        self.attack()
        self.construct(
            "D_det",
            source,
            config.mislabelling,
            config.storage,
            self.push,
            on="D of the source",
            source="source",
            provenance={"data": config.data},
        )
        rows = [self.row("source", source, {})]
        for learner in config.learners:
            network = learner.network
            name, taught = network.name, f"{network.name}_on_D_det"
            self.fit(name, network, of(network), learner.on_D, "D")
            self.fit(taught, network, of(network), learner.on_D_det, "D_det")
            found = self.test(f"score_{taught}", network, taught, ("clean",))
            right = {"right_on_D_det": int(found["clean"].sum())}
            rows.append(self.row(name, network, right))
        return rows

    def attack(self) -> None:
        """The test images, attacked to fool the source in both ways."""
        config, test_set = self.config, self.sets["test"]

        def make(key: Key, tick: Tick) -> dict[str, np.ndarray]:
            keys = jax.random.split(key)
            ways = {
                "untargeted": (self.programs.away, test_set.labels),
                "targeted": (self.programs.toward, self.targets),
            }
            return {
                name: synthesize.mislabel(
                    key,
                    push,
                    self.done["source"].params,
                    test_set,
                    labels,
                    batch_size=self.work.synthesis_batch,
                    mesh=self.work.mesh,
                    tick=tick,
                ).images.astype(config.storage)
                for key, (name, (push, labels)) in zip(keys, ways.items(), strict=True)
            }

        about = {"attack": dataclasses.asdict(config.attack), "storage": config.storage}
        self.stage(
            "attacks",
            2 * len(test_set.labels),
            config.source,
            about,
            ["source", "test"],
            make,
            ARRAYS,
        )

    def push(self, key: Key, tick: Tick) -> tuple:
        dataset = self.sets["D of the source"]
        return self.mislabel(
            key,
            self.programs.push,
            self.config.mislabelling.attack.norm,
            self.done["source"].params,
            dataset,
            synthesize.next_class(jnp.asarray(dataset.labels), dataset.num_classes),
            tick,
        )

    def row(self, name: str, network: Network, more: dict[str, int]) -> Row:
        """The counts of the network of the stage `name`, trained on D."""
        ways = ("clean", "untargeted", "targeted", "before")
        found = self.test(f"score_{name}", network, name, ways)
        return {"network": name, "seed": self.seed, **counts(**found), **more}

    def test(
        self, name: str, network: Network, of: str, ways: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """[N] bool for each of `ways`, as `counts` has them, of the stage `of`."""
        test_set = self.sets["test"]
        labels = test_set.labels
        targets = self.targets

        def images(way: str) -> tuple[np.ndarray, np.ndarray]:
            if way in ("untargeted", "targeted"):
                attacked = self.done["attacks"][way].astype(np.float32)
                return attacked, labels if way == "untargeted" else targets
            return test_set.images, labels if way == "clean" else targets

        def make(key: Key, tick: Tick) -> dict[str, np.ndarray]:
            return {
                way: evaluate.right(
                    jax.random.clone(key),
                    self.programs.of(network).correct,
                    self.done[of].params,
                    Dataset(*images(way), test_set.names),
                    batch_size=self.work.evaluation_batch,
                    mesh=self.work.mesh,
                    tick=tick,
                )
                for way in ways
            }

        inputs = [of, "test"] + (["attacks"] if "targeted" in ways else [])
        examples = len(ways) * len(labels)
        about = {"ways": list(ways)}
        return self.stage(name, examples, network, about, inputs, make, ARRAYS)
