"""What a config costs: the floating-point operations of its steps, counted by XLA.

    python benchmarks/cost.py restricted_imagenet
    python benchmarks/cost.py cifar10 --images 50000 10000 --side 32 --classes 10

Every step of the run is planned on data of these sizes, without the data. The plan says
how many images go forward and back through the network; XLA says, of the programs as it
is handed them for a GPU, what one image costs. Nothing runs, and no device is measured.
The plan leaves out the accuracy after every epoch of a training, and counts AutoAttack
as if it went through all images for every attack.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from optax import softmax_cross_entropy_with_integer_labels

from nrf import losses
from nrf.config import Experiment, options
from nrf.experiments import build, main
from nrf.experiments.networks import parameters
from nrf.runs import Made, local
from nrf.runs.plan import Plan
from nrf.types import Dataset, Model, Network


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="a config's name or path")
    # At most 1300 images of each class in ImageNet's training set, 50 in the other.
    sizes = [203 * 1300, 203 * 50]
    parser.add_argument("--images", type=int, nargs=2, default=sizes)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--classes", type=int, default=9)
    parser.add_argument("--rate", type=float, default=2e14, help="operations a second")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 8, 256])
    parser.add_argument("--links", type=float, default=3e11, help="bytes a second")
    parser.add_argument("--network", type=float, default=4e10, help="bytes a second")
    return parser.parse_args()


def dataset(count: int, side: int, classes: int) -> Dataset:
    """As many images and labels, without memory for them."""
    images = np.broadcast_to(np.float32(0), (count, side, side, 3))
    names = tuple(map(str, range(classes)))
    return Dataset(images, np.broadcast_to(np.int32(0), count), names)


class Operations:
    """Of one image through a network: forward, and back to the image or the weights."""

    def __init__(self, side: int):
        self.x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        self.known: dict[Model, tuple[float, float]] = {}

    def __call__(self, inputs: Any, settings: dict[str, Any]) -> float:
        """For each pass of a step, as `Plan` counts them."""
        if "network" in settings:
            model = build.model(settings["network"], inputs[0].num_classes)
            attack = settings["training"].attack
            image, weights = self.of(model)
            steps = attack.steps if attack else 0
            return (steps * image + weights) / (steps + 1)
        models = [one.model for one in inputs if isinstance(one, Network)]
        return self.of(models[0])[0] if models else 0.0

    def of(self, model: Model) -> tuple[float, float]:
        """(an attack's gradient, a training's)."""
        if model not in self.known:
            loss = losses.cross_entropy(model.apply)
            params = jax.eval_shape(model.init, jax.random.key(0), self.x)
            rest, weights = dict(params), params["params"]
            y = jax.ShapeDtypeStruct((1,), jnp.int32)

            def image(x, params, y):
                return loss(params, x, y).sum()

            def trained(weights, rest, x, y):
                logits = model.train({**rest, "params": weights}, x)[0].logits
                return softmax_cross_entropy_with_integer_labels(logits, y).sum()

            self.known[model] = (
                counted(image, self.x, params, y),
                counted(trained, weights, rest, self.x, y),
            )
        return self.known[model]


def counted(f: Any, *shapes: Any) -> float:
    traced = jax.jit(jax.grad(f)).trace(*shapes)
    # Not for CPUs, whose convolutions have loops, which would be counted once.
    lowered = traced.lower(lowering_platforms=("cuda",))
    return lowered.cost_analysis()["flops"]


def print_costs(asked: argparse.Namespace) -> None:
    config = options.load(asked.config)
    if not isinstance(config, Experiment):
        raise SystemExit(f"{asked.config} is no Experiment.")
    operations = Operations(asked.side)
    sets = {
        name: Made(name, dataset(count, asked.side, asked.classes), "")
        for name, count in zip(("D", "test"), asked.images, strict=True)
    }
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(Path(folder), config.seeds[0], local(config.work), operations)
        main.one_seed(config, plan, sets, {})
    total = 0.0
    for step in plan.planned:
        if step.seconds:  # Here these are operations.
            total += step.seconds
            name = step.step.rpartition("/")[2]
            count = f"{step.examples:>12,} images"
            print(f"{name:24} {count} {step.seconds / 1e18:9.4f}e18 operations")
    for image, weights in operations.known.values():
        print(f"an image's gradient: {image / 1e9:.2f}e9 operations", end="; ")
        print(f"in a training: {weights / 1e9:.2f}e9")
    print(f"all, for each seed: {total / 1e18:.2f}e18 operations")
    for count in asked.devices:
        print_time(asked, config, plan, count, total)


def print_time(
    asked: argparse.Namespace, config: Experiment, plan: Plan, count: int, total: float
) -> None:
    """Hours of so many devices: of maps, of trainings, and of their communication."""
    shapes = parameters(config.network, dataset(1, asked.side, asked.classes))
    weights = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    trainings = dict(config.networks)
    trainings |= {f"on_{one.name}": one.train for one in config.sets if one.train}
    work = talk = 0.0
    spent = {step.step.rpartition("/")[2]: step for step in plan.planned}
    for name, training in trainings.items():
        batch = training.batch_size
        used = max(n for n in range(1, count + 1) if batch % n == 0)
        work += spent[name].seconds / used
        total -= spent[name].seconds
        updates = spent[name].examples / batch
        bandwidth = asked.links if used <= 8 else asked.network
        talk += updates * 8 * weights * (used - 1) / used / bandwidth
    maps, work = total / count / asked.rate, work / asked.rate
    hours = (maps + work + talk) / 3600
    print(
        f"{count:4} devices: {hours:7.2f} h, {hours * count:7.1f} device hours; maps "
        f"{maps / 3600:.2f} h, trainings {work / 3600:.2f} h, of {weights:,} "
        f"parameters {talk / 3600:.2f} h of communication"
    )


if __name__ == "__main__":
    print_costs(parse())
