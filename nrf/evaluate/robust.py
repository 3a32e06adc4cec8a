"""The robust accuracy of any network, in one call and with its evidence.

    print(evaluate.robust_accuracy(apply, params, x, y, attacks.l2(0.5)))

`apply(params, x)` may return logits [B, K], so that any network will do: a function of
one's own, or a `Model` from `nrf.models`, whose adapters take modules of Flax.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from nrf import attacks, devices, losses
from nrf.evaluate import sequence
from nrf.evaluate.accuracy import Score, checked
from nrf.evaluate.checks import make_checks
from nrf.evaluate.evidence import gather
from nrf.evaluate.findings import BELIEVABLE, Evidence
from nrf.types import (
    KEYS,
    Apply,
    Attack,
    Dataset,
    Images,
    Key,
    Model,
    Network,
    Params,
    check_dataset,
    check_images,
    check_key,
)

_BALLS = {"linf": attacks.linf, "l2": attacks.l2, "l1": attacks.l1}
_BATCH = 500  # Images at once, where nothing else is asked for.
# Of the attacks that are tried on what withstood a given one.
_STEPS, _QUERIES = 100, 1000


class RobustAccuracy(NamedTuple):
    """How many examples withstood an attack, and whether that can be believed.

    `print` shows it in two lines.
    """

    score: Score  # Right without attack and under it.
    attack: str  # Its name.
    evidence: Evidence
    # By component of AutoAttack, in order, "clean" first: the examples that withstood
    # it and all before it. Empty for a given attack.
    components: dict[str, Score]
    withstood: np.ndarray  # [N] bool: the examples that the score counts.

    @property
    def accuracy(self) -> float:
        return self.score.accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return self.score.interval

    @property
    def n(self) -> int:
        """How many examples it is of."""
        return self.score.total

    @property
    def verdict(self) -> str:
        """BELIEVABLE, or the names of what is wrong."""
        return self.evidence.verdict

    def __str__(self) -> str:
        evidence = self.evidence
        low, high = self.interval
        numbers = (
            f"Robust accuracy {100 * self.accuracy:.1f} % (95 % interval "
            f"{100 * low:.1f} to {100 * high:.1f} %, n = {self.n}) under "
            f"{self.attack} with {evidence.norm} epsilon {evidence.epsilon:g}; "
            f"{100 * evidence.correct / evidence.total:.1f} % without attack."
        )
        if self.verdict == BELIEVABLE:
            words = ["Believable: all checks passed."]
        else:
            words = [f"Not believable: {self.verdict}. See evidence.findings."]
        return " ".join([f"{numbers}\n{words[0]}", *evidence.remarks])


def robust_accuracy(
    apply: Callable[[Params, Images], Any] | Model | Network,
    params: Params,
    x: Any,
    y: Any,
    threat: attacks.Threat,
    *,
    attack: Attack | None = None,
    key: Key | None = None,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
    shards: devices.Shards | None = None,
    thorough: bool = True,
) -> RobustAccuracy:
    """The share of images that a network gets right whatever the attack does.

    Every call compiles anew. For many radii or many networks of one architecture,
    `sequence.make_programs` and `make_checks` are compiled once.

    Args:
      apply: apply(params, x) -> logits [B, K] or an Output, as the network is
        evaluated (BatchNorm with running statistics); or a Model, or a Network, whose
        own parameters are taken where `params` is None.
      params: Any pytree of arrays.
      x: [N, H, W, C] images in [0, 1], in NumPy or JAX.
      y: [N] integer labels in 0 .. K - 1.
      threat: The ball, such as attacks.l2(0.5) or attacks.linf(8 / 255).
      attack: attack(keys, params, x, y) -> x_adv, within that ball; by default
        AutoAttack's standard version (https://arxiv.org/abs/2003.01690).
      key: Of all random starts; jax.random.key(0) by default.
      batch_size: Images at once, at least 2; by default 500, or fewer if there are.
      mesh: The devices, from `devices.make_mesh`; all of them by default.
      shards: What is kept of an interrupted call; see `devices.map_examples`.
      thorough: Attack what withstood once more. After AutoAttack by Auto-PGD with twice
        the steps, and with a radius that no network withstands, and an active test of
        Auto-PGD; after a given attack by Auto-PGD and by Square, so that a weak one is
        noticed.

    Raises:
      ValueError: bad images or labels, another number of labels than of images, labels
        for which the network has no logit, a threat without a ball, a bad batch size.
    """
    apply, params = _function(apply, params)
    if not isinstance(threat, attacks.Threat) or threat.norm is None:
        raise ValueError(
            "a robust accuracy needs a ball such as attacks.l2(0.5), "
            f"attacks.linf(8 / 255) or attacks.l1(12), got {_shown(threat)}."
        )
    dataset = _dataset(apply, params, x, y)
    key = jax.random.key(0, impl=KEYS) if key is None else key
    check_key(key)
    on: dict[str, Any] = {
        "epsilon": float(threat.epsilon),
        "batch_size": _batch_size(batch_size, len(dataset.labels)),
        "mesh": mesh,
        "shards": shards,
    }
    if attack is None:
        measure = functools.partial(_by_autoattack, apply, _BALLS[threat.norm])
    else:
        measure = functools.partial(_by_one, apply, _BALLS[threat.norm], attack)
    return measure(key, params, dataset, thorough, on)


def _by_autoattack(apply, ball, key, params, dataset, thorough, on) -> RobustAccuracy:
    components = attacks.autoattack(apply, ball, dataset.num_classes)
    programs = sequence.make_programs(apply, components)
    key_attack, key_evidence = jax.random.split(key)
    result = sequence.run(key_attack, programs, params, dataset, **on)

    def auto_pgd(apply, steps=_STEPS):
        loss = losses.cross_entropy(apply)
        return lambda epsilon: attacks.apgd(
            loss, ball(epsilon), steps=steps, random_start=True
        )

    checks = make_checks(
        apply,
        losses.cross_entropy(apply),
        ball,
        more_steps=auto_pgd(apply, 2 * _STEPS),
        attack_on=auto_pgd,
    )
    evidence, _ = gather(
        key_evidence,
        checks,
        params,
        dataset,
        made=result.images,
        thorough=thorough,
        **on,
    )
    names = [program.component.name for program in programs]
    by_square = int(np.sum(result.broken_by == names.index("square")))
    scores = sequence.score(result, programs)
    return RobustAccuracy(
        score=scores[names[-1]],
        attack="AutoAttack",
        evidence=evidence._replace(only_blind=by_square),
        components=scores,
        withstood=result.broken_by < 0,
    )


def _by_one(apply, ball, attack, key, params, dataset, thorough, on) -> RobustAccuracy:
    def other(epsilon):
        """Along gradients without a step size, and without gradients."""
        margin = losses.margin(apply)
        loss = losses.cross_entropy(apply)
        along = attacks.apgd(loss, ball(epsilon), steps=_STEPS, random_start=True)
        blind = attacks.square(margin, ball(epsilon), queries=_QUERIES)
        return attacks.worst_case([along, blind], margin)

    checks = make_checks(
        apply,
        losses.cross_entropy(apply),
        ball,
        lambda epsilon: attack,
        other=other,
        any_radius=False,
    )
    evidence, withstood = gather(key, checks, params, dataset, thorough=thorough, **on)
    score = Score(evidence.withstood, evidence.total)
    return RobustAccuracy(score, _name(attack), evidence, {}, withstood)


def _function(apply: Any, params: Params) -> tuple[Apply, Params]:
    """A function that returns an Output, and its parameters."""
    if isinstance(apply, Network):
        model, own = apply
        apply, params = model.apply, own if params is None else params
    elif isinstance(apply, Model):
        apply = apply.apply
    if not callable(apply):
        raise ValueError(
            "apply must be a function (params, x) -> logits, a Model or a Network, got "
            f"{_shown(apply)}; for a Flax module write models.linen(module)."
        )
    return checked(apply), params


def _dataset(apply: Apply, params: Params, x: Any, y: Any) -> Dataset:
    """The examples in float32 on the host, with a class for each logit."""
    images, labels = np.asarray(x), np.asarray(y)
    check_images(images)
    images = images.astype(np.float32)
    logits = jax.eval_shape(apply, params, images[:2]).logits
    names = tuple(str(k) for k in range(logits.shape[1]))
    dataset = Dataset(images, labels, names)
    check_dataset(dataset)
    return dataset._replace(labels=labels.astype(np.int32))


def _batch_size(asked: int | None, total: int) -> int:
    """What is asked for; or as many as there are, up to `_BATCH`."""
    if asked is None:
        return max(2, min(_BATCH, total))
    if asked < 2:  # Refused by `gather` too, but after an hour of attacks.
        raise ValueError(f"batch_size must be at least 2, got {asked}.")
    return asked


def _name(attack: Attack) -> str:
    """The attack's name, where it has one of its own."""
    function: Any = attack.func if isinstance(attack, functools.partial) else attack
    name = getattr(function, "__name__", type(function).__name__)
    # Those that nrf.attacks makes are all called so.
    return "the given attack" if name in ("attack", "<lambda>") else name


def _shown(value: Any) -> str:
    """What a value is, in a few words for a message."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"
