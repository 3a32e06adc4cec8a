"""Gradient steps per second on this machine, beside PyTorch.

    pip install torch==2.13.0 foolbox==3.3.4
    pip install --no-deps torchattacks==3.5.1 robustness==1.2.1.post2
    pip install --no-deps dill cox tensorboardX pandas  # which robustness imports
    python benchmarks/attack_speed.py

Rows: a network (the small one with batches of 256, ResNet-18 with batches of 16) and a
task: PGD on the margin of an l2 ball, matching of features, and a step of adversarial
training, which is PGD with seven steps and an update on what it found. Columns:

    nrf            this package, with the convolutions of XLA, on the devices of a run:
                   two for PGD and matching, which are maps, one for training
    nrf, oneDNN    the same with the extra `onednn`, where it is installed
    eager          PyTorch written by hand, in channels_last
    compiled       the same under torch.compile
    folded         the same, eager, with BatchNorm folded into convolutions by hand; not
                   for training, where the weights change
    foolbox        its L2ProjectedGradientDescentAttack
    torchattacks   its PGDL2
    robustness     AttackerModel of the paper's authors, which predicts once more

The libraries get the layout that they take: only foolbox takes channels_last. Of their
training the attack is theirs, and the update that by hand. All columns have the same
weights, images, threads and arithmetic: what they make at first is compared. They take
turns, in an order that turns too, so that whatever else the machine does slows all,
though not equally: run it on an idle machine. A ratio is the median over rounds of
their time by ours. For PGD, the rate of arithmetic, two forward passes a step, is set
beside that of the product of two matrices of 2048 x 2048. A row is written to
attack_speed.json, beside this file, when it is finished; others in there are kept.
"""

import argparse
import contextlib
import importlib.util
import json
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import rivals
from rivals import DECAY, EPSILON, MEAN, MOMENTUM, RATE, STD, STEP_SIZE, Problem
from twin import header, use_all_cores

from nrf import attacks, devices, losses, models, train
from nrf.models import onednn, onednn_library

CLASSES, WIDTHS, SIDE = 10, (32, 64, 128), 2048
BATCH = {"small": 256, "resnet18": 16}
STEPS = {"pgd": 10, "matching": 10, "training": 7}
ROWS = [f"{network}/{task}" for network in BATCH for task in STEPS]
OURS = ("nrf", "nrf, oneDNN")
COLUMNS = (*OURS, *rivals.COLUMNS)
LIBRARIES = ("foolbox", "torchattacks", "robustness")


def ours(problem, model):
    """The task as users write it with this package; compiled at its first call."""
    loss, ball = losses.cross_entropy(model.apply), attacks.l2(EPSILON)
    goal = problem.y
    if problem.task == "matching":
        loss, ball = losses.negate(losses.feature_distance(model.apply)), attacks.free()
        goal = problem.target
    attack = attacks.pgd(loss, ball, steps=problem.steps, step_size=STEP_SIZE)
    if problem.task == "training":
        return updating(problem, model, attack)
    keys = jax.random.split(jax.random.key(0), len(problem.x))
    attack, mesh = jax.jit(attack), devices.make_mesh()
    params = devices.copy(mesh, problem.params)

    def made():
        batch = devices.split(mesh, (keys, problem.x, goal))
        return np.asarray(attack(batch[0], params, *batch[1:]))

    return made


def updating(problem, model, attack):
    optimizer = optax.chain(
        optax.add_decayed_weights(DECAY), optax.sgd(RATE, MOMENTUM, nesterov=True)
    )
    step = jax.jit(train.make_step(model, optimizer, attack=attack))
    params = problem.params
    state = train.State(jnp.zeros((), int), params, optimizer.init(params["params"]))

    def update():
        nonlocal state
        state, _ = step(jax.random.key(0), state, problem.x, problem.y)
        jax.block_until_ready(state)
        return np.asarray(state.params["params"]["Dense_0"]["bias"])

    return update


def product():
    a = jnp.asarray(np.random.default_rng(0).normal(size=(SIDE, SIDE)), jnp.float32)
    times = jax.jit(jnp.matmul)
    return lambda: times(a, a).block_until_ready()


def make(row):
    name, task = row.split("/")
    widths = WIDTHS if name == "small" else None
    network = models.Small(MEAN, STD, widths) if widths else models.ResNet18(MEAN, STD)
    model = network.build(CLASSES)
    random = np.random.default_rng(0)
    x = jnp.asarray(random.uniform(size=(BATCH[name], 32, 32, 3)), jnp.float32)
    y = jnp.asarray(random.integers(CLASSES, size=len(x)), jnp.int32)
    params = model.init(jax.random.key(0), x[:1])
    target = jax.jit(model.apply)(params, x[::-1]).features
    problem = Problem(widths, CLASSES, params, x, y, target, task, STEPS[task])
    # As for GPUs: on CPUs convolutions are calls, whose operations nobody counts.
    forward = jax.jit(model.apply).trace(params, x).lower(lowering_platforms=("cuda",))
    return problem, model, forward.cost_analysis()["flops"]


def compare(row, column, problem, a, b):
    """AssertionError unless a column made what the first one did."""
    training = problem.task == "training"
    start = problem.params["params"]["Dense_0"]["bias"] if training else problem.x
    moved = np.abs(a - np.asarray(start)).mean()
    difference = np.abs(a - b).mean() / moved
    if not difference < 0.02:
        raise AssertionError(f"{row}, {column}: differs by {difference:.2g}")


def seconds(task):
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def measure(row, columns, rounds):
    problem, model, flops = make(row)
    tasks, first = {}, {}
    for column in columns:
        if column in OURS:
            task = ours(problem, model)
        else:
            task = rivals.COLUMNS[column](problem)
        if task is None:
            continue
        print(f"{row}: {column}", flush=True)
        # The first call compiles.
        with onednn.paused() if column == "nrf" else contextlib.nullcontext():
            tasks[column], first[column] = task, task()
        compare(row, column, problem, next(iter(first.values())), first[column])
    if problem.task == "pgd":
        tasks["product"] = product()
        tasks["product"]()
    times = {column: [] for column in tasks}
    for turn in range(rounds):
        order = list(tasks)
        for column in order[turn % len(order) :] + order[: turn % len(order)]:
            times[column].append(seconds(tasks[column]))
    return summary(problem, times, flops)


def ratio(times, mine, theirs):
    pairs = zip(times[mine], times[theirs], strict=True)
    return round(statistics.median(b / a for a, b in pairs), 2)


def summary(problem, times, flops):
    gradients = len(problem.x) * (problem.steps + (problem.task == "training"))
    medians = {column: statistics.median(t) for column, t in times.items()}
    product = medians.pop("product", None)
    result = {
        "rates": {column: round(gradients / t) for column, t in medians.items()},
        "ratios": {
            mine: {c: ratio(times, mine, c) for c in medians if c not in OURS}
            for mine in OURS
            if mine in medians
        },
        "seconds": {c: [round(t, 3) for t in each] for c, each in times.items()},
    }
    if product:
        rate = 2 * SIDE**3 / product
        done = {c: 2 * problem.steps * flops / t for c, t in medians.items()}
        result["gigaflops"] = {
            "product": round(rate / 1e9),
            **{c: round(speed / 1e9) for c, speed in done.items()},
        }
        result["shares"] = {c: round(speed / rate, 2) for c, speed in done.items()}
    return result


def installed(column):
    if column in OURS:
        return column == "nrf" or onednn_library.in_use()
    return column not in LIBRARIES or importlib.util.find_spec(column) is not None


def table(rows):
    """Rates of all columns, and ours by theirs."""
    for name, row in rows.items():
        print(f"{name}: " + ", ".join(f"{c} {r}" for c, r in row["rates"].items()))
        for mine, ratios in row["ratios"].items():
            found = ", ".join(f"{c} {ratio:.2f}" for c, ratio in ratios.items())
            print(f"  {mine} / {found}")
        if "shares" in row:
            print(f"  shares of the matrix product's rate: {row['shares']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=COLUMNS)
    parser.add_argument("--rounds", type=int, default=5)
    beside = pathlib.Path(__file__).with_suffix(".json")
    parser.add_argument("--out", type=pathlib.Path, default=beside)
    options = parser.parse_args()
    columns = [c for c in COLUMNS if c in options.columns and installed(c)]
    use_all_cores()
    devices.share_cpu()
    about = header(*(c for c in LIBRARIES if c in columns))
    known = json.loads(options.out.read_text())["rows"] if options.out.exists() else {}
    for row in options.rows:
        known[row] = {
            "batch": BATCH[row.split("/")[0]],
            "rounds": options.rounds,
            **about,
            **measure(row, columns, options.rounds),
        }
        result = {
            "unit": "images x steps per second",
            "rows": {name: known[name] for name in ROWS if name in known},
        }
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print("images x steps per second")
    table({row: known[row] for row in options.rows})
    print(options.out)


if __name__ == "__main__":
    main()
