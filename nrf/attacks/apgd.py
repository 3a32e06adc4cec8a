"""Auto-PGD: gradient ascent that chooses its own step sizes.

    loss = losses.dlr(model.apply)
    attack = jax.jit(attacks.apgd(loss, attacks.linf(8 / 255), steps=100))

https://arxiv.org/abs/2003.01690, algorithm 1; in l1 https://arxiv.org/abs/2103.01208.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf.attacks.inputs import check_count, flat, judging, make_gradient
from nrf.attacks.pgd import (
    Ranked,
    better,
    check_restarts,
    choose,
    rank,
    restarted,
    unranked,
)
from nrf.attacks.threat import Threat, land, sparse_sign
from nrf.losses import Judged
from nrf.types import Attack, Images, Loss

_RHO = 0.75  # The share of steps that have to climb for the step size to be kept.
_WIDER = 0.3  # The share of all steps that are taken in each wider ball.
_ALPHA = 0.75  # The share of the new step in a step; the rest repeats the last one.


class _Point(NamedTuple):
    """Images, and the value and gradient of `loss` there."""

    x: Images
    slope: Images
    value: jax.Array  # [B]


class _Walk(NamedTuple):
    """What one step hands to the next."""

    x_adv: Images
    previous: Images
    value: jax.Array  # [B] of `previous`
    best: _Point
    kept: Ranked  # What is to be returned.
    rule: Any  # _Halving or _Sparsity


def checkpoints(steps: int) -> tuple[int, ...]:
    """The steps after which APGD reconsiders its step size: ⌈p_j steps⌉.

    p₀ = 0, p₁ = 0.22, p_(j+1) = p_j + max(p_j − p_(j−1) − 0.03, 0.06). For 100 steps:
    22, 41, 57, 70, 80, 87, 93, 99.
    """
    # In hundredths, because ⌈ ⌉ of sums of binary fractions would be one off.
    before, p = 0, 22
    steps_after = []
    while p <= 100:
        steps_after.append(-(-p * steps // 100))
        before, p = p, p + max(p - before - 3, 6)
    return tuple(sorted(set(steps_after)))


def apgd(
    loss: Loss | Judged,
    threat: Threat,
    *,
    steps: int,
    random_start: bool = False,
    restarts: int = 1,
    wider: Sequence[Threat] = (),
) -> Attack:
    """Auto-PGD on `loss`, without a step size (https://arxiv.org/abs/2003.01690).

    Steps begin at twice epsilon, with momentum. At `checkpoints` a step size is halved
    if too few of the last steps climbed, or if nothing better was found since the last
    checkpoint with the same step size; the walk then goes on from the best image so
    far. In l1 (https://arxiv.org/abs/2103.01208) steps begin at epsilon, without
    momentum, and move as many pixels as the best image does, over 1.5.

    Args:
      loss: One value per example, to be climbed; the best image visited is returned,
        in the sense of `pgd`.
      threat: The ball: linf, l2 or l1.
      steps: At least 1, in all balls together; `loss` and its gradient are computed
        once more for each ball.
      random_start: Start at a random allowed perturbation instead of at x.
      restarts: Random starts per example, as one batch; needs `random_start`.
      wider: Balls to be searched before, with 30 % of the steps each. The walk goes on
        from the best image there, projected onto the next ball. Published for l1, with
        three and two times the radius.

    Returns:
      attack(keys, params, x, y) -> x_adv, as for `pgd`.

    Raises:
      ValueError: a bad option here; a bad batch when the attack is called.
    """
    check_count("steps", steps)
    check_restarts(random_start, restarts)
    counts = _steps_in_balls(steps, threat, wider)
    balls = *wider, threat
    loss = judging(loss)
    rule: Any = _Sparsity if threat.norm == "l1" else _Halving

    def climb(keys, params, x, y):
        shape, x = x.shape, flat(x)
        gradient = make_gradient(loss, params, y, shape)
        start = jnp.clip(x + balls[0].sample(keys, x), 0, 1) if random_start else x
        lowest = jnp.full_like(x[:, 0, 0, 0], -jnp.inf)
        for number, (ball, count) in enumerate(zip(balls, counts, strict=True)):
            if number:
                start = land(ball, x, start - x)
            best = _Point(start, jnp.zeros_like(x), lowest)
            moved = wider and (number or random_start)
            state = rule.init(ball, x, start if moved else None)
            # Nothing before the start that it could be a rise from.
            walk = _Walk(start, start, -lowest, best, unranked(x), state)
            walk = _all_steps(gradient, ball, x, walk, count)
            start = walk.best.x
        return walk.kept._replace(x=walk.kept.x.reshape(shape))

    return restarted(climb, random_start=random_start, restarts=restarts)


def _steps_in_balls(steps, threat, wider):
    """How many steps are taken in each ball; ValueError if some get none."""
    if threat.norm is None:
        raise ValueError(
            "apgd takes its step size from the radius of a ball: use linf, l2 or l1."
        )
    if any(ball.norm != threat.norm for ball in wider):
        raise ValueError(f"wider balls must have the norm {threat.norm}.")
    first = math.ceil(_WIDER * steps)
    counts = [*[first] * len(wider), steps - first * len(wider)]
    if counts[-1] < 1:
        raise ValueError(
            f"{steps} steps are too few for {len(wider)} wider balls: of {first} steps "
            "in each of them none are left for the ball itself."
        )
    return counts


def _all_steps(gradient, threat, x, walk, count):
    """The walk after `count` steps in one ball, and one look more at the last image."""
    # The steps since the last checkpoint at checkpoints, 0 elsewhere.
    due = np.zeros(count + 1, np.float32)
    at = walk.rule.checkpoints(count)
    due[list(at)] = np.diff(at, prepend=0)
    step = functools.partial(_step, gradient, threat, x)
    walk, _ = jax.lax.scan(step, walk, (np.arange(count + 1), due))
    return walk


def _step(gradient, threat, x, walk, now):
    number, since = now
    slope, values = gradient(walk.x_adv)
    value = values[0]
    here = _Point(walk.x_adv, slope, value)
    kept = better(walk.kept, rank(walk.x_adv, values))
    best = choose(value > walk.best.value, here, walk.best)
    back, rule = walk.rule.update(threat, x, value > walk.value, best, since)
    here = choose(back, best, here)
    to = rule.step(threat, x, here.x, here.slope)
    if isinstance(rule, _Halving):
        # The first step has none before it to repeat.
        alpha = jnp.where(number == 0, 1, _ALPHA).astype(x.dtype)
        d = alpha * (to - here.x) + (1 - alpha) * (here.x - walk.previous)
        to = land(threat, x, here.x - x + d)
    return _Walk(to, here.x, here.value, best, kept, rule), None


class _Halving(NamedTuple):
    """Step sizes in linf and l2."""

    step_size: jax.Array  # [B], as everything here
    rises: jax.Array  # Steps since the last checkpoint that climbed.
    best: jax.Array  # The best value at the last checkpoint.
    halved: jax.Array  # Whether the step size was halved there.

    @staticmethod
    def checkpoints(steps):
        return checkpoints(steps)

    @classmethod
    def init(cls, threat, x, start):
        one = jnp.ones_like(x[:, 0, 0, 0])
        return cls(2 * threat.epsilon * one, 0 * one, -jnp.inf * one, one > 1)

    def update(self, threat, x, rose, best, since):
        """Which examples go back to their best images, and the new state."""
        due = since > 0
        rises = self.rises + rose.astype(self.rises.dtype)
        few = rises < _RHO * since
        unchanged = ~self.halved & (best.value <= self.best)
        back = due & (few | unchanged)
        return back, _Halving(
            jnp.where(back, self.step_size / 2, self.step_size),
            jnp.where(due, 0, rises),
            jnp.where(due, best.value, self.best),
            jnp.where(due, back, self.halved),
        )

    def step(self, threat, x, x_adv, slope):
        size = self.step_size[:, None, None, None]
        return land(threat, x, x_adv - x + size * threat.steepest(slope))


class _Sparsity(NamedTuple):
    """Step sizes in l1, and how many pixels a step moves."""

    step_size: jax.Array  # [B], as everything here
    moved: jax.Array  # Pixels that a step moves.
    active: jax.Array  # Pixels that the best image moved, at the last checkpoint.

    @staticmethod
    def checkpoints(steps):
        return tuple(range(0, steps + 1, max(1, steps // 25)))[1:]

    @classmethod
    def init(cls, threat, x, start):
        """Steps of as many pixels as `start` moves, over 1.5; None: of a fifth."""
        one = jnp.ones_like(x[:, 0, 0, 0])
        if start is None:
            size = math.prod(x.shape[1:])
            return cls(threat.epsilon * one, 0.2 * size * one, size * one)
        active = _active(start, x)
        return cls(threat.epsilon * one, jnp.maximum(active / 1.5, 1), active)

    def update(self, threat, x, rose, best, since):
        """Which examples go back to their best images, and the new state."""
        due = since > 0
        active = _active(best.x, x)
        sparser = active < 0.95 * self.active
        least = jnp.maximum(self.step_size / 1.5, threat.epsilon / 10)
        step_size = jnp.where(sparser, threat.epsilon, least)
        return due & sparser, _Sparsity(
            jnp.where(due, step_size, self.step_size),
            jnp.where(due, jnp.maximum(active / 1.5, 1), self.moved),
            jnp.where(due, active, self.active),
        )

    def step(self, threat, x, x_adv, slope):
        # Pixels at their end of [0, 1] are pushed too, other than in `uphill`: the
        # projection takes from all pixels, and would take from them first.
        step = sparse_sign(slope, self.moved.astype(jnp.int32))
        size = self.step_size[:, None, None, None]
        return land(threat, x, x_adv - x + size * step)


def _active(x_adv, x):
    """[B] how many pixels are moved."""
    return jnp.sum((x_adv != x).astype(x.dtype), (1, 2, 3))
