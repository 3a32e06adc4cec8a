"""What a run would do: its steps, which are done, and what the others may take."""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from optax import softmax_cross_entropy_with_integer_labels

from nrf import losses
from nrf.config import Experiment, Theory, Transfer
from nrf.config.accelerators import ACCELERATORS, seconds
from nrf.experiments import build, main, theory, transfer
from nrf.experiments.prepare import at_precision, check_folder, prepare
from nrf.runs import local
from nrf.runs.plan import Pass, Plan, Planned
from nrf.types import Dataset, Model, Network, as_output


@at_precision
def plan(
    config: Experiment | Transfer | Theory,
    out: Path | str,
    *,
    data: Any = None,
    reuse: Sequence[Path | str] = (),
    device: str | None = None,
) -> list[Planned]:
    """The steps of the run of `config` in the folder `out`, in their order.

    Times are estimated from a few gradients of each architecture on these devices, or
    predicted for `device`, one of `nrf.config.accelerators`. They count every image for
    every attack of a sequence, which leaves out what is broken already: AutoAttack
    takes a fraction of them. The accuracy after every epoch is left out. Compilation
    comes on top.

    Raises:
      ValueError: as the run itself, before any work; or for an unknown device.
      OSError: `out` cannot be written.
    """
    if device is not None and device not in ACCELERATORS:
        raise ValueError(
            f"device must be one of {', '.join(ACCELERATORS)}, got {device!r}; None is "
            "what is here."
        )
    out = Path(out)
    env = local(replace(config.work, refuse=False))
    plans: list[Plan] = []

    def begin(seed: int, rate: Passes | None) -> Plan:
        others = [Path(folder) / f"seed{seed}" for folder in reuse]
        plans.append(Plan(out / f"seed{seed}", seed, env, rate, reuse=others))
        return plans[-1]

    if isinstance(config, Theory):
        check_folder(out, "theory.json", (config.seed,))
        step = begin(config.seed, None)
        theory.parts_of(config, step)
    elif isinstance(config, Transfer):
        train_set, test_set = transfer.prepare(config, out, data)
        rate = Passes(train_set, device)
        for seed in config.seeds:
            transfer.one_seed(config, begin(seed, rate), train_set, test_set)
    else:
        sets = prepare(config, out, data)
        rate = Passes(sets["D"].value, device)
        for seed in config.seeds:
            main.one_seed(config, begin(seed, rate), sets, {})
    return [one for plan in plans for one in plan.planned]


class Passes:
    """What one image takes forward and back through a network, found out once.

    Operations are counted by XLA in the program as it is handed over for a GPU. Bytes
    are those of its convolutions, products and sums, twice: what lies between two of
    them is a pass of its own over the same images. Seconds are measured here; where an
    accelerator of `nrf.config.accelerators` is named, they are predicted for it.
    """

    def __init__(self, dataset: Dataset, device: str | None = None, batch: int = 64):
        self.x = dataset.images[: min(batch, len(dataset.labels))]
        self.y = dataset.labels[: len(self.x)]
        self.device = device
        self.known: dict[Model, tuple[Pass, Pass]] = {}

    def __call__(self, inputs: Sequence[Any], settings: dict[str, Any]) -> Pass:
        """For each pass of a step, as its `Cost` counts them."""
        if "network" in settings:
            model = build.model(settings["network"], inputs[0].num_classes)
            attack = settings["training"].attack
            steps = attack.steps if attack else 0
            pairs = zip(*self.of(model), strict=True)
            return Pass(*((steps * a + b) / (steps + 1) for a, b in pairs))
        models = [one.model for one in inputs if isinstance(one, Network)]
        # Without a network it takes next to nothing.
        return self.of(models[0])[0] if models else Pass(0.0, 0.0, 0.0)

    def of(self, model: Model) -> tuple[Pass, Pass]:
        """(an attack's gradient, a training's)."""
        if model not in self.known:
            programs = _programs(model, self.x.shape[1:])
            works = [counted(*program) for program in programs]
            if self.device is None:
                here = self._measure(model)
                passes = [Pass(here, work.operations, work.moved) for work in works]
            else:
                passes = [
                    Pass(seconds(self.device, *work), work.operations, work.moved)
                    for work in works
                ]
            self.known[model] = passes[0], passes[1]
        return self.known[model]

    def _measure(self, model: Model, repeats: int = 3) -> float:
        x, y = jnp.asarray(self.x), jnp.asarray(self.y)
        loss = losses.cross_entropy(model.apply)
        gradient = jax.jit(jax.grad(lambda p, x, y: loss(p, x, y).sum(), 1))
        params = model.init(jax.random.key(0), x[:1])
        times = []
        for _ in range(repeats + 1):  # The first one compiles.
            start = time.perf_counter()
            jax.block_until_ready(gradient(params, x, y))
            times.append(time.perf_counter() - start)
        return min(times[1:]) / len(x)


_COUNTED = 256  # Images at once, so that weights are a small part of all bytes.


def _programs(model: Model, shape: tuple[int, ...]) -> list[tuple]:
    """What an attack and a training differentiate, with their arguments' shapes."""
    loss = losses.cross_entropy(model.apply)
    x = jax.ShapeDtypeStruct((_COUNTED, *shape), jnp.float32)
    y = jax.ShapeDtypeStruct((_COUNTED,), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), x)
    rest, weights = dict(params), params["params"]

    def attacked(x, params, y):
        return loss(params, x, y).sum()

    def trained(weights, rest, x, y):
        output, _ = model.train({**rest, "params": weights}, x)
        logits = as_output(output, x).logits
        return softmax_cross_entropy_with_integer_labels(logits, y).sum()

    return [(attacked, x, params, y), (trained, weights, rest, x, y)]


class Work(NamedTuple):
    """Of one image in a program."""

    precision: str  # Of its products.
    operations: float
    moved: float


def counted(f: Callable, *shapes: Any) -> Work:
    """What the gradient of f to its first argument takes; nothing is compiled."""
    # Not for CPUs, whose convolutions have loops, which would be counted once.
    lowered = jax.jit(jax.grad(f)).trace(*shapes).lower(lowering_platforms=("cuda",))
    moved, half = 0, False
    for operation, types in _READING.findall(lowered.as_text()):
        for sides, kind in _TENSOR.findall(types):
            moved += math.prod(map(int, sides.split("x")[:-1])) * _bytes(kind)
            half |= operation != "reduce" and kind == "bf16"
    settings: Any = jax.config
    said = settings.jax_default_matmul_precision or "float32"
    operations = lowered.cost_analysis()["flops"]
    precision = "bfloat16" if half else said
    return Work(precision, operations / _COUNTED, 2 * moved / _COUNTED)


# As in "stablehlo.reduce(...) ... : (tensor<8x3xf32>, tensor<f32>) -> tensor<8xf32>".
_READING = re.compile(r"stablehlo\.(convolution|dot_general|reduce)\b.* : (\(.*)")
_TENSOR = re.compile(r"tensor<((?:\d+x)*)(\w+)>")


def _bytes(kind: str) -> int:
    """Of a number of that kind, such as bf16."""
    return -(-int(re.findall(r"\d+", kind)[0]) // 8)
