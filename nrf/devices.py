"""Batches over devices: the only module that knows how many there are.

Steps and attacks are written for one device. A batch split over the mesh, beside
parameters copied to all of it, makes `jax.jit` run them on every device; BatchNorm then
sees the whole batch, and no result depends on the number of devices.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def cache_programs() -> None:
    """Keeps compiled programs on disk, for the next run: ~/.cache/nrf.

    $JAX_COMPILATION_CACHE_DIR names another folder. Without it, and without a home,
    programs are compiled anew in every run.
    """
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", "~/.cache/nrf")
    folder = os.path.expanduser(folder)
    if folder.startswith("~"):  # As it was: nobody knows where that is.
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def check_settings() -> None:
    """Raises ValueError under settings of JAX that would draw other random numbers.

    Other settings change results by rounding only, and manifests record them.
    """
    for name, needed, variable in (
        ("jax_enable_x64", False, "JAX_ENABLE_X64"),
        ("jax_threefry_partitionable", True, "JAX_THREEFRY_PARTITIONABLE"),
    ):
        if (value := getattr(jax.config, name)) != needed:
            raise ValueError(
                f"{name} is {value}, with which the same seed means other random "
                f"numbers; runs need {needed}. Unset ${variable}, or write "
                f"jax.config.update({name!r}, {needed})."
            )


def make_mesh(count: int | None = None) -> Mesh:
    """The first `count` devices (None: all) along one axis, "data".

    Raises:
      ValueError: there are fewer devices.
    """
    devices = jax.devices()
    if count is not None and not 1 <= count <= len(devices):
        raise ValueError(
            f"devices must be in 1 .. {len(devices)} here, got {count}; "
            f"JAX sees {len(devices)} x {devices[0].device_kind}."
        )
    # Mesh, not jax.make_mesh: its axes are Auto, so ordinary indexing works in a step.
    return Mesh(np.asarray(devices[:count]), ("data",))


def split(mesh: Mesh, tree: Any) -> Any:
    """Arrays [B, ...] with B divided over the mesh."""
    return _put(tree, NamedSharding(mesh, PartitionSpec("data")))


def copy(mesh: Mesh, tree: Any) -> Any:
    """The same arrays on every device of the mesh."""
    return _put(tree, NamedSharding(mesh, PartitionSpec()))


def fetch(tree: Any) -> Any:
    """NumPy arrays on every host, whole, whichever way the input was divided."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def check_batch(mesh: Mesh, batch_size: int) -> None:
    """Raises ValueError unless the mesh can divide the batch evenly."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if batch_size % mesh.size:
        raise ValueError(
            f"a batch of {batch_size} cannot be divided over {mesh.size} devices; "
            f"use a multiple of {mesh.size}, or fewer devices."
        )


def map_examples(
    f: Callable[..., Any],
    arrays: tuple,
    *,
    batch_size: int,
    mesh: Mesh,
    pack: bool = False,
    tick: Callable[[int], None] = lambda examples: None,
) -> Any:
    """`f(*batch)` over arrays [N, ...], batch by batch; its outputs [N, ...] in NumPy.

    `f` must treat examples independently. The last batch is filled up by repeating an
    example, so that `f` sees one shape only; with `pack` two, since batches of a
    quarter of the size take what fills no whole one. `tick` is called with the number
    of newly finished examples.
    """
    check_batch(mesh, batch_size)
    total = len(jax.tree.leaves(arrays)[0])
    done: list[Any] = []

    def collect(result, count):
        done.append(jax.tree.map(lambda a: a[:count], fetch(result)))
        tick(count)

    pending = None
    for start, size in _batches(total, batch_size, mesh, pack):
        index = np.minimum(np.arange(start, start + size), total - 1)
        batch = split(mesh, jax.tree.map(lambda a: a[index], arrays))  # noqa: B023
        result = f(*batch)
        # Fetched one batch late, so that the devices never wait for the host.
        if pending:
            collect(*pending)
        pending = result, min(size, total - start)
    if pending:
        collect(*pending)
    return jax.tree.map(lambda *parts: np.concatenate(parts), *done)


def _batches(total, batch_size, mesh, pack):
    """Where batches start, and their sizes."""
    whole = total // batch_size * batch_size
    # A quarter, or the next size above it that the devices divide.
    small = -(-batch_size // (4 * mesh.size)) * mesh.size
    if not pack or -(-(total - whole) // small) * small >= batch_size:
        return [(start, batch_size) for start in range(0, total, batch_size)]
    return [
        *((start, batch_size) for start in range(0, whole, batch_size)),
        *((start, small) for start in range(whole, total, small)),
    ]


def _put(tree, sharding):
    def put(a):
        if jax.process_count() == 1:
            return jax.device_put(a, sharding)
        return jax.make_array_from_callback(a.shape, sharding, lambda i: a[i])

    return jax.tree.map(put, tree)
