"""The paper's section 2, measured: how useful the units of the networks on D are."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf import features
from nrf.config import Experiment, Features
from nrf.experiments import build
from nrf.experiments.networks import Row, spaced
from nrf.runs import Cost, Env, Made, Steps, costs
from nrf.types import Dataset, Key, Network


def run(config: Experiment, step: Steps, made: Mapping[str, Made]) -> list[Row]:
    """Usefulness and robust usefulness of every unit of each network on D."""
    rows = []
    for name in config.networks:
        measured = step(
            f"features_{name}",
            _measure,
            made[name],
            made["test"],
            settings=config.features,
        )
        rows.append({"network": name, "seed": step.seed, **measured.value})
    return rows


def check(settings: Features, test: Dataset) -> None:
    """Raises ValueError if the images chosen lack a class, before any work."""
    chosen = spaced(test, settings.images)
    features.one_against_rest(chosen.labels, test.num_classes)


def _cost(network: Network, test: Dataset, *, settings: Features) -> Cost:
    pairs = min(settings.images, len(test.labels)) * _units(network, test)
    # Each unit of each image is attacked by itself, down and up.
    return Cost(pairs, pairs * settings.steps * 2)


def _units(network: Network, test: Dataset) -> int:
    """How many features the network has; its parameters need not be there yet."""
    x = jax.ShapeDtypeStruct((2, *test.images.shape[1:]), jnp.float32)
    params = jax.eval_shape(network.model.init, jax.random.key(0), x)
    return jax.eval_shape(network.model.apply, params, x).features.shape[1]


@costs(_cost)
def _measure(
    key: Key, network: Network, test: Dataset, *, settings: Features, env: Env
) -> dict[str, Any]:
    chosen = spaced(test, settings.images)
    probe = build.probe(network.model, settings)
    key_units, key_layer = jax.random.split(key)
    shared: Any = {
        "epsilon": settings.epsilon,
        "batch_size": env.work.feature_batch,
        "mesh": env.mesh,
        "shards": env.shards,
    }
    left = len(chosen.labels) * _units(network, test)

    def tick(examples: int) -> None:
        nonlocal left
        done = min(examples * env.work.feature_units, left)
        left -= done
        env.tick(done)

    measured = features.measure(
        key_units,
        probe,
        network.params,
        chosen,
        chunk=env.work.feature_units,
        useful=settings.useful,
        tick=tick,
        **shared,
    )
    env.tick(left)  # Units that are constant are not attacked.
    layer = features.layer_robustness(
        key_layer, probe, network.params, chosen.images, **shared
    )
    return {
        "images": len(chosen.labels),
        "layer_robustness": layer,
        "constant": np.asarray(measured.constant).tolist(),
        "rows": features.rows(measured, test.names),
    }
