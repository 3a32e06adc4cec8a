"""The devices of a run, and how arrays lie on them."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec


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


def own(mesh: Mesh) -> Mesh:
    """The devices of the mesh that are this process's: those that its maps use.

    Raises:
      ValueError: another process has more or fewer, so that batches would differ.
    """
    here = jax.process_index()
    if all(device.process_index == here for device in mesh.devices.flat):
        return mesh
    counts = [0] * jax.process_count()
    for device in mesh.devices.flat:
        counts[device.process_index] += 1
    if len(set(counts)) > 1:
        raise ValueError(
            f"the processes have {', '.join(map(str, counts))} of the {mesh.size} "
            "devices; each needs as many: leave out --work.devices."
        )
    devices = [d for d in mesh.devices.flat if d.process_index == here]
    return Mesh(np.asarray(devices), ("data",))


def for_training(mesh: Mesh) -> Mesh:
    """The devices of the mesh that trainings use: one processor once, others all.

    Two devices of one processor wait for each other after every update, which takes
    longer than what they share.
    """
    here = {(device.platform, device.process_index) for device in mesh.devices.flat}
    if len(here) == 1 and here.pop()[0] == "cpu":
        return Mesh(mesh.devices.flat[:1], mesh.axis_names)
    return mesh


def split(mesh: Mesh, tree: Any, axis: int = 0) -> Any:
    """Arrays [B, ...], or with B at another axis, with B divided over the mesh."""
    return _put(tree, NamedSharding(mesh, PartitionSpec(*[None] * axis, "data")))


def copy(mesh: Mesh, tree: Any) -> Any:
    """The same arrays on every device of the mesh."""
    return _put(tree, NamedSharding(mesh, PartitionSpec()))


def fetch(tree: Any) -> Any:
    """NumPy arrays on every host, whole, whichever way the input was divided."""

    def whole(a):
        here = not isinstance(a, jax.Array) or a.is_fully_addressable
        if here or a.is_fully_replicated:
            return a
        return multihost_utils.process_allgather(a, tiled=True)

    return jax.device_get(jax.tree.map(whole, tree))


def check_batch(mesh: Mesh, batch_size: int) -> None:
    """Raises ValueError where not even `sharing` divides a training's batches."""
    if jax.process_count() > 1 and batch_size % mesh.size:
        raise ValueError(
            f"a batch of {batch_size} cannot be divided over {mesh.size} devices; "
            f"use a multiple of {mesh.size}, or fewer devices."
        )


def sharing(mesh: Mesh, batch_size: int) -> Mesh:
    """The first devices of the mesh, as many as divide a training's batches evenly.

    Of 8, 5 share batches of 100: filled up, these would have other statistics. Raises
    ValueError as `check_batch`.
    """
    check_batch(mesh, batch_size)
    count = max(n for n in range(1, mesh.size + 1) if batch_size % n == 0)
    return Mesh(mesh.devices.flat[:count], mesh.axis_names)


def _put(tree, sharding):
    def put(a):
        if isinstance(a, jax.Array) and not a.is_fully_addressable:
            if not sharding.is_fully_addressable:  # Of all processes, before and after.
                return jax.jit(lambda a: a, out_shardings=sharding)(a)
            a = a.addressable_data(0)
        if sharding.is_fully_addressable:
            return jax.device_put(a, sharding)
        return jax.make_array_from_callback(a.shape, sharding, lambda i: a[i])

    return jax.tree.map(put, tree)
