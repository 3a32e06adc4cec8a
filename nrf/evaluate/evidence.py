"""The evidence of a robust accuracy, collected in the pass that computes it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import devices
from nrf.attacks import Threat
from nrf.evaluate.accuracy import predict_by
from nrf.evaluate.checks import Checks, Observed, compare
from nrf.evaluate.findings import Evidence
from nrf.evaluate.summary import grain, length_of, summary
from nrf.rows import Rows
from nrf.types import (
    Dataset,
    Key,
    Params,
    check_dataset,
)

_PROBES = 16  # Images of the data set that balls are searched for.
_PLANTED = 64  # Images of the active test.


class Gathered(NamedTuple):
    """The evidence of a robust accuracy, and the examples that it counts."""

    evidence: Evidence
    withstood: np.ndarray  # [N] bool: right without attack and under it.


def gather(
    key: Key,
    checks: Checks,
    params: Params,
    dataset: Dataset,
    *,
    epsilon: float,
    batch_size: int,
    mesh: Mesh | None = None,
    thorough: bool = False,
    made: np.ndarray | None = None,
    fooled: np.ndarray | None = None,
    tick: Callable[[int], None] = lambda examples: None,
    shards: devices.Shards | None = None,
) -> Gathered:
    """Runs the attack and all checks on the data set.

    The accuracy is that of `evaluate.score` with the same key. Beyond its attack, this
    takes four gradients and some ten times the logits of every image. The attacks of a
    thorough check are on the examples that withstood, packed into batches anew.

    Args:
      key: Of the attack's random starts; all attacks get the same.
      checks: From `make_checks`.
      params, dataset, epsilon: Network, data and radius that the accuracy is of.
      batch_size: At least 2: an image needs companions that may influence it.
      mesh, shards: As of `evaluate.right`.
      thorough: Attack what withstood once more: with a radius at which any image can
        become grey, with `more_steps`, and with `other`; and run the active test on
        64 images, or all if there are fewer.
      made: [N, H, W, C] what an attack made of the images already; judged instead of
        running the one of `checks`.
      fooled: [N] bool, the examples that some other attack is known to fool.
      tick: Called with the number of examples that an attack has finished, or that
        were left out of it because they did not withstand.

    Raises:
      ValueError: bad images, labels, radius or batch size; arrays of another shape.
    """
    threat = _check(checks, dataset, epsilon, batch_size, made, fooled)
    mesh = devices.own(mesh or devices.make_mesh())
    key, params = devices.copy(mesh, (key, params))
    on = _On(key, checks, params, dataset, epsilon, batch_size, mesh, tick, shards)
    observed, varied, mixed = on.observe(made)
    withstood = np.asarray(observed.withstood)
    left = np.flatnonzero(withstood)
    more = on.again(left, threat) | on.active() if thorough else {}
    if fooled is not None:
        known = int(np.sum(withstood & fooled))
        more["lost_to_other"] = max(more.get("lost_to_other") or 0, known)
    # A pixel is rounded, and its difference; the radius, in sums and roots.
    shape = dataset.images.shape[1:]
    rounding = length_of(threat, shape, 2.0**-23)
    evidence = Evidence(
        norm=str(threat.norm),
        epsilon=float(epsilon),
        rounding=rounding + 1e-5 * float(epsilon),
        grain=grain(threat, shape),
        crossings=None if made is not None else checks.crossings,
        varied=int(varied.sum()),
        mixed=int(mixed.sum()),
        **summary(observed, dataset.labels),
        **more,
    )
    return Gathered(evidence, withstood)


class _On(NamedTuple):
    """One network on one data set: the passes that `gather` makes."""

    key: Key
    checks: Checks
    params: Params
    dataset: Dataset
    epsilon: float
    batch_size: int
    mesh: Mesh
    tick: Callable[[int], None]
    shards: devices.Shards | None

    def observe(self, made: np.ndarray | None) -> tuple[Observed, Any, Any]:
        """All examples, attacked unless `made`; which logits vary, and are mixed."""
        total = len(self.dataset.labels)
        some = np.unique(np.linspace(0, total - 1, _PROBES).round().astype(int))
        probes = self.dataset.images[some], self.dataset.labels[some]
        probes = devices.copy(self.mesh, probes)
        at = self.key, self.params, jnp.float32(self.epsilon)

        def examine(indices, x, y, *x_adv):
            if not x_adv:
                x_adv = [self.checks.attack(*at, indices, x, y)]
            z, *changes = compare(self.checks.logits, self.params, x)
            return self.checks.observe(*at[1:], probes, z, *x_adv, x, y), changes

        arrays: tuple = (np.arange(total), self.dataset.images, self.dataset.labels)
        if made is not None:
            arrays = (*arrays, made)
        observed, (varied, mixed) = self.over(examine, arrays)
        return observed, varied, mixed

    def again(self, left: np.ndarray, threat: Threat) -> dict[str, Any]:
        """What further attacks do to the examples at `left` [L], which withstood."""
        numbers: dict[str, Any] = {}
        if self.checks.any_radius:
            large = length_of(threat, self.dataset.images.shape[1:], 0.5)
            lost = self.lost(self.checks.attack, left, large)
            numbers = {"large_epsilon": large, "large_withstood": len(left) - lost}
        for name, attack in (
            ("lost_to_other", self.checks.other),
            ("lost_to_more_steps", self.checks.more_steps),
        ):
            if attack is not None:
                numbers[name] = self.lost(attack, left, self.epsilon)
        return numbers

    def active(self) -> dict[str, int]:
        """How many adversarial examples were planted, and how many the attack found."""
        if self.checks.active is None:
            return {}
        total = len(self.dataset.labels)
        some = np.unique(np.linspace(0, total - 1, _PLANTED).round().astype(int))
        at = self.key, self.params, jnp.float32(self.epsilon)
        planted, found = self.over(
            partial(self.checks.active, *at),
            (some, self.dataset.images[some], np.zeros(len(some), np.int32)),
            pack=total <= self.batch_size,  # As in `lost`, whose programs these are.
            tick=lambda examples: None,
        )
        return {"planted": int(planted.sum()), "found": int(found.sum())}

    def lost(self, attack: Callable, left: np.ndarray, radius: float) -> int:
        """How many of the examples at `left` [L] the attack fools."""
        total = len(self.dataset.labels)
        self.tick(total - left.size)
        if not left.size:
            return 0

        def predict(*batch):
            x_adv = attack(self.key, self.params, jnp.float32(radius), *batch)
            return predict_by(self.checks.logits, self.params, x_adv)

        labels = self.dataset.labels[left]
        arrays = left, Rows(self.dataset.images, left), labels
        # Of several batches the last is little work, not worth compiling a second size.
        told = self.over(predict, arrays, pack=total <= self.batch_size)
        return int(np.sum(told != labels))

    def over(self, f: Callable, arrays: tuple, **options: Any) -> Any:
        for name in ("batch_size", "mesh", "tick", "shards"):
            options.setdefault(name, getattr(self, name))
        return devices.map_examples(f, arrays, **options)


def _check(checks, dataset, epsilon, batch_size, made, fooled) -> Threat:
    """The ball of that radius, if all arguments of `gather` are valid."""
    check_dataset(dataset)
    if batch_size < 2:
        raise ValueError(
            f"batch_size must be at least 2, got {batch_size}: to see whether an "
            "image's logits depend on its companions takes companions."
        )
    threat = checks.threat_at(epsilon)
    if threat.norm is None:
        raise ValueError("a robust accuracy needs a ball: use linf, l2 or l1.")
    # Built and thrown away: a bad option is told here, with its value.
    checks.attack_at(epsilon)
    total, shape = len(dataset.labels), dataset.images.shape[1:]
    for name, array, expected in (
        ("made", made, (total, *shape)),
        ("fooled", fooled, (total,)),
    ):
        if array is not None and np.shape(array) != expected:
            raise ValueError(
                f"{name} must have shape {expected} for this data set, got "
                f"{np.shape(array)}."
            )
    return threat
