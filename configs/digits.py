"""x"""

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

standard = Training(epochs=20, batch_size=64, learning_rate=0.1)

config = Experiment(
    name="digits",
    data="digits",
    network=Network("small", mean=(0.3,), std=(0.38,), widths=(32, 64, 16)),
    standard=standard,
    robust=Training(
        epochs=20,
        batch_size=64,
        learning_rate=0.1,
        attack=PGD("l2", epsilon=1.0, steps=5, step_size=0.3),
    ),
    matching=Matching(steps=100, step_size=0.1),
    mislabelling=Mislabelling(
        PGD("l2", epsilon=1.5, steps=60, step_size=0.1), identity_relu=True
    ),
    on=Students(D_R=standard, D_NR=standard, D_rand=standard, D_det=standard),
    evaluation=Evaluation("l2", epsilons=(0.25, 0.5, 0.75, 1.0), steps=40),
    seeds=(0, 1, 2),
)
