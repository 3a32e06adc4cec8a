"""x"""

from dataclasses import replace

from nrf.config import (
    PGD,
    Evaluation,
    Experiment,
    Matching,
    Mislabelling,
    Network,
    Students,
    Training,
)

standard = Training(epochs=20, batch_size=128, learning_rate=0.2, pad=2, flip=True)
plain = replace(standard, learning_rate=0.1, pad=0, flip=False)

config = Experiment(
    name="cifar10_small",
    data="cifar10",
    network=Network(
        "small",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        widths=(48, 96, 192),
        patch=2,
    ),
    standard=standard,
    robust=replace(
        standard, epochs=12, attack=PGD("l2", epsilon=1.0, steps=3, step_size=0.5)
    ),
    matching=Matching(steps=40, step_size=0.4),
    mislabelling=Mislabelling(PGD("l2", epsilon=1.5, steps=20, step_size=0.2)),
    on=Students(D_R=standard, D_NR=standard, D_rand=plain, D_det=plain),
    evaluation=Evaluation("l2", epsilons=(0.25, 0.5), steps=20),
    train_examples=12000,
    test_examples=2000,
    storage="float16",
)
