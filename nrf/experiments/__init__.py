"""The experiments of the paper, each a list of steps from a config to its results.

    from nrf.experiments import main
    results = main.run(config, "runs/digits")

`main` is the paper's figure; `tables`, `controls`, `autoattack` and `usefulness` add
to it; `transfer` and `theory` are experiments of their own. `recipes` says how sets
are made. `verify` certifies one robust accuracy, of anybody's network.
"""

from nrf.experiments.plan import plan
from nrf.experiments.recipes import Match, Mislabel, constructed

__all__ = ["Match", "Mislabel", "constructed", "plan"]
