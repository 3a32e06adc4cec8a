"""How right a network without a lesson is, by luck."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

_DRAWN = 2000  # Orders of the classes.


def by_chance(confusions: Sequence[ArrayLike]) -> tuple[float, float]:
    """The accuracies that 95 % of networks without a lesson have; means over seeds.

    Such a network gives most images of a class one label, and is right for 5 or 20 % of
    them by luck: 1 / K is no measure. Labels without a meaning could as well be in any
    other order, so the accuracies are those of the same networks with their classes'
    names permuted at random. This is a permutation test (Fisher 1935), exact but for
    the 2,000 orders that are drawn.

    Args:
      confusions: [K, K] of every seed: images by their class and the label given.

    Raises:
      ValueError: there is none, or they are not square, alike and of some images.
    """
    counts = [np.asarray(of, float) for of in confusions]
    shapes = {of.shape for of in counts}
    square = all(len(s) == 2 and s[0] == s[1] for s in shapes)
    if len(shapes) != 1 or not square or not all(of.sum() > 0 for of in counts):
        raise ValueError(
            "confusions must be one [K, K] or more of counts of some images, all of "
            f"the same K; got shapes {sorted(map(str, shapes)) or 'of none'}."
        )
    shares = np.stack([of / of.sum() for of in counts])
    classes = np.arange(shares.shape[1])
    generator = np.random.default_rng(0)

    # A seed's network has an order of its own.
    orders = generator.permuted(np.tile(classes, (_DRAWN, len(shares), 1)), axis=-1)
    seeds = np.arange(len(shares))[:, None]
    drawn = shares[seeds, classes, orders].sum(-1).mean(-1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
