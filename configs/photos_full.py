"""The photographs with everything beside the main experiment: other tables, controls.

    nrf run photos_full --out runs/photos

In the folder of `make run` it goes on from there: 4 minutes on two cores of an AMD EPYC
(jax 0.10.2, 2026-11-28). Its controls stand in docs/controls.md.
"""

import runpy
from dataclasses import replace
from pathlib import Path

from nrf.config import PGD, Controls, Leakage, Plane, Set, Tables, Training
from nrf.experiments import Match
from nrf.experiments.controls import Isolate, Mistakes, pushed_at_random
from nrf.experiments.tables import other_sets

photos = runpy.run_path(str(Path(__file__).with_name("photos.py")))["config"]
_, _, D_rand, D_det, *_ = photos.sets
standard = photos.networks["standard"]
noise = Match(steps=160, step_size=0.2, start="noise")
others = tuple(f"other{i}" for i in range(5))

config = replace(
    photos,
    name="photos_full",
    tables=Tables(
        sets=other_sets(photos.sets, noise),
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
                replace(standard, epochs=16, batch_size=32),
                title="errors of a network",
            ),
            Set(
                "D_bugs",
                Isolate(PGD("l2", epsilon=1.0, steps=40, step_size=0.1)),
                ("standard", *others),
                standard,
                title="D_det, others unmoved",
            ),
        ),
        asked=(("standard", "fresh"), ("D_det", "D_bugs")),
        leakage=Leakage(
            Training(
                epochs=8,
                batch_size=64,
                learning_rate=0.05,
                attack=PGD("l2", epsilon=0.5, steps=5, step_size=0.15),
            ),
            epsilon=0.5,
        ),
        plane=Plane(classes=(1, 2), epsilon=0.5),
    ),
)
