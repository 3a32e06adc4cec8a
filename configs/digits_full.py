"""The digits with everything beside the main experiment: other tables, and controls.

    python scripts/run.py configs/digits_full.py --out runs/digits

In the folder of `make run` it goes on from there.

Cost: 14 minutes more, beside other work, 7 of them AutoAttack. Result (500 test images;
mean and standard deviation of three seeds; two cores of an AMD EPYC, jax 0.10.2,
2026-11-25; accuracy on D's test images):

    D_rand, D_det by the robust network   86.1 +- 3.4, 64.1 +- 1.1   (64.8, 43.4)
    D_R from noise, at radius 0.5         51.8 +- 12.6, 18.4 +- 1.1  (97.7, 55.2)
    D_NR from noise, at radius 0.5        43.5 +- 2.1, 12.3 +- 2.2   (95.9, 19.6)
    random perturbations, D_rand, D_det   11.0 +- 2.1, 0.0           (64.8, 43.4)
    errors of a network, unchanged        26.1 +- 9.1
    D_det, other networks unmoved          9.2 +- 3.4                (43.4)
    robust linear features alone          83.3 and 22.8 after D_rand and D_det

In brackets: the main experiment's. The network of D_R is at 55.1 at radius 0.5 on D_R
itself and at 47.3 on a D_R made of the test images; 320 steps of the attack take 0.7
points more than 10 do, and the margin loss is the weaker one (57.6).

At radius 0.5 AutoAttack leaves 38.2 % of D's network, 74.8 of the adversarially trained
one, 52.7 of D_R's and 14.7 of D_NR's (PGD: 42.6, 78.7, 55.2, 19.6). The evidence finds
nothing else against PGD's accuracies, and nothing against AutoAttack's.

Three things differ from the paper, and have one reason: radius 1.5 is larger than the
robust network withstands. Its attacks reach 79 and 69 % of their targets, change robust
features, and so teach more than those of the standard one, not less (the paper: 25.2
and 5.8). And robust features leak: by them alone a linear classifier is right for more
images after D_rand than the network of D_rand is.
"""

import runpy
from dataclasses import replace
from pathlib import Path

from nrf.config import PGD, AutoAttack, Controls, Leakage, Plane, Set, Tables, Training
from nrf.experiments import Match
from nrf.experiments.controls import Isolate, Mistakes, pushed_at_random
from nrf.experiments.tables import other_sets

digits = runpy.run_path(str(Path(__file__).with_name("digits.py")))["config"]
*_, D_rand, D_det = digits.sets
standard = digits.networks["standard"]
noise = Match(steps=400, step_size=0.1, start="noise")
others = tuple(f"other{i}" for i in range(5))

config = replace(
    digits,
    name="digits_full",
    tables=Tables(
        sets=other_sets(digits.sets, noise),
        relabelled=("on_D_det", "on_D_det_robust"),
        elsewhere=(("on_D_R", "D_R"), ("on_D_R", "D_R_test")),
        strength=(10, 20, 40, 80, 160, 320),
    ),
    controls=Controls(
        networks={
            "labeller": replace(standard, epochs=1, learning_rate=0.05),
            **dict.fromkeys((*others, "fresh"), standard),
        },
        sets=(
            pushed_at_random(D_rand),
            pushed_at_random(D_det),
            Set(
                "D_errors",
                Mistakes(least=32),
                "labeller",
                replace(standard, epochs=40, batch_size=32),
                title="errors of a network",
            ),
            Set(
                "D_bugs",
                Isolate(PGD("l2", epsilon=2.5, steps=40, step_size=0.25)),
                ("standard", *others),
                standard,
                title="D_det, others unmoved",
            ),
        ),
        asked=(("standard", "fresh"), ("D_det", "D_bugs")),
        leakage=Leakage(
            Training(
                epochs=20,
                batch_size=64,
                learning_rate=0.05,
                attack=PGD("l2", epsilon=0.5, steps=5, step_size=0.15),
            ),
            epsilon=0.5,
        ),
        plane=Plane(classes=(3, 8), epsilon=0.5),
    ),
    autoattack=AutoAttack(images=500),
)
