"""Batches over devices: the only module that knows how many there are.

Steps and attacks are written for one device. A batch split over the mesh, beside
parameters copied to all of it, makes `jax.jit` run them on every device; BatchNorm then
sees the whole batch, and no result depends on the number of devices.
"""

import hashlib
import os
from collections.abc import Callable
from typing import Any, Protocol

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
    # An address, of nrf.models.onednn, by which no process would find another's.
    jax.config.update("jax_remove_custom_partitioning_ptr_from_cache_key", True)


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


def split(mesh: Mesh, tree: Any) -> Any:
    """Arrays [B, ...] with B divided over the mesh."""
    return _put(tree, NamedSharding(mesh, PartitionSpec("data")))


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


class Parts:
    """The outputs of a map over so many examples, as they come; here in memory."""

    def __init__(self, examples: int):
        self.done = np.zeros(examples, bool)  # Whose outputs are there.
        # Where each part starts, and its outputs: an array [n, ...] for each leaf.
        self.parts: list[tuple[int, list[Any]]] = []

    def add(self, start: int, outputs: list[Any]) -> None:
        """Takes the outputs of examples from `start` on that are not there yet."""
        done = self.done[start : start + len(outputs[0])]
        edges = np.flatnonzero(np.diff(done, prepend=True, append=True))
        for first, last in edges.reshape(-1, 2):
            self.parts.append((start + first, [a[first:last] for a in outputs]))
            done[first:last] = True

    def finish(self, like: list[Any], batches: list[tuple[int, int]]) -> list[Any]:
        """All outputs, of all processes: an array [N, ...] for each of `like`."""
        arrays = [np.zeros((len(self.done), *a.shape[1:]), a.dtype) for a in like]
        for start, outputs in self.parts:
            for array, rows in zip(arrays, outputs, strict=True):
                array[start : start + len(rows)] = rows
        if jax.process_count() > 1:
            _exchange(arrays, batches)
        return arrays


class Shards(Protocol):
    """Keeps the outputs of the maps of one step; see `nrf.runs.shards`."""

    def begin(self, examples: int, about: str) -> Parts:
        """What is kept of the next map, over so many examples.

        `about` differs where another map was the next one when it was kept.
        """


def map_examples(
    f: Callable[..., Any],
    arrays: tuple,
    *,
    batch_size: int,
    mesh: Mesh,
    pack: bool = False,
    tick: Callable[[int], None] = lambda examples: None,
    shards: Shards | None = None,
) -> Any:
    """`f(*batch)` over arrays [N, ...], batch by batch; its outputs [N, ...].

    `f` must treat examples independently, and run on `own(mesh)` alone: where there are
    several processes, each makes every so many-th batch, and all get all outputs. A
    batch that the devices cannot divide, or that the examples do not fill, is filled
    up by repeating an example, so that `f` sees one shape only; with `pack` two, since
    batches of a quarter of the size take what fills no whole one.

    Args:
      arrays: Whatever has a length and answers a[indices] with the rows.
      tick: Called with the number of newly finished examples.
      shards: Keeps outputs as they come, and has those of an interrupted run, which are
        not made again. Outputs that are large come back as `nrf.rows`, from disk;
        others, and all without shards, are NumPy arrays.

    Raises:
      ValueError: an empty batch; processes with different numbers of devices.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    mesh, total, processes = own(mesh), len(arrays[0]), jax.process_count()
    kept = shards.begin(total, _about(arrays)) if shards else Parts(total)
    batches = _batches(total, batch_size, mesh, pack)
    left, made = total, None

    def advance(count):
        nonlocal left
        left -= count
        if count:
            tick(count)

    advance(int(kept.done.sum()))
    mine = batches[jax.process_index() :: processes]
    todo = [one for one in mine if not kept.done[one[0] : sum(one)].all()]
    for start, size, made in _one_late(f, arrays, todo, mesh):
        stop = min(start + size, total)
        new = int(np.sum(~kept.done[start:stop]))
        kept.add(start, [a[: stop - start] for a in jax.tree.leaves(made)])
        advance(min(processes * new, left))  # The others are about as far.
    if made is None:  # All was kept, and says nothing of the form of the outputs.
        made = jax.eval_shape(f, *_fill(arrays, batches[0], mesh))
    like, form = jax.tree.flatten(made)
    outputs = kept.finish(like, batches)
    advance(left)
    return jax.tree.unflatten(form, outputs)


def _one_late(f, arrays, batches, mesh):
    """Where each batch starts, its size, and f of it, in NumPy.

    Fetched one batch late, so that the devices never wait for the host.
    """
    pending = None
    for batch in batches:
        result = f(*_fill(arrays, batch, mesh))
        if pending:
            yield *pending[0], jax.device_get(pending[1])
        pending = batch, result
    if pending:
        yield *pending[0], jax.device_get(pending[1])


def _fill(arrays, batch, mesh):
    """A batch over the devices, filled up with its last example."""
    start, size = batch
    last = min(start + size, len(arrays[0])) - 1
    rows = start + np.arange(-(-size // mesh.size) * mesh.size)
    return split(mesh, tuple(a[np.minimum(rows, last)] for a in arrays))


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


def _about(arrays):
    """A digest of the numbers of a map's examples, and of the kinds of its arrays."""
    digest = hashlib.sha256()
    for a in arrays:
        digest.update(f"{a.dtype}{list(a.shape)}".encode())
        if len(a.shape) == 1:
            digest.update(np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()


def _exchange(arrays, batches):
    """Fills in the rows of `arrays` that other processes made, on all of them."""
    total, processes = len(arrays[0]), jax.process_count()
    ranges = [np.arange(start, min(start + size, total)) for start, size in batches]
    rows = [
        np.concatenate([[], *ranges[process::processes]]).astype(int)
        for process in range(processes)
    ]
    mine = rows[jax.process_index()]
    for array in arrays:
        # As bytes: JAX would change some types on their way.
        bits = array.reshape(total, -1).view(np.uint8)
        sent = np.zeros((max(map(len, rows)), bits.shape[1]), np.uint8)
        sent[: len(mine)] = bits[mine]
        received = multihost_utils.process_allgather(sent)
        for those, part in zip(rows, received, strict=True):
            bits[those] = part[: len(those)]


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
