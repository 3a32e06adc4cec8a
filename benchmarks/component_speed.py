"""Speed of AutoAttack's components beside PyTorch's, on images of CIFAR-10's size.

    pip install torch==2.13.0 pyautoattack==0.2.0
    python benchmarks/component_speed.py
    python benchmarks/component_speed.py --rows l1/square l1/fab-t

No data and no run are needed: the network is the one of configs/cifar10_small.py with
random weights, and the images are random. All are of one class, which its last layer
prefers by so much that nothing is fooled, so that no side may stop before the other.
The radii are usual ones, and steps, targets and queries fewer than the published ones;
"together" is what all components would take with those. The two sides take turns; the
ratio is the median over rounds of PyTorch's time by ours. The CPU is two devices, as in
a run. What is measured replaces its rows in component_speed.json beside this file.
"""

import argparse
import functools
import json
import pathlib

import jax
import numpy as np
from autoattack import Both, interleaved
from components import programs
from published import published
from twin import Torch, header, use_all_cores

from nrf import devices, models
from nrf.types import Dataset

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
WIDTHS, PATCH, CLASSES, BATCH = (48, 96, 192), 2, 10, 100
PREFERRED = 5.0  # By how much the bias of the images' class is raised.
RADII = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}
SETTINGS = {"steps": 20, "targets": 1, "queries": 200}
# How many times the published work of a component is that of SETTINGS: 100 steps, nine
# targets (five for Auto-PGD in l1) and 5,000 queries.
TIMES = {"apgd-ce": 5, "apgd-t": 45, "fab-t": 45, "square": 25}
ROWS = [f"{norm}/{component}" for norm in RADII for component in TIMES]


def case():
    model = models.Small(MEAN, STD, widths=WIDTHS, patch=PATCH).build(CLASSES)
    random = np.random.default_rng(0)
    x = np.float32(random.uniform(size=(BATCH, 32, 32, 3)))
    params = model.init(jax.random.key(0), x[:1])
    bias = params["params"]["Dense_0"]["bias"]
    params["params"]["Dense_0"]["bias"] = bias.at[0].add(PREFERRED)
    twin = Torch(CLASSES, mean=MEAN, std=STD, widths=WIDTHS, patch=PATCH)
    dataset = Dataset(x, np.zeros(BATCH, np.int32), tuple(map(str, range(CLASSES))))
    return Both(model.apply, params, dataset, twin.copy(params))


def measure(case, row, rounds):
    norm, name = row.split("/")
    epsilon = RADII[norm]
    mine = programs(case.apply, norm, CLASSES, **SETTINGS)[name]
    theirs = published(case.net, norm, epsilon, seed=0, **SETTINGS)[name]
    tasks = [
        functools.partial(case.attack, mine, epsilon, 0, BATCH),
        functools.partial(case.published, theirs),
    ]
    if not all(task().all() for task in tasks):  # The first call compiles.
        raise AssertionError(f"{row}: something is fooled")
    return interleaved(*tasks, rounds)


def together(rows):
    """By norm, the published work of all components: seconds, and their ratio."""
    sums = {}
    for norm in RADII:
        if not all(f"{norm}/{name}" in rows for name in TIMES):
            continue
        seconds = {"jax": 0.0, "torch": 0.0}
        for name, times in TIMES.items():
            times = 25 if (norm, name) == ("l1", "apgd-t") else times
            for side in seconds:
                seconds[side] += times * rows[f"{norm}/{name}"][side]
        ratio = round(seconds["torch"] / seconds["jax"], 2)
        sums[norm] = {**{k: round(v) for k, v in seconds.items()}, "ratio": ratio}
    return sums


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--devices", type=int, default=2)
    path = pathlib.Path(__file__).with_suffix(".json")
    parser.add_argument("--out", type=pathlib.Path, default=path)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", options.devices)
    devices.cache_programs()
    use_all_cores()
    about = header("pyautoattack")
    rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else {}
    images = case()
    print(f"seconds, median of {options.rounds} rounds, and ratio")
    for row in options.rows:
        measured = measure(images, row, options.rounds)
        rows[row] = {**measured, "devices": options.devices, **about}
        print(
            "{:14}{jax:8.3f}{torch:8.3f}{ratio:6.2f}".format(row, **measured),
            flush=True,
        )
        rows = {row: rows[row] for row in ROWS if row in rows}
        result = {
            "network": "Small",
            "widths": WIDTHS,
            "patch": PATCH,
            "batch": BATCH,
            "radii": RADII,
            "settings": SETTINGS,
            "rows": rows,
            "together": together(rows),
        }
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    for norm, sums in result["together"].items():
        print("{:14}{jax:8}{torch:8}{ratio:6.2f}".format(f"{norm} together", **sums))
    print(options.out)


if __name__ == "__main__":
    main()
