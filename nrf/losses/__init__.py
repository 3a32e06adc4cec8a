"""What attacks climb and training descends: one value per example.

    loss = losses.cross_entropy(model.apply)
    values = loss(params, x, y)  # [B]
"""

from nrf.losses.per_example import (
    Judged,
    cross_entropy,
    disentangled,
    dlr,
    feature_distance,
    judged,
    margin,
    negate,
    targeted_dlr,
    targeted_margin,
)

__all__ = [
    "Judged",
    "cross_entropy",
    "disentangled",
    "dlr",
    "feature_distance",
    "judged",
    "margin",
    "negate",
    "targeted_dlr",
    "targeted_margin",
]
