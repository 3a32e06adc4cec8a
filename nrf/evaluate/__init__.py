"""Accuracies, and whether a robust one can be believed.

    robust = evaluate.robust_accuracy(apply, params, x, y, attacks.l2(0.5))
    print(robust)  # Accuracy, interval, n, attack and verdict.

is all that most users need. What it is made of is compiled once for many radii, data
sets and networks of one architecture:

    checks = evaluate.make_checks(
        model.apply, losses.cross_entropy(model.apply), attacks.l2,
        crossings=2.5, more_steps=attack_at_twice_the_steps, attack_on=attack_of,
    )
    found = evaluate.gather(key, checks, params, test, epsilon=0.5, batch_size=500)
    found.withstood  # [N] bool, of every example
    found.evidence.verdict  # "believable", or the names of what is wrong
    found.evidence.refuse()  # Raises ValueError, in sentences, unless it is believable.

An attack that is weak or broken makes any network look robust. evidence.py collects the
numbers that give such an attack away, in the pass that computes the accuracy: checks.py
and slopes.py look at every image, active.py plants adversarial examples that the attack
must find. causes.py turns numbers into words. "Believable" refers to what was checked,
and remarks name what was not: it is no proof of robustness, such as
`nrf.features.certify` gives for features. tests/failures/ has some 50 broken
evaluations and what is found of each, and sound ones, of which nothing is.

The checklists behind it: https://arxiv.org/abs/1802.00420 (gradients that mislead),
https://arxiv.org/abs/1902.06705 (how to evaluate) and https://arxiv.org/abs/2206.13991
(active tests).
"""

from nrf.evaluate.accuracy import (
    Correct,
    Score,
    make_correct,
    make_logits,
    make_predict,
    predictions,
    right,
    score,
)
from nrf.evaluate.active import Readout, read, unchanged
from nrf.evaluate.chance import by_chance
from nrf.evaluate.checks import Checks, make_attack, make_checks
from nrf.evaluate.evidence import Gathered, gather
from nrf.evaluate.findings import BELIEVABLE, Evidence, Finding
from nrf.evaluate.robust import RobustAccuracy, robust_accuracy

__all__ = [
    "BELIEVABLE",
    "Checks",
    "Correct",
    "Evidence",
    "Finding",
    "Gathered",
    "Readout",
    "RobustAccuracy",
    "Score",
    "by_chance",
    "gather",
    "make_attack",
    "make_checks",
    "make_correct",
    "make_logits",
    "make_predict",
    "predictions",
    "read",
    "right",
    "robust_accuracy",
    "score",
    "unchanged",
]
