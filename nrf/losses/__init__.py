"""What attacks climb and training descends: one value per example.

    loss = losses.cross_entropy(model.apply)
    values = loss(params, x, y)  # [B]

`Madry`, `Trades` and `LogitPairing` are objectives: both sides of a training.
"""

from nrf.losses.objectives import (
    LogitPairing,
    Madry,
    Objective,
    Trades,
    divergence,
    labels,
)
from nrf.losses.per_example import (
    Judged,
    OfLogits,
    cosine_distance,
    cross_entropy,
    disentangled,
    dlr,
    feature_distance,
    judged,
    margin,
    negate,
    signed,
    targeted_dlr,
    targeted_margin,
)

__all__ = [
    "Judged",
    "LogitPairing",
    "Madry",
    "Objective",
    "OfLogits",
    "Trades",
    "cosine_distance",
    "cross_entropy",
    "disentangled",
    "divergence",
    "dlr",
    "feature_distance",
    "judged",
    "labels",
    "margin",
    "negate",
    "signed",
    "targeted_dlr",
    "targeted_margin",
]
