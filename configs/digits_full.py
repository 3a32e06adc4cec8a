"""The digits with everything beside the main experiment: other tables, and controls.

    python scripts/run.py configs/digits_full.py --out runs/digits

In the folder of `make run` it goes on from there.
"""

import runpy
from dataclasses import replace
from pathlib import Path

from nrf.config import (
    PGD,
    Appendix,
    Bugs,
    Controls,
    Errors,
    Leakage,
    Matching,
    Plane,
    Training,
)

digits = runpy.run_path(str(Path(__file__).with_name("digits.py")))["config"]
standard = digits.standard

config = replace(
    digits,
    name="digits_full",
    appendix=Appendix(
        strength=(10, 20, 40, 80, 160, 320),
        noise_start=Matching(steps=400, step_size=0.1, start="noise"),
    ),
    controls=Controls(
        errors=Errors(
            labeller=replace(standard, epochs=1, learning_rate=0.05),
            student=replace(standard, epochs=40, batch_size=32),
        ),
        bugs=Bugs(
            PGD("l2", epsilon=2.5, steps=40, step_size=0.25), others=5, student=standard
        ),
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
)
