"""The other rows of the paper's tables, from the stages of the main experiment.

Robust sources (tables 9 and 10), where D_R's robustness is lost (table 8), sets made
from noise (table 7), the attack's strength (figure 8) and a second test set (D.7).
"""

from dataclasses import replace

from nrf.config import Appendix
from nrf.experiments.stages import NETWORKS, TARGETS, Row, Stages


def run(of: Stages, settings: Appendix) -> list[Row]:
    """Makes the stages of one seed, after those of the main experiment; all rows."""
    config, rows = of.config, []
    clean = replace(config.evaluation, epsilons=())
    if settings.robust_sources:
        for name, targets in TARGETS.items():
            made = f"{name}_robust"
            of.push(made, "robust", targets)
            of.learn(f"on_{made}", getattr(config.on, name), made)
            rows += of.score(f"on_{made}", clean)
        # "relabelled" has the test images with the labels that D_det gives them.
        for name in ("on_D_det", "on_D_det_robust"):
            rows += of.score(name, clean, on="relabelled")
    if settings.noise_start:
        for name, source in (("D_R", "robust"), ("D_NR", "standard")):
            made = f"{name}_noise"
            of.match(made, source, settings.noise_start)
            of.learn(f"on_{made}", getattr(config.on, name), made)
            rows += of.score(f"on_{made}")
    if settings.robustified_test:
        of.match("D_R_test", "robust", replace(config.matching, copies=1), on="test")
        for on in ("D_R", "D_R_test"):
            rows += of.score("on_D_R", on=on)
    for steps in settings.strength:
        for loss in ("cross_entropy", "margin"):
            at = replace(
                config.evaluation, epsilons=config.headline, steps=steps, loss=loss
            )
            # Its accuracy without attack is that of the main experiment.
            rows += [row for row in of.score("on_D_R", at) if row["epsilon"]]
    if settings.second_test:
        for name in NETWORKS:
            rows += of.score(name, on="second_test")
    return rows
