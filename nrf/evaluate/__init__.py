"""Whether a robust accuracy can be believed: what was checked, and what is wrong.

    checks = evidence.make_checks(
        model.apply, losses.cross_entropy(model.apply), attacks.l2, attack_at,
        crossings=2.5, more_steps=attack_at_twice_the_steps,
    )
    found = evidence.gather(key, checks, params, test, epsilon=0.5, ...)
    found.verdict  # "believable", or the names of what is wrong
    found.refuse()  # Raises ValueError, in sentences, unless it is believable.

An attack that is weak or broken makes any network look robust. gather.py collects the
numbers that give such an attack away, in the pass that computes the accuracy; judge.py
turns numbers into words. Both say "believable" of what was checked, and name what was
not: a proof of robustness is what `nrf.features.certify` gives, for features.

The checklists behind it: https://arxiv.org/abs/1802.00420 (gradients that mislead) and
https://arxiv.org/abs/1902.06705 (how to evaluate).
"""

from nrf.evaluate.accuracy import (
    Score,
    make_correct,
    make_says,
    predictions,
    right,
    score,
)
from nrf.evaluate.evidence import Checks, gather, make_checks
from nrf.evaluate.findings import BELIEVABLE, Evidence, Finding

__all__ = [
    "BELIEVABLE",
    "Checks",
    "Evidence",
    "Finding",
    "Score",
    "gather",
    "make_checks",
    "make_correct",
    "make_says",
    "predictions",
    "right",
    "score",
]
