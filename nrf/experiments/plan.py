"""What a run would do: its steps, which are done, and what the others may take."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from nrf import losses
from nrf.config import Experiment, Theory, Transfer
from nrf.experiments import build, main, theory, transfer
from nrf.experiments.prepare import at_precision, check_folder, prepare
from nrf.runs import local
from nrf.runs.plan import Plan, Planned
from nrf.types import Dataset, Model, Network


@at_precision
def plan(
    config: Experiment | Transfer | Theory,
    out: Path | str,
    *,
    data: Any = None,
    reuse: Sequence[Path | str] = (),
) -> list[Planned]:
    """The steps of the run of `config` in the folder `out`, in their order.

    Times are estimated from a few gradients of each architecture on these devices. They
    count every image for every attack of a sequence, which leaves out what is broken
    already: AutoAttack takes a fraction of them. Compilation comes on top.

    Raises:
      ValueError: as the run itself, before any work.
      OSError: `out` cannot be written.
    """
    out = Path(out)
    env = local(replace(config.work, refuse=False))
    plans: list[Plan] = []

    def begin(seed: int, rate: Rates | None) -> Plan:
        others = [Path(folder) / f"seed{seed}" for folder in reuse]
        plans.append(Plan(out / f"seed{seed}", seed, env, rate, reuse=others))
        return plans[-1]

    if isinstance(config, Theory):
        check_folder(out, "theory.json", (config.seed,))
        step = begin(config.seed, None)
        theory.parts_of(config, step)
    elif isinstance(config, Transfer):
        train_set, test_set = transfer.prepare(config, out, data)
        rate = Rates(train_set)
        for seed in config.seeds:
            transfer.one_seed(config, begin(seed, rate), train_set, test_set)
    else:
        sets = prepare(config, out, data)
        rate = Rates(sets["D"].value)
        for seed in config.seeds:
            main.one_seed(config, begin(seed, rate), sets, {})
    return [one for plan in plans for one in plan.planned]


class Rates:
    """Seconds for one image forward and back through a model, measured once."""

    def __init__(self, dataset: Dataset, batch: int = 64):
        count = min(batch, len(dataset.labels))
        self.x = jnp.asarray(dataset.images[:count])
        self.y = jnp.asarray(dataset.labels[:count])
        self.seconds: dict[Model, float] = {}

    def __call__(self, inputs: Sequence[Any], settings: dict[str, Any]) -> float:
        if "network" in settings:
            model = build.model(settings["network"], inputs[0].num_classes)
        else:
            models = [one.model for one in inputs if isinstance(one, Network)]
            if not models:
                return 0.0  # Of no network: it takes next to nothing.
            model = models[0]
        if model not in self.seconds:
            self.seconds[model] = self._measure(model)
        return self.seconds[model]

    def _measure(self, model: Model, repeats: int = 3) -> float:
        loss = losses.cross_entropy(model.apply)
        gradient = jax.jit(jax.grad(lambda p, x, y: loss(p, x, y).sum(), 1))
        params = model.init(jax.random.key(0), self.x[:1])
        times = []
        for _ in range(repeats + 1):  # The first one compiles.
            start = time.perf_counter()
            jax.block_until_ready(gradient(params, self.x, self.y))
            times.append(time.perf_counter() - start)
        return min(times[1:]) / len(self.x)
