"""Finished parts of the maps over examples of one step, kept on disk as they come.

    shards = Shards(scratch / "shards", minutes=5)
    devices.map_examples(f, arrays, ..., shards=shards)

A step is a pure function: when it is called again, its maps come in the same order.
What an interrupted call has kept of the n-th one is what the n-th one needs not make.

A file appears when it is complete and on disk, and begins with the SHA-256 of all that
follows: the length of its header, the header (JSON: the ranges of examples, the types
and shapes of their outputs), and the outputs, one after the other.
"""

import contextlib
import hashlib
import json
import math
import os
import secrets
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nrf import hosts
from nrf.devices import Parts
from nrf.rows import Joined, Stored
from nrf.runs.store import sync_folder

LARGE = 2**26  # Bytes: what waits to be written, and outputs that stay on disk.
_PATIENCE = 60  # Seconds until what another machine has written must be seen here.


class Shards:
    """What is kept of the maps of one step, in the folder of these files.

    Args:
      folder: For these files alone.
      minutes: Results wait as long before they are written, or until there are `LARGE`
        bytes of them; 0 writes after every batch.
    """

    def __init__(self, folder: Path, minutes: float):
        self.folder, self.seconds = Path(folder), 60 * minutes
        self.begun = 0  # Maps.
        self.unsaved: list[Kept] = []
        self.waiting = 0  # Bytes in these.
        self.last = time.monotonic()

    def begin(self, examples: int, about: str) -> "Kept":
        """What there is of the next map, over so many examples.

        Warns of files that are damaged, or of another map; these are removed.
        """
        self.begun += 1
        return Kept(self, self.begun - 1, examples, about)

    def added(self, kept: "Kept", size: int) -> None:
        """To be told of outputs of so many bytes."""
        if kept not in self.unsaved:
            self.unsaved.append(kept)
        self.waiting += size
        late = time.monotonic() - self.last >= self.seconds
        if late or self.waiting >= LARGE:
            self.flush()

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:  # What is finished is not lost to a signal or an error.
            with contextlib.suppress(OSError):
                self.flush()

    def flush(self) -> None:
        """Writes what waits; raises OSError where that cannot be."""
        for kept in self.unsaved:
            kept.save()
        self.unsaved, self.waiting, self.last = [], 0, time.monotonic()


class Kept(Parts):
    """The outputs of one map, in memory and on disk; from `Shards.begin`."""

    def __init__(self, shards: Shards, number: int, examples: int, about: str):
        super().__init__(examples)
        self.shards, self.number, self.about = shards, number, about
        self.seen: set[Path] = set()
        self._load()
        self.saved = len(self.parts)

    def add(self, start: int, outputs: list[Any]) -> None:
        super().add(start, outputs)
        self.shards.added(self, sum(a.nbytes for a in outputs))

    def save(self) -> None:
        """Writes the parts that are in memory alone."""
        parts = self.parts[self.saved :]
        if not parts:
            return
        ranges: list[list[int]] = []
        for start, outputs in parts:
            if ranges and ranges[-1][1] == start:
                ranges[-1][1] += len(outputs[0])
            else:
                ranges.append([int(start), int(start) + len(outputs[0])])
        leaves = [list(leaf) for leaf in zip(*(o for _, o in parts), strict=True)]
        header = {
            "about": self.about,
            "ranges": ranges,
            "leaves": [[leaf[0].dtype.name, leaf[0].shape[1:]] for leaf in leaves],
        }
        first, last = ranges[0][0], max(stop for _, stop in ranges)
        name = f"{self.number}-{first}-{last}-{secrets.token_hex(4)}.shard"
        path = self.shards.folder / name
        offset = _write(path, header, [rows for leaf in leaves for rows in leaf])
        self.seen.add(path)
        if any(map(self._large, parts[0][1])):  # It need not stay in memory.
            stored = _stored(path, header, offset)
            self.parts[self.saved :] = [(at, self._held(rows)) for at, rows in stored]
        self.saved = len(self.parts)

    def finish(self, like: list[Any], batches: list[tuple[int, int]]) -> list[Any]:
        if not any(map(self._large, like)):
            return super().finish(like, batches)
        self.shards.flush()
        if jax.process_count() > 1:
            hosts.barrier(f"map {self.number}")
            self._await()
        parts = sorted(self.parts, key=lambda part: part[0])
        leaves = zip(*(outputs for _, outputs in parts), strict=True)
        return [
            Joined(leaf) if self._large(leaf[0]) else np.concatenate(leaf)
            for leaf in leaves
        ]

    def _large(self, rows: Any) -> bool:
        """Whether outputs like these are large, of all examples together."""
        each = math.prod(rows.shape[1:]) * np.dtype(rows.dtype).itemsize
        return each * len(self.done) > LARGE

    def _held(self, outputs: list[Any]) -> list[Any]:
        return [a if self._large(a) else np.asarray(a) for a in outputs]

    def _load(self) -> None:
        """Takes what the files hold that have not been seen."""
        there = set(self.shards.folder.glob(f"{self.number}-*.shard"))
        for path in sorted(there - self.seen):
            self.seen.add(path)
            try:
                parts = _read(path, self.about)
            except FileNotFoundError:
                continue  # Another process has found it damaged, and removed it.
            except ValueError as error:
                first, last = path.name.split("-")[1:3]
                warnings.warn(
                    f"{path} {error}; what it had of examples {first} .. "
                    f"{int(last) - 1} is made again.",
                    stacklevel=2,
                )
                path.unlink(missing_ok=True)
                continue
            for start, outputs in parts:
                super().add(start, self._held(outputs))

    def _await(self) -> None:
        """Takes what other processes have written, once it is to be seen here."""
        end = time.monotonic() + _PATIENCE
        while not self.done.all():
            self._load()
            if time.monotonic() > end:
                raise OSError(
                    f"{self.shards.folder} lacks what other processes have written; "
                    "is it a folder that all of them share?"
                )
            time.sleep(0.1)


def _write(path: Path, header: dict[str, Any], arrays: list[np.ndarray]) -> int:
    """Writes a file whole or not at all; returns where its outputs begin."""
    text = json.dumps(header).encode()
    blocks: list[Any] = [
        len(text).to_bytes(8, "little"),
        text,
        *(np.ascontiguousarray(a).reshape(-1).view(np.uint8).data for a in arrays),
    ]
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    # Of a killed process the next one writes over it.
    partial = path.with_name(f".{jax.process_index()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.writelines([digest.digest(), *blocks])
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"{path} can not be written: {error.strerror}") from error
    return len(digest.digest()) + 8 + len(text)


def _read(path: Path, about: str) -> list[tuple[int, list[Stored]]]:
    """The parts in a file.

    Raises:
      ValueError: it is not as it was written, or about something else.
    """
    with path.open("rb") as file:
        digest = file.read(32)
        if hashlib.file_digest(file, "sha256").digest() != digest:
            raise ValueError("is damaged: it is not as it was written")
        file.seek(32)
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        offset = file.tell()
    if header["about"] != about:
        raise ValueError("is of another map over examples")
    return _stored(path, header, offset)


def _stored(path: Path, header: dict[str, Any], offset: int) -> list[Any]:
    """Where each part of a file starts, and its outputs as rows that lie there."""
    lengths = [stop - start for start, stop in header["ranges"]]
    parts: list[tuple[int, list[Stored]]] = [(at, []) for at, _ in header["ranges"]]
    for name, shape in header["leaves"]:
        for (_, outputs), length in zip(parts, lengths, strict=True):
            rows = Stored(path, (length, *shape), np.dtype(name), offset)
            outputs.append(rows)
            offset += rows.nbytes
    return parts
