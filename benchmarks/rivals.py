"""The tasks of attack_speed.py in PyTorch: by hand, compiled, and by libraries.

Each of `COLUMNS` makes, of a `Problem`, what its row asks for: a function without
arguments, or None where the library cannot do that as it comes.
"""

import types
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from twin import Torch, folded, images

EPSILON, STEP_SIZE, RATE, MOMENTUM, DECAY = 0.5, 0.1, 0.01, 0.9, 5e-4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class Problem(NamedTuple):
    """What all columns of a row work on."""

    widths: tuple[int, ...] | None  # Of `models.Small`; None: ResNet-18.
    classes: int
    params: Any  # Flax variables.
    x: Any  # [B, H, W, C]
    y: Any  # [B]
    target: Any  # [B, D]: features to be matched.
    task: str  # "pgd", "matching" or "training": PGD, and an update on what it found.
    steps: int  # Of PGD.


def network(problem, memory=torch.channels_last):
    """The network, images, labels and target as tensors."""
    net = Torch(problem.classes, mean=MEAN, std=STD, widths=problem.widths)
    net.copy(problem.params)
    x = images(problem.x).contiguous(memory_format=memory)
    y = torch.tensor(np.array(problem.y)).long()
    return net.to(memory_format=memory), x, y, torch.tensor(np.array(problem.target))


def norm(d):
    return d.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, 1, 1, 1)


def climb(loss, x, steps, epsilon=None):
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


def as_array(attack):
    return lambda: attack().permute(0, 2, 3, 1).numpy()


def updating(net, logits, attack, y):
    """A function that attacks, updates `net` once and returns its last layer's bias.

    `logits` are those of `net` for what `attack` returns.
    """
    optimizer = torch.optim.SGD(
        net.parameters(), RATE, MOMENTUM, weight_decay=DECAY, nesterov=True
    )

    def update():
        net.eval().requires_grad_(False)
        x_adv = attack()
        net.train().requires_grad_()
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits(x_adv), y).backward()
        optimizer.step()
        return net.last.bias.detach().numpy().copy()

    return update


def by_hand(problem, change=lambda net: net, wrap=lambda f: f):
    """The network after `change`; `wrap` is put around what it computes."""
    net, x, y, target = network(problem)
    net = change(net).eval().requires_grad_(False)
    logits, features = wrap(net.forward), wrap(net.features)

    def cross_entropy(x):
        return nn.functional.cross_entropy(logits(x), y, reduction="none")

    def attack():
        return climb(cross_entropy, x, problem.steps, EPSILON)

    def nearness(x):
        return -(features(x) - target).norm(dim=1)

    if problem.task == "training":
        return updating(net, logits, attack, y)
    if problem.task == "matching":
        return as_array(lambda: climb(nearness, x, problem.steps))
    return as_array(attack)


def eager(problem):
    return by_hand(problem)


def compiled(problem):
    return by_hand(problem, wrap=torch.compile)


def fold(problem):
    # In training the weights change, and BatchNorm does not see running statistics.
    return None if problem.task == "training" else by_hand(problem, folded)


def foolbox(problem):
    import foolbox

    net, x, y, _ = network(problem)
    model = foolbox.PyTorchModel(net.eval().requires_grad_(False), bounds=(0, 1))
    pgd = foolbox.attacks.L2ProjectedGradientDescentAttack(
        abs_stepsize=STEP_SIZE, steps=problem.steps, random_start=False
    )

    def attack():
        return pgd(model, x, y, epsilons=EPSILON)[1]

    return by_library(problem, net, attack, y)


def torchattacks(problem):
    import torchattacks

    # It asks for a view of gradients that channels_last does not have.
    net, x, y, _ = network(problem, torch.contiguous_format)
    net.eval().requires_grad_(False)
    pgd = torchattacks.PGDL2(
        net, EPSILON, STEP_SIZE, steps=problem.steps, random_start=False
    )
    return by_library(problem, net, lambda: pgd(x, y), y)


def by_library(problem, net, attack, y):
    if problem.task == "training":
        return updating(net, net, attack, y)
    return as_array(attack) if problem.task == "pgd" else None


class Normalised(nn.Module):
    """`Torch` as `robustness` calls networks: of images that it has normalised."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.net.body[0] = nn.Identity()

    def forward(self, x, with_latent=False, **_):
        features = self.net.features(x)
        logits = self.net.last(features)
        return (logits, features) if with_latent else logits


def robustness(problem):
    """As the authors made their sets: one call attacks, and predicts what it found."""
    from robustness.attacker import AttackerModel

    torch.Tensor.cuda = lambda x: x  # It asks for a GPU.
    # It asks for a view of gradients that channels_last does not have.
    net, x, y, target = network(problem, torch.contiguous_format)
    statistics = types.SimpleNamespace(mean=torch.tensor(MEAN), std=torch.tensor(STD))
    model = AttackerModel(Normalised(net), statistics)
    options = {
        "constraint": "2",
        "eps": EPSILON,
        "step_size": STEP_SIZE,
        "iterations": problem.steps,
        "use_best": False,
    }

    def distance(model, x, target):
        return (model(x, with_latent=True)[1] - target).norm(dim=1), None

    def attack(x, goal=y):
        return model(x, goal, make_adv=True, **options)

    if problem.task == "training":
        # The attack is inside of the call that predicts.
        return updating(net, lambda x: attack(x)[0], lambda: x, y)
    model.eval().requires_grad_(False)
    if problem.task == "matching":
        # The authors' radius: so large that it is not in the way.
        options |= {"eps": 1000, "custom_loss": distance, "targeted": True}
        return as_array(lambda: attack(x, target)[1])
    return as_array(lambda: attack(x)[1])


COLUMNS = {
    "eager": eager,
    "compiled": compiled,
    "folded": fold,
    "foolbox": foolbox,
    "torchattacks": torchattacks,
    "robustness": robustness,
}
