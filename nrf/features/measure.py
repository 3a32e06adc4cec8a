"""All features of a network on a data set: measured and judged."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import devices
from nrf.features.estimate import (
    Array,
    Estimate,
    Extremes,
    check_epsilon,
    constant_units,
    gamma,
    one_against_rest,
    refuse_constant,
    rho,
)
from nrf.features.extremes import Probe, attacked_extremes, certified_extremes
from nrf.types import Dataset, Key, Params, check_images

VERDICTS = (
    "not useful",
    "undecided",
    "useful, not robust",
    "robustly useful by PGD",
    "robustly useful",
)


class Measured(NamedTuple):
    """F features that vary, for K columns of labels (`one_against_rest`)."""

    units: np.ndarray  # [F] the features' numbers.
    constant: np.ndarray  # The numbers of those left out, which do not vary.
    sign: Array  # [F, K]; where −1, all here is of −f.
    rho: Estimate
    gamma_attacked: Estimate  # At least gamma: what PGD reached.
    gamma_certified: Estimate | None  # At most gamma: what is certain.
    verdict: np.ndarray  # [F, K] places in VERDICTS.


def measure(
    key: Key,
    probe: Probe,
    params: Params,
    dataset: Dataset,
    *,
    epsilon: float,
    useful: float = 0.1,
    batch_size: int,
    chunk: int,
    mesh: Mesh | None = None,
    tick: Callable[[int], None] = lambda examples: None,
    shards: devices.Shards | None = None,
) -> Measured:
    """Usefulness and robust usefulness of every feature for every class.

    Features that do not vary, such as dead ReLU units, are left out, and listed.

    Args:
      key: Of PGD's random starts.
      probe: From `make_probe`.
      params: Of its features.
      dataset: D, on whose images features are scaled, correlated and attacked.
      epsilon: Radius of the perturbations; 0 makes gamma equal to rho.
      useful: As of `judge`.
      batch_size, chunk, mesh, tick, shards: As of `attacked_extremes`.

    Raises:
      ValueError: bad images, labels or epsilon; a class without examples; features
        that are all constant, or not finite.
    """
    check_images(dataset.images)
    check_epsilon(epsilon, probe.norm)
    _check_useful(useful)
    y = one_against_rest(dataset.labels, dataset.num_classes)
    values = _values(probe, params, dataset.images, batch_size, mesh, shards)
    constant = constant_units(values)
    units = np.setdiff1d(np.arange(values.shape[1]), constant)
    if not len(units):
        refuse_constant(constant, values.shape[1])
    values = values[:, units]

    usefulness, sign = rho(values, y)
    shared: Any = {"epsilon": epsilon, "mesh": mesh, "shards": shards}
    many: Any = {"batch_size": batch_size, "chunk": chunk, "tick": tick}
    reached = attacked_extremes(
        key, probe, params, dataset.images, units=units, **many, **shared
    )
    upper, lower = gamma(values, reached, y, sign), None
    if probe.bounds is not None:
        bounds = certified_extremes(probe, params, dataset.images, **shared)
        lower = gamma(values, Extremes(*(a[:, units] for a in bounds)), y, sign)
    verdict = judge(usefulness, upper, lower, useful=useful)
    measured = Measured(units, constant, sign, usefulness, upper, lower, verdict)
    return jax.device_get(measured)


def judge(
    rho: Estimate,
    upper: Estimate,
    lower: Estimate | None = None,
    *,
    useful: float = 0.1,
) -> np.ndarray:
    """[D, K] places in VERDICTS, each for one feature at 95 %.

    - not useful: rho's interval ends at `useful` or below.
    - useful, not robust: rho's is above `useful`, and that of gamma after PGD ends at
      0 or below: what PGD reached is no less than gamma.
    - robustly useful: rho's is above `useful`, and that of the certified gamma is
      above 0.
    - robustly useful by PGD: rho's is above `useful`, no certificate says so, but the
      interval of gamma after PGD is above 0: true only if PGD found the worst.
    - undecided: all others: more data, or better attacks or certificates, would tell.

    `useful` stands for the paper's "bounded away from 0": by chance alone, rho of n
    examples of each sign is around 1 / √(2 n), and around 1 / √(4 n) if those are few
    among others.

    Raises:
      ValueError: `useful` is not in 0 .. 1.
    """
    _check_useful(useful)
    verdict = np.full(rho.value.shape, VERDICTS.index("undecided"))
    verdict[np.asarray(rho.high) <= useful] = VERDICTS.index("not useful")
    is_useful = np.asarray(rho.low) > useful

    def give(name, condition):
        verdict[is_useful & np.asarray(condition)] = VERDICTS.index(name)

    give("useful, not robust", upper.high <= 0)
    give("robustly useful by PGD", upper.low > 0)
    if lower is not None:
        give("robustly useful", lower.low > 0)
    return verdict


def layer_robustness(
    key: Key,
    probe: Probe,
    params: Params,
    images: np.ndarray,
    *,
    epsilon: float,
    batch_size: int,
    mesh: Mesh | None = None,
    shards: devices.Shards | None = None,
) -> float:
    """R(f) = E max ‖f(x′) − f(x)‖ / E ‖f(x₁) − f(x₂)‖ of all features f together.

    From the authors' answer to Nakano's response to the paper: how far an attack moves
    the layer, by PGD on `losses.feature_distance` from random starts, relative to how
    far apart two of the images are in it (the mean over all pairs, at a cost of N² D).
    Features are taken as they are, not normalised.

    Raises:
      ValueError: bad images or epsilon; fewer than two images, or features that are all
        constant.
    """
    check_images(images)
    check_epsilon(epsilon, probe.norm)
    values = _values(probe, params, images, batch_size, mesh, shards)
    if len(constant_units(values)) == values.shape[1]:
        refuse_constant(np.arange(values.shape[1]), values.shape[1])
    mesh = devices.own(mesh or devices.make_mesh())
    key, params = devices.copy(mesh, (key, params))
    moved = devices.map_examples(
        lambda *batch: probe.farthest(key, params, jnp.float32(epsilon), *batch),
        (np.arange(len(images)), images),
        batch_size=batch_size,
        mesh=mesh,
        shards=shards,
    )
    return float(moved.mean() / _apart(values))


def rows(measured: Measured, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row for every feature and class; `names` are those of the data set."""
    names = names[1:] if len(names) == 2 else names
    if len(names) != measured.sign.shape[1]:
        raise ValueError(
            f"{len(names)} classes are named, {measured.sign.shape[1]} were measured."
        )

    def estimate(name: str, of: Estimate, place: tuple[int, int]):
        ends = zip(("", "_low", "_high"), of, strict=True)
        return {name + end: float(a[place]) for end, a in ends}

    def row(i: int, k: int) -> dict[str, Any]:
        numbers = {
            "feature": int(measured.units[i]),
            "class": names[k],
            "sign": int(measured.sign[i, k]),
            **estimate("rho", measured.rho, (i, k)),
            **estimate("gamma_attacked", measured.gamma_attacked, (i, k)),
        }
        if measured.gamma_certified is not None:
            numbers |= estimate("gamma_certified", measured.gamma_certified, (i, k))
        return numbers | {"verdict": VERDICTS[measured.verdict[i, k]]}

    return [row(i, k) for i, k in np.ndindex(measured.sign.shape)]


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """CSV of the "rows" of several measurements, each with its "network" and "seed"."""
    flat = [
        {"network": entry["network"], "seed": entry["seed"], **row}
        for entry in entries
        for row in entry["rows"]
    ]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def _check_useful(useful: float) -> None:
    if not 0 <= useful <= 1:
        raise ValueError(f"useful must be in 0 .. 1, got {useful}.")


def _values(probe, params, images, batch_size, mesh, shards) -> np.ndarray:
    mesh = devices.own(mesh or devices.make_mesh())
    params = devices.copy(mesh, params)
    return devices.map_examples(
        lambda x: probe.values(params, x),
        (images,),
        batch_size=batch_size,
        mesh=mesh,
        shards=shards,
    )


@jax.jit
def _apart(values: Array) -> jax.Array:
    """The mean distance of two different rows."""
    total = jax.lax.map(
        lambda v: jnp.sum(jnp.sqrt(jnp.sum((values - v[None]) ** 2, -1))), values
    )
    return jnp.sum(total) / (len(values) * (len(values) - 1))
