"""Gradient steps per second on this machine, beside PyTorch written by hand.

    pip install torch==2.13.0
    python benchmarks/attack_speed.py

Both sides have the same weights, images, threads and arithmetic, which is checked by
comparing the images they make. PyTorch runs eagerly, in channels_last. The two take
turns, so that whatever else the machine does slows both, though not equally: run it on
an idle machine. The ratio is the median over rounds of PyTorch's time by ours. Writes
attack_speed.json beside this file.
"""

import argparse
import json
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn
from twin import Torch, header, images, use_all_cores

from nrf import attacks, losses, models, train

CLASSES, STEPS, TRAINING_STEPS = 10, 10, 7
EPSILON, STEP_SIZE, RATE, MOMENTUM, DECAY = 0.5, 0.1, 0.01, 0.9, 5e-4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
WIDTHS = (32, 64, 128)
BATCH = {"small": 256, "resnet18": 16}


def norm(d):
    return d.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, 1, 1, 1)


def torch_pgd(loss, x, steps, epsilon=None):
    """Climbs `loss(x)` [B] in the l2 ball of radius `epsilon`, if there is one."""
    x_adv = x
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        (g,) = torch.autograd.grad(loss(x_adv).sum(), x_adv)
        with torch.no_grad():
            d = x_adv - x + STEP_SIZE * g / norm(g)
            if epsilon is not None:
                d = d * (epsilon / norm(d)).clamp_max(1)
            x_adv = (x + d).clamp(0, 1)
    return x_adv


def torch_tasks(name, params, x, y, target):
    net = Torch(CLASSES, mean=MEAN, std=STD, widths=WIDTHS if name == "small" else None)
    net.copy(params)
    x = images(x)
    y, target = torch.tensor(np.array(y)).long(), torch.tensor(np.array(target))
    optimizer = torch.optim.SGD(
        net.parameters(), RATE, MOMENTUM, weight_decay=DECAY, nesterov=True
    )

    def cross_entropy(x):
        return nn.functional.cross_entropy(net(x), y, reduction="none")

    def attack():
        net.eval()
        return torch_pgd(cross_entropy, x, STEPS, EPSILON)

    def match():
        net.eval()
        return torch_pgd(lambda x: -(net.features(x) - target).norm(dim=1), x, STEPS)

    def update():
        net.eval()
        x_adv = torch_pgd(cross_entropy, x, TRAINING_STEPS, EPSILON)
        net.train()
        optimizer.zero_grad()
        cross_entropy(x_adv).mean().backward()
        optimizer.step()

    def array(task):
        return lambda: task().permute(0, 2, 3, 1).numpy()

    return {"pgd": array(attack), "matching": array(match), "training": update}


def jax_tasks(model, params, x, y, target):
    keys = jax.random.split(jax.random.key(0), len(x))
    loss = losses.cross_entropy(model.apply)
    towards = losses.negate(losses.feature_distance(model.apply))
    ball = attacks.l2(EPSILON)
    attack = jax.jit(attacks.pgd(loss, ball, steps=STEPS, step_size=STEP_SIZE))
    match = jax.jit(
        attacks.pgd(towards, attacks.free(), steps=STEPS, step_size=STEP_SIZE)
    )
    optimizer = optax.chain(
        optax.add_decayed_weights(DECAY), optax.sgd(RATE, MOMENTUM, nesterov=True)
    )
    inner = attacks.pgd(loss, ball, steps=TRAINING_STEPS, step_size=STEP_SIZE)
    step = jax.jit(train.make_step(model, optimizer, attack=inner))
    state = train.State(jnp.zeros((), int), params, optimizer.init(params["params"]))

    def update():
        nonlocal state
        state, metrics = step(jax.random.key(0), state, x, y)
        jax.block_until_ready((state, metrics))

    return {
        "pgd": lambda: np.asarray(attack(keys, params, x, y)),
        "matching": lambda: np.asarray(match(keys, params, x, target)),
        "training": update,
    }


def seconds(task):
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def measure(name, rounds):
    network = {"small": models.Small, "resnet18": models.ResNet18}[name]
    options = {"widths": WIDTHS} if name == "small" else {}
    model = network(MEAN, STD, **options).build(CLASSES)
    random = np.random.default_rng(0)
    x = jnp.asarray(random.uniform(size=(BATCH[name], 32, 32, 3)), jnp.float32)
    y = jnp.asarray(random.integers(CLASSES, size=len(x)), jnp.int32)
    params = model.init(jax.random.key(0), x[:1])
    target = model.apply(params, x[::-1]).features
    ours = jax_tasks(model, params, x, y, target)
    theirs = torch_tasks(name, params, x, y, target)
    for task in ours:
        # The first call compiles; it also shows that both do the same.
        a, b = ours[task](), theirs[task]()
        if task != "training":
            moved = np.abs(a - np.asarray(x)).mean()
            difference = np.abs(a - b).mean() / moved
            if not difference < 0.01:
                raise AssertionError(f"{name}, {task}: differ by {difference:.2g}")
        pairs = [(seconds(ours[task]), seconds(theirs[task])) for _ in range(rounds)]
        gradients = len(x) * (TRAINING_STEPS + 1 if task == "training" else STEPS)
        yield {
            "network": name,
            "task": task,
            "batch": len(x),
            "jax": round(gradients / statistics.median(a for a, _ in pairs)),
            "torch": round(gradients / statistics.median(b for _, b in pairs)),
            "ratio": round(statistics.median(b / a for a, b in pairs), 2),
            "ratios": [round(b / a, 2) for a, b in pairs],
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--networks", nargs="+", choices=BATCH, default=list(BATCH))
    options = parser.parse_args()
    use_all_cores()
    about = header()
    print(f"images x steps per second, median of {options.rounds} rounds")
    print(f"{'network':10}{'task':10}{'jax':>8}{'torch':>8}{'ratio':>8}")
    rows = []
    for name in options.networks:
        for row in measure(name, options.rounds):
            rows.append(row)
            print("{network:10}{task:10}{jax:8}{torch:8}{ratio:8.2f}".format(**row))
    result = {
        "unit": "images x steps per second",
        **about,
        "rounds": options.rounds,
        "rows": rows,
    }
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
