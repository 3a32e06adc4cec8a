"""The study of transferability (figures 3 and 13), narrow networks on two CPU cores.

    python scripts/transfer.py configs/transfer_small.py --out runs/transfer_small

On 12,000 images of CIFAR-10, half for the source and half for the others. As in
configs/cifar10_small.py, networks of few images need a larger push than the paper's 0.5
before D_det teaches anything. Neither the price nor the result is measured yet.
"""

from dataclasses import replace

from nrf.config import PGD, Learner, Mislabelling, Network, Training, Transfer

on_D = Training(epochs=10, batch_size=64, learning_rate=0.1, pad=2, flip=True)
learner = Learner(
    Network("resnet50", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), width=4),
    on_D=on_D,
    on_D_det=replace(on_D, pad=0, flip=False),
)
attack = PGD("l2", epsilon=1.5, steps=20, step_size=0.2)
WIDTHS = {"vgg16": 8, "inception_v3": 4, "resnet18": 8, "densenet121": 4, "resnet50": 4}

config = Transfer(
    name="transfer_small",
    data="cifar10",
    source=learner.network,
    source_training=on_D,
    learners=tuple(
        replace(learner, network=replace(learner.network, name=name, width=width))
        for name, width in WIDTHS.items()
    ),
    attack=attack,
    mislabelling=Mislabelling(attack),
    train_examples=12000,
    test_examples=2000,
    storage="float16",
)
