"""The paper's section 2, measured: which features are useful, and which robustly so.

    unit = features.representation(model.apply)
    probe = features.make_probe(unit, "l2", steps=20, step_size=0.2)
    measured = features.measure(key, probe, params, test, epsilon=0.5, ...)
    features.rows(measured, test.names)  # One for every feature and class.

A feature is a function of images, one column of `unit(params, x)` [B, D], at zero mean
and unit variance over the data. For labels y = ±1 it has

    rho    E[y f(x)], its usefulness
    gamma  E[inf over ‖δ‖ ≤ ε of y f(x + δ)], its robust usefulness

estimate.py turns a feature's values, and its least and most in reach of every image,
into rho and gamma with intervals. extremes.py finds the least and most by PGD (gamma is
at most what that gives), certify.py bounds them (gamma is at least what that gives),
and linear features have them exactly. measure.py judges.

What is exact of linear features answers two questions about the paper: plane.py, which
linear features are useful and not robust, and leakage.py, how much of D_rand's lesson
robust features teach.
"""

from nrf.features.certify import certify
from nrf.features.directions import (
    Directions,
    containment,
    ensemble,
    frontier,
    principal,
)
from nrf.features.estimate import (
    Estimate,
    Extremes,
    constant_units,
    gamma,
    one_against_rest,
    rho,
)
from nrf.features.extremes import (
    Features,
    Probe,
    attacked_extremes,
    certified_extremes,
    linear,
    linear_extremes,
    make_probe,
    representation,
)
from nrf.features.leakage import leakage, robustly_useful
from nrf.features.measure import (
    VERDICTS,
    Measured,
    judge,
    layer_robustness,
    measure,
    rows,
    table,
)
from nrf.features.plane import plane

__all__ = [
    "VERDICTS",
    "Directions",
    "Estimate",
    "Extremes",
    "Features",
    "Measured",
    "Probe",
    "attacked_extremes",
    "certified_extremes",
    "certify",
    "constant_units",
    "containment",
    "ensemble",
    "frontier",
    "gamma",
    "judge",
    "layer_robustness",
    "leakage",
    "linear",
    "linear_extremes",
    "make_probe",
    "measure",
    "one_against_rest",
    "plane",
    "principal",
    "representation",
    "rho",
    "robustly_useful",
    "rows",
    "table",
]
