"""A catalogue of evaluations that are wrong, and of sound ones that look strange.

    PYTHONPATH=tests python -m failures

prints how many of each the checks tell apart. Every entry is a row of data: a network,
an attack or settings that differ from a sound evaluation in what the row says.
`networks.py` and `attacks.py` have the functions that rows name, `broken.py` and
`sound.py` the rows, and `measure.py` runs them.

The kinds are those of https://arxiv.org/abs/1802.00420 (shattered, stochastic and
vanishing gradients), https://arxiv.org/abs/1902.06705 (mistakes of evaluations),
https://arxiv.org/abs/2206.13991 (attacks that find nothing), and of use.
"""

from typing import Any, NamedTuple


class Case(NamedTuple):
    """One evaluation; what is not given is as in a sound one."""

    name: str
    # The findings that name its cause, any of which will do; none for a sound one.
    causes: tuple[str, ...] = ()
    images: str = "as they are"  # What the network does to its images.
    logits: str = "as they are"  # And to its logits.
    network: str = "trained"  # Weights, of `networks.weights`.
    data: str = "digits"  # Images and labels, of `networks.dataset`.
    run: str = "from the image"  # How the attack climbs, of `attacks.runs`.
    ending: str = "as found"  # What it does with what it found.
    seen: str | None = None  # Weights that the attack is shown, if others.
    loss: str = "cross_entropy"  # What the attack climbs.
    known: bool = True  # Whether the checks are told so, or think it cross-entropy.
    radius: float = 1.0  # Of the attack's ball, over epsilon.
    crossings: float = 2.5  # Steps times step size, over epsilon.
    epsilon: float = 0.3  # In l2.
    precision: Any = "float32"  # Or what every layer is rounded to.
