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

standard = Training(epochs=40, batch_size=100, learning_rate=0.05, weight_decay=1e-4)

config = Experiment(
    name="planted",
    data="planted",
    network=Network("mlp", mean=(0.5,), std=(0.03,), widths=(4,)),
    standard=standard,
    robust=replace(
        standard,
        weight_decay=0.03,
        attack=PGD("l2", epsilon=0.15, steps=5, step_size=0.05),
    ),
    matching=Matching(steps=200, step_size=0.02, identity_relu=True),
    mislabelling=Mislabelling(
        PGD("l2", epsilon=0.2, steps=20, step_size=0.05), identity_relu=True
    ),
    on=Students(
        D_R=replace(standard, weight_decay=0.01),
        D_NR=standard,
        D_rand=standard,
        D_det=replace(standard, epochs=80),
    ),
    evaluation=Evaluation("l2", epsilons=(0.075, 0.15), steps=20),
    seeds=(0, 1, 2),
)
