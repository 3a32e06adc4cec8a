"""Accuracies, and whether a robust one can be believed.

    robust = evaluate.robust_accuracy(apply, params, x, y, attacks.l2(0.5))
    print(robust)  # Accuracy, interval, n, attack and verdict.

is all that most users need. What it is made of is compiled once for many radii, data
sets and networks of one architecture:

    checks = evaluate.make_checks(
        model.apply, losses.cross_entropy(model.apply), attacks.l2, attack_at,
        crossings=2.5, more_steps=attack_at_twice_the_steps,
    )
    evidence = evaluate.gather(key, checks, params, test, epsilon=0.5, batch_size=500)
    evidence.verdict  # "believable", or the names of what is wrong
    evidence.refuse()  # Raises ValueError, in sentences, unless it is believable.

An attack that is weak or broken makes any network look robust. evidence.py collects the
numbers that give such an attack away, in the pass that computes the accuracy;
findings.py turns numbers into words. "Believable" refers to what was checked, and
remarks name what was not: it is no proof of robustness, such as `nrf.features.certify`
gives for features.

The checklists behind it: https://arxiv.org/abs/1802.00420 (gradients that mislead) and
https://arxiv.org/abs/1902.06705 (how to evaluate).
"""

from nrf.evaluate.accuracy import (
    Correct,
    Score,
    make_correct,
    make_predict,
    predictions,
    right,
    score,
)
from nrf.evaluate.evidence import Checks, gather, make_checks
from nrf.evaluate.findings import BELIEVABLE, Evidence, Finding
from nrf.evaluate.robust import RobustAccuracy, robust_accuracy

__all__ = [
    "BELIEVABLE",
    "Checks",
    "Correct",
    "Evidence",
    "Finding",
    "RobustAccuracy",
    "Score",
    "gather",
    "make_checks",
    "make_correct",
    "make_predict",
    "predictions",
    "right",
    "robust_accuracy",
    "score",
]
