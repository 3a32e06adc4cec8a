"""Certificates: a robust accuracy with all that others need to measure it again.

    certificate = verify.certify(network, test, attacks.l2(0.5), images=200)
    write("robust.json", certificate)  # And `read`, of `nrf.experiments.certificate`.
    print(verify.check(certificate, network, test))

It has digests of the weights and of the images, the attack, counts with their intervals
and by image, the evidence, and by which code, where and when it was made.
"""

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from nrf import attacks, devices, evaluate
from nrf.config.parts import evenly_spaced
from nrf.evaluate import RobustAccuracy, statistics
from nrf.experiments.certificate import (
    Certificate,
    Comparison,
    check_whole,
    compare_counts,
    compare_digests,
    seal,
)
from nrf.runs import key_for, manifest
from nrf.runs.provenance import describe, origin
from nrf.types import Dataset, Model, Network, Params, check_dataset

Subject = Network | Model | Callable[[Params, Any], Any]

THREATS = {"linf": attacks.linf, "l2": attacks.l2, "l1": attacks.l1}
_OPEN = (
    "Another attack, or a longer one, may fool more of these images: the count is an "
    "upper bound, and no proof. Nothing is said of other images, norms or radii."
)
_UNSEEN = (
    "The network was given no parameters; those that its function reads from elsewhere "
    "have no digest."
)


def certify(
    network: Subject,
    test: Dataset,
    threat: attacks.Threat,
    *,
    params: Params = None,
    images: int | None = None,
    seed: int = 0,
    thorough: bool = True,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
    source: Mapping[str, Any] | None = None,
) -> Certificate:
    """AutoAttack's robust accuracy of a network, and what it was measured of.

    That of `evaluate.robust_accuracy` with key=key_for(seed, "certificate"), and with
    products of float32 numbers as exact as these, whatever the device.

    Args:
      network: As there, with `params`; a function needs {} where it has none.
      test: Images in [0, 1] with their labels.
      threat: The ball, such as attacks.l2(0.5).
      images: How many of them, evenly spaced; all by default.
      seed: Of all random numbers, 0 .. 2³² − 1.
      thorough: As there; what the evidence then leaves open is said.
      batch_size, mesh: As there.
      source: By which names others find network and images, as JSON.

    Raises:
      ValueError: before any attack, as `evaluate.robust_accuracy`; for a bad seed, more
        images than there are, and settings of JAX that draw other random numbers.
    """
    devices.check_settings()
    key = key_for(seed, "certificate")
    chosen = _chosen(test, len(test.labels) if images is None else images)
    with jax.default_matmul_precision("float32"):
        result = evaluate.robust_accuracy(
            network,
            params,
            chosen.images,
            chosen.labels,
            threat,
            key=key,
            thorough=thorough,
            batch_size=batch_size,
            mesh=mesh,
        )
        made_by = origin()
    subject = _digests(network, params, chosen)
    return seal(
        {
            **_said(result, subject),
            **subject,
            "attack": {
                **_attack(result),
                "norm": threat.norm,
                "epsilon": float(threat.epsilon),
                "seed": seed,
                "thorough": thorough,
            },
            **_counts(result),
            "source": {**(source or {}), "available_images": len(test.labels)},
            **made_by,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def check(
    certificate: Certificate,
    network: Subject,
    test: Dataset,
    *,
    params: Params = None,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> Comparison:
    """Measures again what a certificate says, of this network and these images.

    Nothing is attacked where weights, code or images are others.

    Args:
      test: The set that the certified images were chosen from, or these alone.
      network, params, batch_size, mesh: As in `certify`.

    Raises:
      ValueError: it is no certificate, was changed, or has another layout; as
        `certify`.
    """
    check_whole(certificate, "this")
    said = certificate["attack"]
    chosen = _chosen(test, min(certificate["images"]["count"], len(test.labels)))
    compared = compare_digests(certificate, _digests(network, params, chosen))
    if not compared.holds:
        return compared
    made = certify(
        network,
        chosen,
        THREATS[said["norm"]](said["epsilon"]),
        params=params,
        seed=said["seed"],
        thorough=said["thorough"],
        batch_size=batch_size,
        mesh=mesh,
    )
    return compare_counts(compared, certificate, made)


def _chosen(test: Dataset, count: int) -> Dataset:
    """So many images, evenly spaced, as they are attacked."""
    check_dataset(test)
    total = len(test.labels)
    if not 1 <= count <= total:
        raise ValueError(f"images must be in 1 .. {total}, all there are, got {count}.")
    rows = evenly_spaced(count, total)
    images, labels = test.images[rows], test.labels[rows]
    return Dataset(images.astype(np.float32), labels.astype(np.int32), test.names)


def _digests(network: Subject, params: Params, chosen: Dataset) -> dict[str, Any]:
    """What a certificate is of: weights, code and images."""
    apply: Any = network
    if isinstance(network, Network):
        apply, params = network.model, network.params if params is None else params
    if isinstance(apply, Model):
        apply = apply.apply
    described = describe(apply)
    return {
        "weights": weights_digest(params),
        # Captured arrays may be the weights: too much to be said in full.
        "code": {
            **{k: v for k, v in described.items() if k in ("function", "source")},
            "sha256": manifest.content(described),
        },
        "images": {
            "sha256": manifest.content(chosen.images),
            "labels_sha256": manifest.content(chosen.labels),
            "count": len(chosen.labels),
            "shape": list(chosen.images.shape[1:]),
            "classes": list(chosen.names),
        },
    }


def weights_digest(params: Params) -> dict[str, Any]:
    """The SHA-256 of all parameters, and how many numbers they are."""
    leaves = {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    return {
        "sha256": manifest.content(leaves),
        "numbers": sum(leaf.size for leaf in leaves.values()),
    }


def _said(result: RobustAccuracy, subject: Mapping[str, Any]) -> dict[str, Any]:
    """What the certificate claims, what it leaves open, and why it may be believed."""
    e = result.evidence
    believed = "" if result.verdict == evaluate.BELIEVABLE else " (not to be believed)"
    unseen = [] if subject["weights"]["numbers"] else [_UNSEEN]
    return {
        "claims": (
            f"Of {e.total} images {result.score.correct} are classified rightly and "
            f"withstand {result.attack} within {e.norm} {e.epsilon:g}{believed}; "
            f"without attack {e.correct} are right."
        ),
        "leaves_open": [_OPEN, *unseen, *e.remarks],
        "findings": {finding.name: finding.sentence for finding in e.findings},
        "evidence": e.as_dict(),
    }


def _attack(result: RobustAccuracy) -> dict[str, Any]:
    """The attack's name, and the published settings that are its defaults."""
    options = inspect.signature(attacks.autoattack).parameters.values()
    settings = {o.name: o.default for o in options if o.default is not o.empty}
    return {"name": result.attack, "components": list(result.components), **settings}


def _counts(result: RobustAccuracy) -> dict[str, Any]:
    """How many withstood each component and all before it, and which withstood all."""
    clean = result.components["clean"]
    return {
        "counts": {
            "total": result.n,
            "withstood": result.score.correct,
            "components": {k: v.correct for k, v in result.components.items()},
        },
        "intervals": {
            "method": "Wilson, 95 %, over images",
            "clean": clean.interval,
            "withstood": result.interval,
        },
        "right": statistics.pack(result.withstood),
    }
