"""What a run keeps on disk, and how it comes back.

    run = runs.load("runs/digits")
    logits = run.network("on_D_R")(x)
    made = run.set("D_R")  # made.images, made.labels, made.original_labels, ...
    rows = run.rows  # A list of dicts: pandas.DataFrame(rows), csv.DictWriter, ...

`Steps` makes every value once: see `nrf.runs.steps`. `save` keeps a set of yours.
"""

from nrf.runs.formats import Constructed, Trained
from nrf.runs.load import Run, Weights, load
from nrf.runs.progress import Progress
from nrf.runs.steps import Cost, Env, Made, Steps, costs, key_for, local
from nrf.runs.store import save

__all__ = [
    "Constructed",
    "Cost",
    "Env",
    "Made",
    "Progress",
    "Run",
    "Steps",
    "Trained",
    "Weights",
    "costs",
    "key_for",
    "load",
    "local",
    "save",
]
