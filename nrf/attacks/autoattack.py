"""Several attacks as one: the worst for every example, and AutoAttack's four.

    loss = losses.margin(model.apply)
    attack = attacks.worst_case([first, second], loss)

`nrf.evaluate.sequence` runs a sequence of attacks over a data set, each only on the
examples that withstood those before.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nrf import losses
from nrf.attacks.apgd import apgd
from nrf.attacks.fab import fab
from nrf.attacks.inputs import (
    batch_images,
    batch_keys,
    check_count,
    fold_each,
    two_values,
)
from nrf.attacks.pgd import Ranked, better, choose, rank
from nrf.attacks.square import square
from nrf.attacks.threat import Threat
from nrf.types import Apply, Attack, Images, Labels, Loss, outputs


class Component(NamedTuple):
    """One attack of a sequence: `rounds` of it, as a function of radius and round.

    Both may be traced, so that one compiled program serves all radii and rounds.
    """

    name: str
    attack_at: Callable[[float | jax.Array, int | jax.Array], Attack]
    rounds: int = 1


def worst_case(attacks: Sequence[Attack], judge: Loss) -> Attack:
    """All attacks on every example: the first that makes `judge` positive is kept.

    Where none does, the image with the highest value is returned, which may be x. NaN
    is the lowest, but where it is said of x itself: the network is wrong about it.
    """

    def attack(keys, params, x, y):
        x = batch_images(x, y)
        keys = batch_keys(keys, x)
        best = _start(x, judge(params, x, y))
        for number, one in enumerate(attacks):
            x_adv = one(fold_each(keys, number), params, x, y)
            best = _unless_broken(best, x_adv, judge(params, x_adv, y))
        return jax.lax.stop_gradient(best.x)

    return attack


def likeliest(logits: jax.Array, y: Labels, rank: int | jax.Array) -> Labels:
    """[B] the class of the `rank`-th highest logit among those that are not y.

    Rank 0 is the likeliest wrong class; ties go to the smaller class.
    """
    own = jnp.arange(logits.shape[-1])[None] == y[:, None]
    order = jnp.argsort(jnp.where(own, jnp.inf, -logits), axis=-1, stable=True)
    return jnp.take(order, rank, axis=1).astype(y.dtype)


def towards(apply: Apply, attack: Attack, rank: int | jax.Array) -> Attack:
    """The targeted attack, whose third argument is (t, y), as an attack on labels y.

    The target t is the `likeliest` wrong class of that rank at x; `rank` may be traced.
    """

    apply = outputs(apply)

    def untargeted(keys, params, x, y):
        x = batch_images(x, y)
        targets = likeliest(apply(params, x).logits, y, rank)
        return attack(keys, params, x, (targets, y))

    return untargeted


def targeted(apply: Apply, attack: Attack, *, targets: int) -> Attack:
    """The targeted attack on each of the likeliest wrong classes, the worst kept.

    Args:
      attack: Its third argument is (t, y).
      targets: How many classes, at least 1 and less than there are.

    Raises:
      ValueError: no targets; when called, more than the wrong classes.
    """
    check_count("targets", targets)
    apply, margin = outputs(apply), losses.margin(apply)

    def untargeted(keys, params, x, y):
        x = batch_images(x, y)
        keys = batch_keys(keys, x)
        logits = apply(params, x).logits
        if targets >= logits.shape[-1]:
            raise ValueError(
                f"{targets} targets need more than {targets} classes, and the network "
                f"has {logits.shape[-1]}."
            )

        def one(best, rank):
            own = fold_each(keys, rank)
            x_adv = attack(own, params, x, (likeliest(logits, y, rank), y))
            return _unless_broken(best, x_adv, margin(params, x_adv, y)), None

        best = _start(x, margin(params, x, y))
        best, _ = jax.lax.scan(one, best, jnp.arange(targets))
        return jax.lax.stop_gradient(best.x)

    return untargeted


def autoattack(
    apply: Apply,
    threat: Callable[[float | jax.Array], Threat],
    num_classes: int,
    *,
    steps: int = 100,
    targets: int = 9,
    queries: int = 5000,
) -> tuple[Component, ...]:
    """AutoAttack's standard version (https://arxiv.org/abs/2003.01690), section 5.

    Auto-PGD on the cross-entropy, Auto-PGD on the targeted DLR loss, targeted FAB and
    Square, in this order, each with one random start where it has any. In l1 Auto-PGD
    begins in wider balls (https://arxiv.org/abs/2103.01208); it has five starts on the
    cross-entropy, and five targets. Every start and every target is a round of
    its component. With fewer than four classes the DLR loss is a difference
    of logits, and with fewer than ten there are as many targets as wrong classes.

    Args:
      threat: Of the radius: `linf`, `l2` or `l1`.
      num_classes: K, at least 2.
      steps, targets, queries: The published ones; smaller ones are weaker.

    Raises:
      ValueError: fewer than two classes; targets, steps or queries below 1.
    """
    check_count("num_classes", num_classes, least=2)
    check_count("targets", targets)
    wide = threat(1.0).norm == "l1"
    rounds = min(targets, num_classes - 1)
    cross_entropy_at, dlr_at = _auto_pgd(apply, threat, steps, wide)
    fab_at, square_at = _others(apply, threat, steps, queries)
    components = (
        Component("apgd-ce", cross_entropy_at, 5 if wide else 1),
        Component("apgd-t", dlr_at, min(rounds, 5) if wide else rounds),
        Component("fab-t", fab_at, rounds),
        Component("square", square_at),
    )
    for component in components:
        # Built once, so that bad options are refused here and not in a program.
        component.attack_at(0.5, 0)
    return components


def _auto_pgd(apply, threat, steps, wide):
    """Both Auto-PGDs, as functions of radius and round."""

    def auto_pgd(loss, epsilon):
        return apgd(
            loss(apply),
            threat(epsilon),
            steps=steps,
            random_start=True,
            wider=[threat(times * epsilon) for times in (3, 2)] if wide else (),
        )

    def cross_entropy_at(epsilon, _):
        return auto_pgd(losses.cross_entropy, epsilon)

    def dlr_at(epsilon, rank):
        return towards(apply, auto_pgd(losses.targeted_dlr, epsilon), rank)

    return cross_entropy_at, dlr_at


def _others(apply, threat, steps, queries):
    """FAB and Square, as functions of radius and round."""

    def fab_at(epsilon, rank):
        loss = losses.judged(apply, losses.targeted_margin, losses.margin)
        return towards(apply, fab(loss, threat(epsilon), steps=steps), rank)

    def square_at(epsilon, _):
        # As published: the squares shrink as in a search of 10,000 queries.
        return square(
            losses.margin(apply),
            threat(epsilon),
            queries=queries,
            schedule=max(queries, 10_000),
        )

    return fab_at, square_at


def _start(x: Images, values: jax.Array) -> Ranked:
    """The images x to begin with; a network that says NaN of one is wrong about it."""
    start = rank(x, two_values(values, x))
    return start._replace(fools=start.fools | jnp.isnan(values))


def _unless_broken(best: Ranked, x_adv: Images, values: jax.Array) -> Ranked:
    """The better image, but what is wrong already stays: it would be dropped."""
    other = rank(x_adv, two_values(values, x_adv))
    return choose(best.fools, best, better(best, other))
