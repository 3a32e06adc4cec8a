"""The paper's study of transferability, from a config to the points of its figure.

Figures 3 and 13: adversarial examples of one network, the source, fool some
architectures more than others, and those are the ones that learn more from the source's
D_det. For every seed: the source; its attacks on the test images; D_det; and each
architecture trained on D and on D_det.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf import data as data_sets
from nrf import devices, evaluate, synthesize, train
from nrf.config import PGD, Transfer
from nrf.experiments import build, climbs, lists
from nrf.experiments.controls import confusion
from nrf.experiments.networks import (
    Row,
    check_network,
    check_training,
    fit,
    trained,
)
from nrf.experiments.prepare import (
    announce,
    at_precision,
    check_folder,
    data_name,
    seed_steps,
)
from nrf.experiments.recipes import construct
from nrf.runs import Cost, Env, Made, Progress, Steps, costs, store
from nrf.runs.progress import combine
from nrf.runs.provenance import header
from nrf.runs.steps import given, key_for
from nrf.types import Dataset, Key, Network


@at_precision
def run(
    config: Transfer,
    out: Path | str,
    *,
    data: Any = None,
    progress: Progress | None = None,
    on_metrics: Any = None,
    reuse: Sequence[Path | str] = (),
    command: str = "",
) -> dict[str, Any]:
    """Makes what is not yet in the folder `out`; saves and returns the results.

    Arguments and errors are those of `nrf.experiments.main.run`.
    """
    out = Path(out)
    train_set, test_set = prepare(config, out, data)
    steps = seed_steps(
        config,
        out,
        config.seeds,
        data=data_name(config, data),
        progress=combine(progress, on_metrics),
        reuse=reuse,
    )
    announce(steps, lambda step: one_seed(config, step, train_set, test_set))
    rows = [
        row for step in steps for row in one_seed(config, step, train_set, test_set)
    ]
    learners = [learner.name for learner in config.learners]
    results = {
        **header(config, command),
        "data": data_name(config, data) or "arrays",
        "data_note": config.data_note,
        "classes": list(train_set.names),
        "learners": [{"name": name, "title": title(name)} for name in learners],
        "seconds": {k: v for step in steps for k, v in step.seconds().items()},
        "history": lists.histories(steps),
        "attacks": [step.made["D_det"].value.provenance for step in steps],
        "rows": rows,
    }
    store.write(out / "transfer.json", json.dumps(results, indent=1).encode())
    return results


def prepare(config: Transfer, out: Path, data: Any) -> tuple[Dataset, Dataset]:
    """The data; raises ValueError for what the last step would refuse after hours."""
    check_folder(out, "transfer.json", config.seeds)
    train_set, test_set = data_sets.load(
        config.data if data is None else data,
        data_dir=config.data_dir,
        train_examples=config.train_examples,
        test_examples=config.test_examples,
    )
    mesh = devices.make_mesh(config.work.devices)
    total = len(train_set.labels)
    first = train.kept(total, 0.5) if config.halves else total
    second = total - first if config.halves else total
    plans = [(config.source, config.source_training, first)]
    for learner in config.learners:
        plans.append((learner.network, learner.on_D, second))
        plans.append((learner.network, learner.on_D_det, first))
    for _, training, examples in plans:
        check_training(training, examples, mesh)
    for architecture in dict.fromkeys(architecture for architecture, _, _ in plans):
        check_network(architecture, train_set)
    return train_set, test_set


def one_seed(
    config: Transfer, step: Steps, train_set: Dataset, test_set: Dataset
) -> list[Row]:
    """All steps of one seed: a row for the source and for every learner."""
    classes = train_set.num_classes
    of_source, of_others = train_set, train_set
    if config.halves:
        of_source, of_others = halves(step.seed, train_set)
    theirs, D = given("D of the source", of_source), given("D", of_others)
    test = given("test", test_set)

    def train_one(name, architecture, training, dataset):
        made = step(name, fit, dataset, test, network=architecture, training=training)
        return trained(made, architecture, classes)

    source = train_one("source", config.source, config.source_training, theirs)
    attacks = step(
        "attacks", _attack, source, test, attack=config.attack, storage=config.storage
    )
    D_det = step(
        "D_det", construct, theirs, source, recipe=config.D_det, storage=config.storage
    )
    rows = [{"network": "source", **tested(step, source, test, attacks)}]
    for learner in config.learners:
        network = train_one(learner.name, learner.network, learner.on_D, D)
        taught = train_one(
            f"{learner.name}_on_D_det", learner.network, learner.on_D_det, D_det
        )
        counts = confusion(step, taught, test)
        rows.append(
            {
                "network": learner.name,
                **tested(step, network, test, attacks),
                # In a plan there are no counts.
                "right_on_D_det": counts.get("correct"),
                "confusion_on_D_det": counts.get("confusion"),
            }
        )
    return [{**row, "seed": step.seed} for row in rows]


def title(name: str) -> str:
    """How reports call the paper's architectures; others by their names."""
    known = {
        "vgg16": "VGG-16",
        "inception_v3": "Inception-v3",
        "resnet18": "ResNet-18",
        "densenet121": "DenseNet-121",
        "resnet50": "ResNet-50",
    }
    return known.get(name, name)


def halves(seed: int, dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Two random halves of the data set, for the source and for the others."""
    return train.hold_out(key_for(seed, "halves"), dataset, 0.5)


def tested(step: Steps, network: Made, test: Made, attacks: Made) -> dict[str, int]:
    """The counts of a network on the attacked test images."""
    return step(f"score_{network.name}", _tested, network, test, attacks).value


def counts(clean: Any, untargeted: Any, targeted: Any, before: Any) -> dict[str, int]:
    """How a network fares on test images that were attacked to fool another one.

    The paper does not say whether its transfer rate counts images that the network gets
    wrong anyway. `fooled` and `reached` leave them out; `wrong` and `said` do not.

    Args:
      clean: [N] bool, whether it is right without an attack.
      untargeted: [N] bool, whether it is right under the attack away from the label.
      targeted: [N] bool, whether it predicts the target under the attack towards it.
      before: [N] bool, whether it predicts this target without an attack.
    """
    counted = {
        "right": clean,
        "fooled": clean & ~untargeted,
        "reached": clean & targeted,
        "wrong": ~untargeted,
        "said": targeted,
        "said_before": before,
    }
    return {"total": len(clean), **{k: int(of.sum()) for k, of in counted.items()}}


def _attack_cost(source, test, *, attack: PGD, storage) -> Cost:
    examples = 2 * len(test.labels)
    return Cost(examples, examples * attack.steps)


@costs(_attack_cost)
def _attack(
    key: Key, source: Network, test: Dataset, *, attack: PGD, storage: str, env: Env
) -> dict[str, np.ndarray]:
    """The test images, attacked to fool the source in both ways."""
    keys = jax.random.split(key)
    away, towards = (
        climbs.mislabeller(source.model, attack, sign=sign) for sign in (1, -1)
    )
    ways = {"untargeted": (away, test.labels), "targeted": (towards, targets(test))}
    return {
        name: np.asarray(
            synthesize.mislabel(
                key,
                push,
                source.params,
                test,
                labels,
                batch_size=env.work.synthesis_batch,
                mesh=env.mesh,
                tick=env.tick,
                shards=env.shards,
            ).images,
            storage,
        )
        for key, (name, (push, labels)) in zip(keys, ways.items(), strict=True)
    }


def targets(test: Dataset) -> np.ndarray:
    """[N] the class after the true one."""
    return np.asarray(synthesize.next_class(jnp.asarray(test.labels), test.num_classes))


@costs(lambda network, test, attacks: Cost(4 * len(test.labels), 4 * len(test.labels)))
def _tested(
    key: Key,
    network: Network,
    test: Dataset,
    attacks: dict[str, np.ndarray],
    *,
    env: Env,
) -> dict[str, int]:
    away, towards = (
        attacks[way].astype(np.float32) for way in ("untargeted", "targeted")
    )
    next_class = targets(test)

    def right(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return _is_right(key, network, Dataset(images, labels, test.names), env)

    return counts(
        right(test.images, test.labels),
        right(away, test.labels),
        right(towards, next_class),
        right(test.images, next_class),
    )


def _is_right(key: Key, network: Network, dataset: Dataset, env: Env) -> np.ndarray:
    return evaluate.right(
        jax.random.clone(key),  # No random numbers are drawn.
        build.correct(network.model),
        network.params,
        dataset,
        batch_size=env.work.evaluation_batch,
        mesh=env.mesh,
        tick=env.tick,
        shards=env.shards,
    )
