"""The published AutoAttack in PyTorch (pyautoattack), on networks of `twin`."""

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


class Layout(torch.autograd.Function):
    """Images to the layout that is fast, gradients to the one pyautoattack wants."""

    @staticmethod
    def forward(ctx, x):
        return x.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx, g):
        return g.contiguous()


class Net(torch.nn.Module):
    def __init__(self, twin):
        super().__init__()
        self.twin = twin

    def forward(self, x):
        return self.twin(Layout.apply(x))


class WholeSquare(SquareAttack):
    def random_int(self, low=0, high=1, shape=(1,)):
        return super().random_int(low, high + 1, list(shape))


def published(net, norm, epsilon, *, steps, targets, queries, seed):
    """By our names: images and labels -> attacked images; as AutoAttack sets them."""
    common = {"eps": epsilon, "norm": NORMS[norm], "seed": seed, "device": "cpu"}
    walk = {"use_largereps": norm == "l1", "n_iter": steps}
    square = {"n_queries": queries, "p_init": 0.8, "resc_schedule": False}
    return {
        "apgd-ce": APGDAttack(
            net, n_restarts=5 if norm == "l1" else 1, **walk, **common
        ),
        "apgd-t": APGDAttack_targeted(
            net,
            n_target_classes=min(targets, 5) if norm == "l1" else targets,
            **walk,
            **common,
        ),
        "fab-t": FABAttack_PT(
            net, targeted=True, n_iter=steps, n_target_classes=targets, **common
        ),
        "square": SquareAttack(net, **square, **common),
        "square, whole image": WholeSquare(net, **square, **common),
    }
