"""What the checks say of every case: one compiled program for nearly all of them."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp

from failures import Case, networks
from failures.attacks import LOSSES, attack_at, chosen, endings, runs
from nrf import attacks, devices, evaluate, losses
from nrf.evaluate import Evidence

_map_examples = devices.map_examples
STEPS, QUERIES = 10, 60


@functools.cache
def checks() -> evaluate.Checks:
    apply = networks.apply
    return evaluate.make_checks(
        apply,
        chosen(apply, "told"),
        attacks.l2,
        more_steps=attack_at(apply, 4 * STEPS),
        other=lambda epsilon: attacks.square(
            losses.margin(apply), attacks.l2(epsilon), queries=QUERIES
        ),
        attack_on=lambda changed: attack_at(changed, STEPS),
    )


def parameters(case: Case) -> dict:
    def place(of, name):
        return jnp.int32(list(of).index(name))

    return {
        "weights": networks.weights(case.network),
        "seen": networks.weights(case.seen or case.network),
        "images": place(networks.IMAGES, case.images),
        "logits": place(networks.LOGITS, case.logits),
        "precision": place(networks.PRECISION, case.precision),
        "run": place(runs(networks.apply, 1.0, 10), case.run),
        "ending": place(endings(networks.apply, 1.0), case.ending),
        "loss": place(LOSSES, case.loss),
        "told": place(LOSSES, case.loss if case.known else "cross_entropy"),
        "radius": jnp.float32(case.radius),
        "crossings": jnp.float32(case.crossings),
    }


@functools.cache
def measured(case: Case) -> Evidence:
    """The evidence of a case, of the thorough check."""
    known = case.known and case.ending == "as found"
    with jax.debug_nans(False), mock.patch.object(devices, "map_examples", _at_once):
        return evaluate.gather(
            jax.random.key(0),
            checks()._replace(crossings=case.crossings if known else None),
            parameters(case),
            networks.dataset(case.data),
            epsilon=case.epsilon,
            batch_size=networks.COUNT,
            mesh=devices.make_mesh(1),
            thorough=True,
        ).evidence


def quick(evidence: Evidence) -> Evidence:
    """What the quick check would have collected of it."""
    fields = "large_epsilon large_withstood lost_to_more_steps lost_to_other planted"
    return evidence._replace(found=None, **dict.fromkeys(fields.split()))


def _at_once(*arguments, pack=False, **options):
    """Without a smaller batch for what is left: half as much to compile."""
    return _map_examples(*arguments, **options)


def names(evidence: Evidence) -> set[str]:
    return {finding.name for finding in evidence.findings}
