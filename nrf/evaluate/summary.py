"""What is observed of all examples, added up to the numbers of `Evidence`."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from nrf.attacks import Threat
from nrf.attacks.threat import length

# The counts of `Evidence` that are sums of what is observed under the same name.
_COUNTS = (
    "correct withstood bad_logits bad_images bad_gradients probabilities zero "
    "vanishing missed behind lowered aimless grey"
).split()
_SLOPES = "erratic detected shattered reversed replaced astray".split()


def summary(observed: Any, labels: np.ndarray) -> dict[str, Any]:
    """What the examples add up to, by the names of `Evidence`."""
    # On the host by now: `map_examples` fetches what it maps.
    predicted, given = _shares(observed.predicted), _shares(labels)
    classes = min(len(predicted), len(given))
    return {
        "total": len(labels),
        "chance": float(predicted[:classes] @ given[:classes]),
        "commonest": float(given.max()),
        "largest": float(observed.size.max()),
        "outside": float(observed.outside.max()),
        "others": float(observed.others.sum() / max(1, observed.pairs.sum())),
        **{name: int(getattr(observed, name).sum()) for name in _COUNTS},
        **{name: int(getattr(observed.slopes, name).sum()) for name in _SLOPES},
    }


def grain(threat: Threat, shape: tuple[int, ...]) -> float:
    """What rounding to 8-bit pixels changes: its mean norm, or its largest in linf.

    Errors are uniform between ±½ grey level: |d| is ¼ of one on average, d² is 1/12.
    """
    levels = {"linf": 1 / 2, "l2": 12**-0.5, "l1": 1 / 4}
    return length_of(threat, shape, levels[str(threat.norm)] / 255)


def length_of(threat: Threat, shape: tuple[int, ...], value: float) -> float:
    """The norm of an image of that shape that has one value everywhere."""
    return float(length(threat, jnp.full((1, *shape), value))[0])


def _shares(classes: Any) -> np.ndarray:
    """The share of each class among classes [N]; -1 is none."""
    return np.bincount(classes[classes >= 0], minlength=1) / len(classes)
