"""AutoAttack's components beside the published ones in PyTorch: strength and speed.

    pip install torch==2.13.0 pyautoattack==0.2.0
    nrf run digits --out runs/digits
    python benchmarks/autoattack.py configs/digits.py --run runs/digits

Both sides attack the first images that a network of the run gets right, with the same
weights and the published settings, each component by itself and with several seeds:
all but FAB begin at random. How many images withstand is compared. The published Square
leaves out a place: its windows never reach the last row and column. "square, whole
image" is the published one with that mended.

Speed is measured with fewer steps, targets and queries, on which time depends linearly,
and at a radius at which nothing is fooled, so that no side may stop before the other.
The two take turns; the ratio is the median over rounds of PyTorch's time by ours, and
differs from run to run where the machine is not idle. The CPU is two devices, as in a
run; `--devices 1` makes it one. Last, the whole standard sequence at a radius of the
comparison. `--seeds 0` leaves out the comparison, `--sequences 0` the sequence. Writes
autoattack_NAME.json beside this file, NAME being the config's.
"""

import argparse
import copy
import dataclasses
import functools
import json
import pathlib
import runpy
import statistics
import time

import jax
import numpy as np
import torch
from components import Case, programs
from published import NORMS, Net, published
from pyautoattack.autoattack import AutoAttack
from twin import Torch, header, images, use_all_cores

from nrf import attacks, data, runs
from nrf.evaluate import sequence

EPSILONS = {
    "digits": {"linf": 0.15, "l2": 0.8, "l1": 2.0},
    "cifar10": {"linf": 4 / 255, "l2": 0.5, "l1": 8.0},
}
FAR, NEAR = 100, 20  # Steps of a comparison, and of a measurement of speed.
UNFOOLED = 1e-4  # A radius at which nothing is.


class Both(Case):
    """The case in both forms; `twin` is the network in PyTorch."""

    def __init__(self, apply, params, dataset, twin, count=None):
        super().__init__(apply, params, dataset, count)
        self.net = Net(twin.eval().requires_grad_(False))
        self.x = images(self.set.images).contiguous()
        self.y = torch.tensor(self.set.labels).long()
        difference = np.abs(self.net(self.x).numpy() - self.logits).max()
        if not difference < 1e-4:
            raise AssertionError(f"the two networks differ by {difference:.2g}")

    def published(self, attack):
        """[n] bool: whom their component does not fool."""
        with torch.no_grad():
            x_adv = attack.perturb(self.x, self.y)
            return (self.net(x_adv).argmax(1) == self.y).numpy()

    def first(self, count):
        """Less of it, for measuring speed."""
        less = copy.copy(self)
        less.set = self.set._replace(
            images=self.set.images[:count], labels=self.set.labels[:count]
        )
        less.x, less.y = self.x[:count], self.y[:count]
        return less


def of_run(config, run, network, count):
    """The case of a network of a run, on images of its test set."""
    _, test = data.load(config.data, data_dir=config.data_dir)
    model, params = runs.load(run).network(network, seed=0)
    twin = Torch(
        test.num_classes,
        mean=config.network.mean,
        std=config.network.std,
        widths=config.network.widths,
        patch=config.network.patch,
    )
    test = test._replace(images=test.images[:2000], labels=test.labels[:2000])
    return Both(model.apply, params, test, twin.copy(params), count)


def agreement(case, epsilons, seeds, queries):
    classes = case.set.num_classes
    settings = {"steps": FAR, "targets": min(9, classes - 1), "queries": queries}
    for norm, epsilon in epsilons.items() if seeds else ():
        mine = programs(case.apply, norm, classes, **settings)
        for name in published(case.net, norm, epsilon, seed=0, **settings):
            program = mine[name.partition(",")[0]]
            left = [
                case.attack(program, epsilon, seed, len(case.y))
                for seed in range(seeds)
            ]
            theirs = [
                case.published(
                    published(case.net, norm, epsilon, seed=seed, **settings)[name]
                )
                for seed in range(seeds)
            ]
            yield {
                "norm": norm,
                "epsilon": epsilon,
                "component": name,
                "jax": [int(a.sum()) for a in left],
                "torch": [int(a.sum()) for a in theirs],
                # Whom every seed of one side fools, and no seed of the other.
                "only_jax": int(np.sum(~np.any(left, 0) & np.all(theirs, 0))),
                "only_torch": int(np.sum(np.all(left, 0) & ~np.any(theirs, 0))),
            }


def seconds(task):
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def interleaved(mine, theirs, rounds):
    pairs = [(seconds(mine), seconds(theirs)) for _ in range(rounds)]
    return {
        "jax": round(statistics.median(a for a, _ in pairs), 3),
        "torch": round(statistics.median(b for _, b in pairs), 3),
        "ratio": round(statistics.median(b / a for a, b in pairs), 2),
        "ratios": [round(b / a, 2) for a, b in pairs],
    }


def speed(case, norms, rounds):
    case, classes = case.first(100), case.set.num_classes
    settings = {"steps": NEAR, "targets": 1, "queries": 200}
    for norm in norms:
        mine = programs(case.apply, norm, classes, **settings)
        theirs = published(case.net, norm, UNFOOLED, seed=0, **settings)
        for name, program in mine.items():
            tasks = [
                functools.partial(case.attack, program, UNFOOLED, 0, len(case.y)),
                functools.partial(case.published, theirs[name]),
            ]
            if not all(task().all() for task in tasks):  # The first call compiles.
                raise AssertionError(f"{norm}, {name}: something is fooled")
            measured = interleaved(*tasks, rounds)
            yield {"norm": norm, "component": name, "batch": len(case.y), **measured}


def whole_sequence(case, norm, epsilon, rounds):
    """AutoAttack's standard version as a whole, with its published settings."""
    chain = sequence.make_programs(
        case.apply,
        attacks.autoattack(case.apply, getattr(attacks, norm), case.set.num_classes),
    )
    withstood = {}

    def mine():
        result = sequence.run(
            jax.random.key(0),
            chain,
            case.params,
            case.set,
            epsilon=epsilon,
            batch_size=100,
            mesh=case.mesh,
        )
        withstood["jax"] = int(np.sum(result.broken_by < 0))

    def theirs():
        attack = AutoAttack(case.net, norm=NORMS[norm], eps=epsilon, seed=0)
        x_adv, _ = attack.run_standard_evaluation(case.x, case.y, batch_size=100)
        left = case.net(x_adv).argmax(1) == case.y
        withstood["torch"] = int(left.sum())

    mine()  # Compiles.
    measured = interleaved(mine, theirs, rounds)
    yield {
        "norm": norm,
        "epsilon": epsilon,
        "component": "standard",
        "withstood": withstood,
        **measured,
    }


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=pathlib.Path)
    parser.add_argument("--run", type=pathlib.Path, required=True)
    parser.add_argument("--network", default="robust")
    parser.add_argument("--data-dir")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--norms", nargs="+", choices=NORMS, default=list(NORMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--devices", type=int, default=2)
    return parser.parse_args()


def main():
    options = parse()
    jax.config.update("jax_num_cpu_devices", options.devices)
    use_all_cores()
    about = header("pyautoattack")
    config = runpy.run_path(str(options.config))["config"]
    config = dataclasses.replace(config, data_dir=options.data_dir)
    case = of_run(config, options.run, options.network, options.images)
    epsilons = {norm: EPSILONS[config.data][norm] for norm in options.norms}
    n = len(case.y)

    compared = []
    if options.seeds:
        print(f"of {n} images withstand, with {options.seeds} seeds")
    for row in agreement(case, epsilons, options.seeds, options.queries):
        compared.append(row)
        print(
            "{norm:5} {epsilon:7.4f} {component:20} jax {jax}  torch {torch}  "
            "only jax {only_jax}, only torch {only_torch}".format(**row),
            flush=True,
        )
    print(f"seconds, median of {options.rounds} rounds, and ratio")
    timed = []
    for row in speed(case, options.norms, options.rounds):
        timed.append(row)
        print(
            "{norm:5} {component:9} {jax:8.3f} {torch:8.3f} {ratio:6.2f}".format(**row),
            flush=True,
        )
    for norm in options.norms if options.sequences else ():
        for row in whole_sequence(case, norm, epsilons[norm], options.sequences):
            timed.append(row)
            print(
                "{norm:5} {component:9} {jax:8.1f} {torch:8.1f} {ratio:6.2f}  "
                "{withstood}".format(**row),
                flush=True,
            )
    result = {
        "config": options.config.name,
        "network": options.network,
        "images": n,
        "steps": FAR,
        "queries": options.queries,
        **about,
        "agreement": compared,
        "speed_settings": {"steps": NEAR, "targets": 1, "queries": 200},
        "rounds": options.rounds,
        "devices": options.devices,
        "speed": timed,
    }
    path = pathlib.Path(__file__).with_name(f"autoattack_{config.name}.json")
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
