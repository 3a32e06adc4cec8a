"""Maps over examples: batch by batch, over all devices."""

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from nrf.devices.mesh import own, split


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
    held: dict | None = None,
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
      held: Keeps the batches on the devices, for further maps over the same arrays that
        are given the same dict; empty in the beginning.

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
    for start, size, made in _one_late(f, arrays, todo, mesh, held):
        stop = min(start + size, total)
        new = int(np.sum(~kept.done[start:stop]))
        kept.add(start, [a[: stop - start] for a in jax.tree.leaves(made)])
        advance(min(processes * new, left))  # The others are about as far.
    if made is None:  # All was kept, and says nothing of the form of the outputs.
        made = jax.eval_shape(f, *_fill(arrays, batches[0], mesh, held))
    like, form = jax.tree.flatten(made)
    outputs = kept.finish(like, batches)
    advance(left)
    return jax.tree.unflatten(form, outputs)


def _one_late(f, arrays, batches, mesh, held):
    """Where each batch starts, its size, and f of it, in NumPy.

    Fetched one batch late, so that the devices never wait for the host.
    """
    pending = None
    for batch in batches:
        result = f(*_fill(arrays, batch, mesh, held))
        if pending:
            yield *pending[0], jax.device_get(pending[1])
        pending = batch, result
    if pending:
        yield *pending[0], jax.device_get(pending[1])


def _fill(arrays, batch, mesh, held):
    """A batch over the devices, filled up with its last example."""
    if held and batch in held:
        return held[batch]
    start, size = batch
    last = min(start + size, len(arrays[0])) - 1
    rows = start + np.arange(-(-size // mesh.size) * mesh.size)
    filled = split(mesh, tuple(a[np.minimum(rows, last)] for a in arrays))
    if held is not None:
        held[batch] = filled
    return filled


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
