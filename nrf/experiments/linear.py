"""What linear features show of D_rand and D_det, and of D (Goh).

https://distill.pub/2019/advex-bugs-discussion/response-3/
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nrf import features
from nrf.config import Experiment, Leakage, Norm, Plane
from nrf.experiments.networks import Row, fit, trained
from nrf.models import Linear
from nrf.runs import Env, Made, Steps
from nrf.types import Dataset, Key, Network


def leakage(
    config: Experiment, step: Steps, made: Mapping[str, Made], settings: Leakage
) -> Row:
    """What a linear classifier of robust linear features learns of attacks' labels."""
    D = made["D"]
    architecture = classifier(config.network)
    fitted = step(
        "linear",
        fit,
        D,
        made["test"],
        network=architecture,
        training=settings.linear,
    )
    attack = settings.linear.attack
    assert attack is not None  # The config refuses it.
    known = step(
        "leakage",
        _leakage,
        trained(fitted, architecture, D.value.num_classes),
        made["test"],
        D,
        *(made[name] for name in settings.after),
        names=["D", *settings.after],
        epsilon=settings.epsilon,
        norm=attack.norm,
    )
    return {"seed": step.seed, **known.value}


def classifier(architecture: Any) -> Linear:
    """The linear classifier that normalises images as the architecture does."""
    mean, std = (getattr(architecture, name, None) for name in ("mean", "std"))
    return Linear(mean or (0.5,), std or (0.25,))


def _leakage(
    key: Key,
    network: Network,
    test: Dataset,
    *sets: Dataset,
    names: list[str],
    epsilon: float,
    norm: Norm,
    env: Env,
) -> Row:
    dataset = sets[0]

    def logits(x):
        return network.model.apply(network.params, x[None]).logits[0]

    # What an output does with the pixels; the same at every image.
    a = jax.jacrev(logits)(jnp.asarray(dataset.images[0]))
    return features.leakage(
        key,
        np.asarray(a).reshape(len(a), -1),
        dataset,
        dict(zip(names, sets, strict=True)),
        test,
        epsilon=epsilon,
        norm=norm,
    )


def plane(step: Steps, made: Mapping[str, Made], settings: Plane) -> Row:
    """Linear features of two classes of D, by robustness and usefulness."""
    return step("plane", _plane, made["D"], made["test"], settings=settings).value


def _plane(
    key: Key, dataset: Dataset, test: Dataset, *, settings: Plane, env: Env
) -> Row:
    return features.plane(dataset, test, **asdict(settings))
