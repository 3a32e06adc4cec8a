"""What can be wrong with a robust accuracy: by which signs it shows, and the words."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from nrf.evaluate import signs
from nrf.evaluate.accuracy import Score

if TYPE_CHECKING:
    from nrf.evaluate.findings import Evidence


class Cause(NamedTuple):
    """A way to be wrong: its name, when it is found, and what is then said."""

    name: str
    fails: Callable[["Evidence"], bool]
    sentence: str  # {e.x} is a number, {share.x} a percentage; {most[x]}: see `_fill`.


# What is broken comes before what is weak.
CAUSES = (
    Cause(
        "not finite",
        lambda e: bool(e.bad_logits or e.bad_images or e.bad_gradients),
        "There are NaNs or infinities in the logits of {e.bad_logits} of {e.total} "
        "examples, in {e.bad_images} attacked images and in {e.bad_gradients} "
        "gradients; steps mean nothing there, and an answer of NaN counts as wrong. "
        "Likely causes are divisions by zero, roots or logarithms at 0, and half "
        "precision, which ends at 65,504.",
    ),
    Cause(
        "outside the ball",
        lambda e: e.largest > e.epsilon + e.rounding,
        "A perturbation has {e.norm} norm {e.largest:g} in a ball of radius "
        "{e.epsilon:g}: the attack solved an easier task. Its projection is missing, "
        "in another norm, or around the last image instead of the first.",
    ),
    Cause(
        "outside the box",
        lambda e: e.outside > signs.BOX,
        "Attacked pixels are up to {e.outside:g} outside of [0, 1], which no image "
        "is. Clip to [0, 1] after every step, and normalise images inside of the "
        "model.",
    ),
    Cause(
        "changes nothing",
        signs.idle,
        "All {e.total} attacked images are the images themselves, though gradients "
        "are not 0: the attack takes no steps, or returns where it started.",
    ),
    Cause(
        "short steps",
        signs.short,
        "The largest perturbation is {e.largest:g} in a ball of radius {e.epsilon:g}: "
        "all steps together are too short to reach its edge, or the ball is one of "
        "another norm. Take more or longer steps; 2 times epsilon crosses the whole "
        "ball.",
    ),
    Cause(
        "probabilities",
        lambda e: e.probabilities > signs.PROBABILITIES * e.total,
        "The logits of {share.probabilities} of the examples are not negative and sum "
        "to 1: they are probabilities. Cross-entropy takes a second softmax of them, "
        "whose gradients are small. Return the input of the softmax instead.",
    ),
    Cause(
        "vanishing gradient",
        signs.misses,
        "{share.missed} of the examples withstood where the gradient that the attack "
        "climbs is 0 or lost in float32, though the logits have one that fools them "
        "in one step, or have none at all (it is lost in {share.vanishing} of all "
        "examples, exactly 0 in {share.zero}). Either the logits are too large for "
        "cross-entropy (climb losses.margin), or something in the model rounds.",
    ),
    Cause(
        "noise keyed by the image",
        signs.erratic,
        "{share.erratic} of the images have other logits wherever they are moved by "
        "less than a grey level: the model draws noise from a key that it makes of the "
        "image, or rounds at values that images have. No gradient knows of that. "
        "Remove it, or attack and score the mean of many draws.",
    ),
    Cause(
        "detects perturbations",
        lambda e: signs.part(e.detected, e),
        "{share.detected} of the images have other logits, or no gradient any more, as "
        "soon as they are moved by less than a grey level, wherever that is: the model "
        "looks at whether pixels have 8-bit values, and shows an attack another "
        "network. Remove the detector, or let the attack know of it.",
    ),
    Cause(
        "shattered gradient",
        lambda e: signs.part(e.shattered, e) and not signs.erratic(e),
        "At {share.shattered} of the images a step along the gradient does not give "
        "what it promises, while a step of a hundredth of its length does: the logits "
        "go up and down within a step. Attack through a smooth replacement of what "
        "makes them do so (BPDA), or the mean over many points.",
    ),
    Cause(
        "reversed gradient",
        lambda e: signs.part(e.reversed, e) and not signs.erratic(e),
        "At {share.reversed} of the images a step along the gradient of the logits "
        "lowers what it should raise: a custom gradient has the wrong sign.",
    ),
    Cause(
        "replaced gradient",
        lambda e: signs.part(e.replaced, e) and not signs.erratic(e),
        "At {share.replaced} of the images a step along the gradient of the logits "
        "changes them hardly, however short it is: a custom gradient, or a decoy in "
        "the model, stands in the place of the true one.",
    ),
    Cause(
        "not deterministic",
        signs.varies,
        "{share.varied} of the images gave other logits the second time: gradients "
        "and predictions are those of different networks. Remove the noise, or attack "
        "and score the mean of many draws.",
    ),
    Cause(
        "depends on the batch",
        lambda e: e.mixed > signs.CHANGED * e.total and not signs.varies(e),
        "{share.mixed} of the images gave other logits beside other images: BatchNorm "
        "uses the statistics of the batch, as in training. Use the running statistics.",
    ),
    Cause(
        "huge epsilon",
        lambda e: max(e.grey / e.total, e.others) > signs.CONTRADICTION,
        "Balls of radius {e.epsilon:g} hold the mid-grey image for {share.grey} of "
        "the examples, and {share.others} of images of other classes: no classifier "
        "can be right on all of these. Epsilon is in [0, 1] pixels; divide one in "
        "grey levels by 255.",
    ),
    Cause(
        "tiny epsilon",
        signs.is_tiny,
        "A ball of {e.norm} radius {e.epsilon:g} holds less than half of what rounding "
        "to 8-bit pixels changes ({e.grain:g}), and the attack fools hardly any: this "
        "is the accuracy without attack. Epsilon is in [0, 1] pixels; was it divided "
        "by 255 twice?",
    ),
    Cause(
        "no better than chance",
        lambda e: Score(e.correct, e.total).interval[0] <= e.chance,
        "Without attack {share.correct} are right, and {share.chance} would be with "
        "shuffled labels: there is no accuracy to be robust. Labels are in another "
        "order than images or names, or the network is not trained.",
    ),
    Cause(
        "wrong loss",
        signs.astray,
        "At {share.astray} of the images a step along the gradient of the loss that "
        "the attack climbs does not raise the wrong logits over the right one, though "
        "one along the gradient of the logits does: the loss is another one's, has "
        "the wrong sign, or is given other labels.",
    ),
    Cause(
        "goes the wrong way",
        signs.lowers,
        "The attack makes the network surer of {e.lowered} of the {e.correct} images "
        "that it gets right, though the gradient of the loss is sound: the attack "
        "descends, returns the worst that it saw, or is given other labels.",
    ),
    Cause(
        "aimless",
        signs.aimless,
        "{share.aimless} of the images withstood and were moved to where the logits "
        "are about as before; a single step along their gradient gives ten times more. "
        "The attack follows no gradient of this network, or loses what it found.",
    ),
    Cause(
        "beaten by a single step",
        signs.behind,
        "One step along the gradient of the logits fools {e.behind} of {e.total} "
        "examples that withstood this attack: it stops too early, steps too far, "
        "follows another network, or returns another image than the worst it saw.",
    ),
    Cause(
        "stops early",
        lambda e: not signs.varies(e) and signs.surely(e.lost_to_more_steps, e.total),
        "More steps fool {e.lost_to_more_steps} of {e.total} examples that withstood "
        "this attack: the robust accuracy is at most {most[lost_to_more_steps]}, not "
        "{share.withstood}. Take more steps, until doubling them changes nothing.",
    ),
    Cause(
        "beaten by another attack",
        lambda e: not signs.varies(e) and signs.surely(e.lost_to_other, e.total),
        "Another attack fools {e.lost_to_other} of {e.total} examples that withstood "
        "this attack: the robust accuracy is at most {most[lost_to_other]}, not "
        "{share.withstood}. If that one needs no gradient of this network, the "
        "gradient misleads; else report the worst of both.",
    ),
    Cause(
        "gradients mislead",
        lambda e: not signs.varies(e) and signs.surely(e.only_blind, e.total),
        "{e.only_blind} of {e.total} examples withstood every attack that follows "
        "gradients, and random search fools them: others may have withstood only for "
        "want of queries. Something in the model has no useful gradient; attack it "
        "through a smooth replacement.",
    ),
    Cause(
        "misses what was planted",
        lambda e: not signs.varies(e) and signs.unfound(e),
        "Of {e.planted} adversarial examples that are known to be in the balls of a "
        "changed network, the attack found {e.found} (an active test): that an image "
        "withstands it says little.",
    ),
    Cause(
        "survives any epsilon",
        signs.survives,
        "At {e.norm} radius {e.large_epsilon:g} every image can become mid-grey, "
        "which has one class, but {share.large_withstood} withstood (the commonest "
        "class has {share.commonest}): the attack fails.",
    ),
)
