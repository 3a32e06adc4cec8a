"""The least and the most of features in reach: by PGD, certified, or exactly."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import attacks, devices, losses
from nrf.config import Norm
from nrf.features.certify import Certificate, certify
from nrf.features.estimate import Array, Extremes, check_epsilon
from nrf.types import Images, Key, Loss, Output, Params, check_images, outputs

# features(params, x) -> [B, D], examples independent of each other.
Features = Callable[[Params, Images], jax.Array]


class Probe(NamedTuple):
    """Compiled functions that measure features; they serve all radii and parameters."""

    norm: Norm
    values: Callable[..., jax.Array]  # (params, x) -> [B, D]
    # (key, params, epsilon, units [F], indices [B], x) -> [B, F] each
    extremes: Callable[..., Extremes]
    # (key, params, epsilon, indices [B], x) -> [B], the farthest that all features go
    farthest: Callable[..., jax.Array]
    bounds: Callable[..., Extremes] | None  # (params, epsilon, x) -> [B, D] each
    certificate: Certificate | None


def representation(apply: Callable[[Params, Images], Any]) -> Features:
    """The paper's g(x): all units of the representation layer.

    Of a network that returns plain logits, these are its features.
    """
    whole = outputs(apply)
    return lambda params, x: whole(params, x).features


def linear(a: Array, x: Array) -> Array:
    """Features aᵀx, with the matrix a [D, H·W·C] for parameters."""
    return x.reshape(len(x), -1) @ a.T


def linear_extremes(a: Array, x: Array, epsilon: float, norm: Norm) -> Extremes:
    """Of `linear` features exactly: aᵀx ∓ ε ‖a‖∗, with ‖·‖∗ the dual norm.

    These make gamma = rho − ε ‖a‖∗ / std, for a of either sign (Goh's response to the
    paper, https://distill.pub/2019/advex-bugs-discussion/response-3/). As there, pixels
    may leave [0, 1].

    Raises:
      ValueError: bad epsilon or norm.
    """
    check_epsilon(epsilon, norm)
    values = linear(a, x)
    order = 2 if norm == "l2" else 1
    reach = epsilon * jnp.linalg.norm(a, order, axis=1)[None]
    return Extremes(values - reach, values + reach)


def make_probe(
    features: Features,
    norm: Norm,
    *,
    steps: int,
    step_size: float,
    random_start: bool = False,
    restarts: int = 1,
    certificate: Certificate | None = None,
) -> Probe:
    """What it takes to measure `features`, compiled when first used.

    Args:
      features: As above. A unit whose last ReLU is off has no gradient, and PGD no way
        to raise it: of a model made with `identity_relu=True`, it has.
      norm: Of the perturbations; "l2" or "linf".
      steps, random_start, restarts: Of PGD, which keeps the best image it visits.
      step_size: In units of epsilon.
      certificate: "linear", "intervals" or None; see `nrf.features.certify`.

    Raises:
      ValueError: a bad norm, certificate or option of PGD.
    """
    check_epsilon(0, norm)
    if certificate not in ("linear", "intervals", None):
        raise ValueError(
            f"certificate must be 'linear', 'intervals' or None, got {certificate!r}."
        )
    if not step_size > 0:
        raise ValueError(f"step_size must be positive, got {step_size}.")

    def attack(loss, epsilon, random_start):
        return attacks.pgd(
            loss,
            attacks.l2(epsilon) if norm == "l2" else attacks.linf(epsilon),
            steps=steps,
            step_size=epsilon * step_size,
            random_start=random_start,
            restarts=restarts,
            keep_best=True,
        )

    # Bad options are refused here, and not when the probe is first used.
    attack(_one_unit(features), 1.0, random_start)
    bounds = jax.jit(certify(features, norm, certificate)) if certificate else None
    return Probe(
        norm,
        jax.jit(features),
        jax.jit(_make_extremes(features, attack, random_start)),
        jax.jit(_make_farthest(features, attack)),
        bounds,
        certificate,
    )


def _one_unit(features: Features) -> Loss:
    """Of each image one feature times a sign: y is (units [B], signs [B])."""

    def loss(params, x, y):
        unit, sign = y
        values = features(params, x)
        return sign * jnp.take_along_axis(values, unit[:, None], axis=1)[:, 0]

    return loss


def _make_extremes(features: Features, attack: Callable, random_start: bool):
    """`Probe.extremes`; attack(loss, epsilon, random_start) makes an attack."""
    one_unit = _one_unit(features)

    def extremes(key, params, epsilon, units, indices, x):
        b, f = len(x), len(units)
        clean = features(params, x)[:, units]
        # Copies of every image: F that descend one feature each, then F that climb.
        unit = jnp.tile(units, 2 * b)
        sign = jnp.tile(jnp.repeat(jnp.array([-1, 1], x.dtype), f), b)
        # A random start depends on example, feature and direction, not on what else is
        # attacked in the same call.
        fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
        codes = jnp.concatenate([2 * units, 2 * units + 1])
        keys = fold(attacks.example_keys(key, indices), codes).reshape(-1)
        y = unit, sign
        images = jnp.repeat(x, 2 * f, axis=0)
        x_adv = attack(one_unit, epsilon, random_start)(keys, params, images, y)
        ends = (sign * one_unit(params, x_adv, y)).reshape(b, 2, f)
        # The image itself is in reach too, and a random start may not come back to it.
        return Extremes(jnp.minimum(ends[:, 0], clean), jnp.maximum(ends[:, 1], clean))

    return extremes


def _make_farthest(features: Features, attack: Callable):
    """`Probe.farthest`; attack(loss, epsilon, random_start) makes an attack."""

    def as_output(params, x):
        values = features(params, x)
        return Output(values, values)

    def farthest(key, params, epsilon, indices, x):
        loss = losses.feature_distance(as_output)
        keys = attacks.example_keys(key, indices)
        clean = features(params, x)
        # At x itself the distance is least and has no slope: a start elsewhere.
        x_adv = attack(loss, epsilon, True)(keys, params, x, clean)
        return loss(params, x_adv, clean)

    return farthest


def attacked_extremes(
    key: Key,
    probe: Probe,
    params: Params,
    images: np.ndarray,
    *,
    epsilon: float,
    units: np.ndarray,
    batch_size: int,
    chunk: int,
    mesh: Mesh | None = None,
    tick: Callable[[int], None] = lambda examples: None,
    shards: devices.Shards | None = None,
) -> Extremes:
    """The extremes [N, F] of the features numbered `units` [F] that PGD reaches.

    Each feature of each image is attacked by itself, down and up. At most
    2 batch_size · chunk · restarts images are in memory at once. Random starts depend
    on `key`, example and feature, and nothing but rounding on batch_size, chunk or
    mesh (all devices by default). `tick` is called with the number of newly finished
    examples, each once for every chunk of features.

    Raises:
      ValueError: bad images, epsilon or chunk.
    """
    check_images(images)
    check_epsilon(epsilon, probe.norm)
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}.")
    mesh = devices.own(mesh or devices.make_mesh())
    key, params = devices.copy(mesh, (key, params))
    indices, radius = np.arange(len(images)), jnp.float32(epsilon)
    parts = []
    for start in range(0, len(units), chunk):
        # The last chunk is filled up, so that one program serves all.
        those = np.minimum(np.arange(start, start + chunk), len(units) - 1)
        numbers = jnp.asarray(units[those], jnp.int32)
        part = devices.map_examples(
            lambda *batch: probe.extremes(key, params, radius, numbers, *batch),  # noqa: B023
            (indices, images),
            batch_size=batch_size,
            mesh=mesh,
            tick=tick,
            shards=shards,
        )
        parts.append([a[:, : len(units) - start] for a in part])
    return Extremes(*(np.concatenate(a, axis=1) for a in zip(*parts, strict=True)))


def certified_extremes(
    probe: Probe,
    params: Params,
    images: np.ndarray,
    *,
    epsilon: float,
    mesh: Mesh | None = None,
    shards: devices.Shards | None = None,
) -> Extremes:
    """Bounds [N, D] of the extremes of all features; see `nrf.features.certify`.

    As many images at once as make 256 with their linear bounds, and one at least.

    Raises:
      ValueError: bad images or epsilon, or the probe has no certificate.
    """
    check_images(images)
    check_epsilon(epsilon, probe.norm)
    if probe.bounds is None:
        raise ValueError("this probe was made without a certificate.")
    mesh = devices.own(mesh or devices.make_mesh())
    bounds, params = probe.bounds, devices.copy(mesh, params)
    rows = 1 + images[0].size if probe.certificate == "linear" else 1
    return devices.map_examples(
        lambda x: bounds(params, jnp.float32(epsilon), x),
        (images,),
        batch_size=mesh.size * max(1, 256 // rows),
        mesh=mesh,
        shards=shards,
    )
