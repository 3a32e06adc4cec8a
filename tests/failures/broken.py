"""Evaluations that are wrong, with the findings that name why."""

from failures import Case

GONE = ("vanishing gradient",)
UNKNOWN = ("not deterministic",)
BATCH = ("depends on the batch",)
NUMBERS = ("not finite",)
SEEN = ("detects perturbations",)
CHANCE = ("no better than chance",)
SHORT = ("short steps",)
BACK = ("goes the wrong way",)
LOSS = ("wrong loss",)
FEW = ("stops early", "beaten by a single step")

NETWORKS = (
    Case("images are rounded", GONE, images="rounded"),
    Case("images are cut off to levels", GONE, images="cut off"),
    Case("a thermometer code", GONE, images="thermometer code"),
    Case("a gradient that is stopped", GONE, images="no gradient"),
    Case("logits are rounded", GONE, logits="rounded"),
    Case("logits a thousand times too large", GONE, logits="a thousand times"),
    Case("a shattered gradient", ("shattered gradient",), images="shattered"),
    Case(
        "a finely shattered gradient",
        ("shattered gradient",),
        images="finely shattered",
    ),
    Case("a reversed gradient", ("reversed gradient",), images="reversed gradient"),
    Case("a decoy gradient", ("replaced gradient",), images="decoy gradient"),
    Case(
        "a detector without gradient",
        (*SEEN, *GONE),
        images="detector without gradient",
    ),
    Case("a detector that cleans", (*SEEN, *GONE), images="detector that cleans"),
    Case("a detector that blurs", SEEN, images="detector that blurs"),
    Case(
        "noise keyed by the image", ("noise keyed by the image",), images="keyed noise"
    ),
    Case("noise drawn anew", UNKNOWN, images="noise"),
    Case("a random transformation", UNKNOWN, images="random light"),
    Case("statistics of the batch", BATCH, images="batch statistics"),
    Case("answers leak to neighbours", BATCH, images="neighbours"),
    Case("probabilities for logits", ("probabilities",), logits="probabilities"),
    Case("NaN for sure images", NUMBERS, logits="no number"),
    Case("half precision overflows", NUMBERS, logits="above 65,504"),
    Case("a logarithm of 0", NUMBERS, logits="logarithm of a softmax"),
    Case("a root at 0", NUMBERS, images="root and square"),
    Case("an untrained network", CHANCE, network="random"),
)
ATTACKS = (
    Case("no steps", ("changes nothing",), ending="nothing"),
    Case("steps too small", SHORT, crossings=0.1),
    Case("steps too small, and not told", SHORT, crossings=0.3, known=False),
    Case("steps too large", FEW, crossings=60.0),
    Case("out of the ball", ("outside the ball",), radius=1.05),
    Case("in another norm", ("outside the ball",), ending="in linf"),
    Case("in a ball too small", SHORT, radius=1 / 8, known=False),
    Case("out of the box", ("outside the box",), ending="out of the box"),
    Case("in half precision", ("outside the ball",), ending="half precision"),
    Case("images of NaN", NUMBERS, ending="no number"),
    Case("descends, as it says", LOSS, loss="negated"),
    Case("descends, as it does not say", BACK, loss="negated", known=False),
    Case("the step is taken away", BACK, ending="mirrored"),
    Case("a decoy for a loss", LOSS, loss="decoy"),
    Case("a decoy for a loss, unsaid", ("aimless",), loss="decoy", known=False),
    Case("labels of other images", LOSS, loss="other labels"),
    Case("random points", ("aimless",), ending="at random"),
    Case(
        "of another network",
        ("aimless", "beaten by a single step"),
        seen="other",
    ),
    Case(
        "the worst of restarts",
        ("aimless", "beaten by a single step"),
        ending="the worst",
    ),
)
SETTINGS = (
    Case("epsilon in grey levels", ("huge epsilon",), epsilon=0.3 * 255),
    Case("epsilon divided twice", ("tiny epsilon",), epsilon=0.3 / 255),
    Case("labels are shuffled", CHANCE, data="labels shuffled"),
    Case("labels count from 1", CHANCE, data="labels off by one"),
)
BROKEN = (*NETWORKS, *ATTACKS, *SETTINGS)
