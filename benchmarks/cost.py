"""What a config costs: the floating-point operations of its steps, counted by XLA.

    python benchmarks/cost.py restricted_imagenet
    python benchmarks/cost.py cifar10 --images 50000 10000 --side 32 --classes 10

Every step of the run is planned on data of these sizes, without the data, as `nrf run
CONFIG --plan h100` plans it with them. Nothing runs, and no device is measured. The
plan leaves out the accuracy after every epoch of a training, and counts AutoAttack as
if it went through all images for every attack.
"""

import argparse
import tempfile
from pathlib import Path

import jax
import numpy as np

from nrf.config import Experiment, options
from nrf.config.accelerators import ACCELERATORS, assumed
from nrf.experiments import main
from nrf.experiments.networks import parameters
from nrf.experiments.plan import Passes
from nrf.experiments.prepare import at_precision
from nrf.runs import Made, local
from nrf.runs.plan import Plan, table
from nrf.types import Dataset


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="a config's name or path")
    # At most 1300 images of each class in ImageNet's training set, 50 in the other.
    sizes = [203 * 1300, 203 * 50]
    parser.add_argument("--images", type=int, nargs=2, default=sizes)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--classes", type=int, default=9)
    parser.add_argument("--on", choices=ACCELERATORS, default="h100")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 8, 256])
    parser.add_argument("--links", type=float, default=3e11, help="bytes a second")
    parser.add_argument("--network", type=float, default=4e10, help="bytes a second")
    return parser.parse_args()


def dataset(count: int, side: int, classes: int) -> Dataset:
    """As many images and labels, without memory for them."""
    images = np.broadcast_to(np.float32(0), (count, side, side, 3))
    names = tuple(map(str, range(classes)))
    return Dataset(images, np.broadcast_to(np.int32(0), count), names)


def print_costs(asked: argparse.Namespace) -> None:
    config = options.load(asked.config)
    if not isinstance(config, Experiment):
        raise SystemExit(f"{asked.config} is no Experiment.")
    sets = {
        name: Made(name, dataset(count, asked.side, asked.classes), "")
        for name, count in zip(("D", "test"), asked.images, strict=True)
    }
    passes = Passes(sets["D"].value, asked.on)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(Path(folder) / "seed0", 0, local(config.work), passes)
        at_precision(main.one_seed)(config, plan, sets, {})
    print(table(plan.planned))
    print(assumed(asked.on))
    for image, weights in passes.known.values():
        print(f"an image's gradient: {image.operations / 1e9:.2f}e9 operations", end="")
        print(f"; in a training: {weights.operations / 1e9:.2f}e9")
    for count in asked.devices:
        print_time(asked, config, plan, count)


def print_time(
    asked: argparse.Namespace, config: Experiment, plan: Plan, count: int
) -> None:
    """Hours of so many devices: of maps, of trainings, and of their communication."""
    shapes = parameters(config.network, dataset(1, asked.side, asked.classes))
    weights = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    trainings = dict(config.networks)
    trainings |= {f"on_{one.name}": one.train for one in config.sets if one.train}
    work = talk = 0.0
    total = sum(step.seconds or 0.0 for step in plan.planned)
    spent = {step.step.rpartition("/")[2]: step for step in plan.planned}
    for name, training in trainings.items():
        batch = training.batch_size
        used = max(n for n in range(1, count + 1) if batch % n == 0)
        work += spent[name].seconds / used
        total -= spent[name].seconds
        updates = spent[name].examples / batch
        bandwidth = asked.links if used <= 8 else asked.network
        talk += updates * 8 * weights * (used - 1) / used / bandwidth
    maps = total / count
    hours = (maps + work + talk) / 3600
    print(
        f"{count:4} devices: {hours:7.2f} h, {hours * count:7.1f} device hours; maps "
        f"{maps / 3600:.2f} h, trainings {work / 3600:.2f} h, of {weights:,} "
        f"parameters {talk / 3600:.2f} h of communication"
    )


if __name__ == "__main__":
    print_costs(parse())
