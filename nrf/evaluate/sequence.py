"""A sequence of attacks over a data set, each on the examples that withstood before.

    components = attacks.autoattack(model.apply, attacks.linf, num_classes=10)
    programs = sequence.make_programs(model.apply, components)
    result = sequence.run(key, programs, params, test, epsilon=8 / 255, batch_size=500)
    sequence.score(result, programs)  # {"clean": ..., "apgd-ce": ..., ...}

Broken examples are dropped and the others packed anew into batches of two sizes, so
that every program is compiled twice at most, for all rounds, all radii and all networks
of one architecture. Keys come from names and indices; no result depends on the packing.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import devices
from nrf.attacks import Component, example_keys
from nrf.evaluate.accuracy import Score, answers, checked
from nrf.rows import Rows
from nrf.types import Dataset, Images, Key, Params, check_dataset


class Program(NamedTuple):
    """A component, compiled: `perturb(key, params, epsilon, round, indices, x, y)`.

    It returns images and whether the network is wrong about them.
    """

    component: Component
    perturb: Callable[..., tuple[jax.Array, jax.Array]]


class Found(NamedTuple):
    """What one program fooled the network with."""

    indices: np.ndarray  # [M] int64, of the examples.
    images: np.ndarray  # [M, H, W, C] adversarial.


class Result(NamedTuple):
    """What a sequence of attacks did to a data set."""

    images: np.ndarray  # [N, H, W, C] adversarial where broken, else the original ones.
    broken_by: np.ndarray  # [N] int32, index of the program; -1: withstood all.


def make_programs(
    apply: Callable[[Params, Images], Any], components: Sequence[Component]
) -> tuple[Program, ...]:
    """One compiled program per component; the first, "clean", is no attack at all.

    Raises:
      ValueError: two components of one name, which would draw the same numbers.
    """
    apply = checked(apply)
    clean = Component("clean", lambda epsilon, number: lambda keys, params, x, y: x)
    components = (clean, *components)
    names = [component.name for component in components]
    if len(set(names)) < len(names):
        raise ValueError(f"components need different names, got {', '.join(names)}.")

    def compiled(component):
        number = zlib.crc32(component.name.encode())

        def perturb(key, params, epsilon, turn, indices, x, y):
            key = jax.random.fold_in(jax.random.fold_in(key, number), turn)
            attack = component.attack_at(epsilon, turn)
            x_adv = attack(example_keys(key, indices), params, x, y)
            return x_adv, answers(apply(params, x_adv).logits) != y

        return Program(component, jax.jit(perturb))

    return tuple(map(compiled, components))


def run(
    key: Key,
    programs: Sequence[Program],
    params: Params,
    dataset: Dataset,
    *,
    epsilon: float,
    batch_size: int,
    mesh: Mesh | None = None,
    tick: Callable[[int], None] = lambda examples: None,
    shards: devices.Shards | None = None,
) -> Result:
    """Attacks every example until it is broken, or no program is left.

    `tick` is called with numbers of examples, for each round of each program: those
    that are newly finished, and those that an earlier round has broken.

    Raises:
      ValueError: images outside [0, 1], labels out of range or of another number, or
        a radius that the components refuse.
    """
    for program in programs:
        # Built and thrown away: the radius has a value here, and none in a program.
        program.component.attack_at(epsilon, 0)
    broken: list[Found] = []
    for program in programs:
        broken.append(
            attack(
                jax.random.clone(key),
                program,
                params,
                dataset,
                left=withstood(dataset, broken),
                epsilon=epsilon,
                batch_size=batch_size,
                mesh=mesh,
                tick=tick,
                shards=shards,
            )
        )
    return collect(dataset, broken)


def attack(
    key: Key,
    program: Program,
    params: Params,
    dataset: Dataset,
    *,
    left: np.ndarray,
    epsilon: float,
    batch_size: int,
    mesh: Mesh | None = None,
    tick: Callable[[int], None] = lambda examples: None,
    shards: devices.Shards | None = None,
) -> Found:
    """All rounds of one program on the examples at `left` [L]: one step of `run`.

    Each step is a pure function of what earlier ones found, by `withstood`, so that a
    sequence can be interrupted and resumed. The same key goes to every program.

    Raises:
      ValueError: as `run`.
    """
    check_dataset(dataset)
    program.component.attack_at(epsilon, 0)
    mesh = devices.own(mesh or devices.make_mesh())
    key, params = devices.copy(mesh, (key, params))
    radius = jnp.float32(epsilon)
    indices, images, total = [left[:0]], [dataset.images[:0]], left.size
    for turn in range(program.component.rounds):
        if left.size < total:
            tick(total - left.size)
        if not left.size:
            continue
        at = key, params, radius, jnp.int32(turn)
        moved, broken = devices.map_examples(
            lambda *batch: program.perturb(*at, *batch),  # noqa: B023
            (left, Rows(dataset.images, left), dataset.labels[left]),
            batch_size=batch_size,
            mesh=mesh,
            pack=True,
            tick=tick,
            shards=shards,
        )
        indices.append(left[broken])
        images.append(moved[broken])
        left = left[~broken]
    return Found(np.concatenate(indices), np.concatenate(images))


def withstood(dataset: Dataset, earlier: Sequence[Found]) -> np.ndarray:
    """[L] indices of the examples that no earlier program has broken."""
    every = np.arange(len(dataset.labels))
    broken = np.concatenate([every[:0], *(found.indices for found in earlier)])
    return np.setdiff1d(every, broken)


def collect(dataset: Dataset, founds: Sequence[Found]) -> Result:
    """What all programs found, in their order."""
    images = np.array(dataset.images)
    broken_by = np.full(len(images), -1, np.int32)
    for number, (indices, moved) in enumerate(founds):
        images[indices] = moved
        broken_by[indices] = number
    return Result(images, broken_by)


def score(result: Result, programs: Sequence[Program]) -> dict[str, Score]:
    """By program, in order: the examples that withstood it and all before it."""
    scores = {}
    for number, program in enumerate(programs):
        broken = (result.broken_by >= 0) & (result.broken_by <= number)
        name = program.component.name
        scores[name] = Score(int((~broken).sum()), len(result.broken_by))
    return scores
