"""The paper's effects where the right answers are known: features planted by hand.

    python scripts/run.py configs/planted.py --out runs/planted

`nrf/data/planted.py` has the images, and `python -m nrf.theory.planted` prints the
right answers. Weight decay is part of the design: it removes from the robust network
what its initialisation left of the chessboard, and feature matching would copy.

Cost: a minute on two CPU cores. Result (4,000 test images; mean of three seeds; two
cores of an AMD EPYC, jax 0.10.2, 2026-11-25; standard accuracy, and under attacks of
l2 radius 0.075 and 0.15), and the right answer for linear classifiers:

    trained on        measured               right answer
    D                 99.5   82.4   24.7     99.8   77.6    9.4
    D, adversarial    94.1   87.3   77.2     93.9   87.6   77.8
    D_R               92.5   83.0   70.2     93.9   87.6   77.8
    D_NR              99.4   82.8   27.4     99.8   77.6    9.4
    D_rand            91.5   34.6    5.0     97.4   38.9    0.6
    D_det             82.1   25.5    3.4     97.4   38.9    0.6

Where they differ, training has not reached its optimum: the chessboard needs weights
ten times as large as the shade does. D_R's accuracies under attack are marked: in one
seed the gradient vanishes at many images, so that the attack is weaker there.

All four units of each robust network are certified to be robustly useful at radius
0.15; of the twelve of the standard ones, nine are useful and not robust.
"""

from dataclasses import replace

from nrf.config import PGD, Evaluation, Experiment, Features, Set, Training
from nrf.experiments import Match, Mislabel
from nrf.models import MLP

standard = Training(epochs=40, batch_size=100, learning_rate=0.05, weight_decay=1e-4)
match = Match(steps=200, step_size=0.02, identity_relu=True)
push = PGD("l2", epsilon=0.2, steps=20, step_size=0.05)

config = Experiment(
    name="planted",
    data="planted",
    network=MLP(mean=(0.5,), std=(0.03,), widths=(4,)),
    networks={
        "standard": standard,
        "robust": replace(
            standard,
            weight_decay=0.03,
            attack=PGD("l2", epsilon=0.15, steps=5, step_size=0.05),
        ),
    },
    sets=(
        Set("D_R", match, "robust", replace(standard, weight_decay=0.01)),
        Set("D_NR", match, "standard", standard),
        Set("D_rand", Mislabel(push, "random", True), "standard", standard),
        Set(
            "D_det",
            Mislabel(push, "next", True),
            "standard",
            replace(standard, epochs=80),
        ),
    ),
    evaluation=Evaluation("l2", epsilons=(0.075, 0.15), steps=20),
    features=Features("l2", epsilon=0.15, images=1000, certificate="linear"),
    seeds=(0, 1, 2),
)
