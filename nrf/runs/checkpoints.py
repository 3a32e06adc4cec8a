"""Checkpoints: how far long work inside a step has come, kept while it goes on.

    with checkpoints.fold() as fold:
        start = fold.load(resume) or first  # `resume` makes it of what was kept.
        for number in range(start.number, count):
            ...
            if fold.due():
                fold.save(number, {"weights": [w, b]}, {"loss": 0.5})

They are Orbax's, written beside the work by a thread of their own: no signal that ends
the work finds Orbax half way through. The newest two are kept, each with the digest of
its content: a damaged one is named, and the one before it is used.
"""

import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from nrf.runs import manifest, store

T = TypeVar("T")

# Of the time since the last one, what a checkpoint may take that is not yet needed.
CHEAP = 0.03


class Kept(NamedTuple):
    """The content of a checkpoint."""

    arrays: Mapping[str, Sequence[np.ndarray]]
    notes: Mapping[str, Any]  # Numbers and words, as JSON has them.


class Checkpoints:
    """Of all folds inside one step, in `folder`; at most `minutes` apart.

    A step does the same in the same order whenever it is made, so that folds are known
    by their number.
    """

    def __init__(self, folder: Path, minutes: float):
        self.folder, self.minutes = folder.absolute(), minutes
        self._folds = 0

    def fold(self) -> "Fold":
        """Of the next fold of the step."""
        self._folds += 1
        return Fold(self.folder / str(self._folds), self.minutes)


class Fold:
    """Checkpoints of one fold, numbered by how far it is; nothing is made in advance.

    As a context it waits in the end until all is on disk. With several processes, which
    hold the same state, the first one writes.
    """

    def __init__(self, folder: Path, minutes: float):
        self.folder, self.minutes = folder, minutes
        self.newest = -1  # The number of the newest checkpoint.
        self._since = time.monotonic()
        self._seconds = float("inf")  # What the last one took.
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future | None = None
        self._orbax: Any = None

    def __enter__(self) -> "Fold":
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self.wait()
        finally:
            if self._orbax:
                self._do(self._orbax.close)
            self._thread.shutdown()

    def due(self, *, cheap: bool = False) -> bool:
        """Whether it is time to save; with `cheap` earlier, if that costs very little.

        What one costs is known from the second on: work that is over within the
        minutes writes none.
        """
        elapsed = time.monotonic() - self._since
        early = cheap and self._seconds < CHEAP * elapsed
        return elapsed >= 60 * self.minutes or early

    def save(
        self,
        number: int,
        arrays: Mapping[str, Sequence[np.ndarray]],
        notes: Mapping[str, Any],
    ) -> None:
        """Begins to write a checkpoint, of a number above those of all before.

        Raises:
          OSError: the last one could not be written.
        """
        self.wait()
        self._since = time.monotonic()
        if jax.process_index() == 0:
            kept = Kept(jax.tree.map(np.asarray, arrays), notes)
            self._writing = self._thread.submit(self._write, number, kept)
        self.newest = number

    def wait(self) -> None:
        """Until what was saved is on disk; raises OSError where that cannot be."""
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def load(self, make: Callable[[Kept], T]) -> T | None:
        """`make` of the newest checkpoint that is whole; None where there is none.

        Those that are damaged, or of which `make` raises an exception, are named in a
        warning and removed.
        """
        made = None
        if jax.process_index() == 0:
            made = self._load_newest(make)
        if jax.process_count() > 1:
            newest = multihost_utils.broadcast_one_to_all(np.int32(self.newest))
            if jax.process_index() > 0 and newest >= 0:
                self.newest = int(newest)
                made = make(self._read(self.newest))
        return made

    def _load_newest(self, make: Callable[[Kept], T]) -> T | None:
        if not self.folder.is_dir():
            return None
        numbers = sorted(self._do(lambda: self._manager().all_steps()))
        while numbers:
            number = numbers.pop()
            try:
                made = make(self._read(number))
            except Exception as error:  # Orbax, TensorStore and zlib have their own.
                path = self.folder / str(number)
                then = "the one before it is used" if numbers else "work begins anew"
                reason = str(error).partition("\n")[0]
                warnings.warn(f"{path} is damaged ({reason}); {then}.", stacklevel=2)
                shutil.rmtree(path)
                self._do(lambda: self._manager().reload())
            else:
                self.newest = number
                return made
        return None

    def _read(self, number: int) -> Kept:
        import orbax.checkpoint as ocp

        wanted = ocp.args.Composite(
            arrays=ocp.args.StandardRestore(), notes=ocp.args.JsonRestore()
        )
        found = self._do(lambda: self._manager().restore(number, args=wanted))
        arrays = jax.tree.map(np.asarray, found.arrays)
        kept = Kept(arrays, found.notes["notes"])
        if manifest.content([number, *kept]) != found.notes["content"]:
            raise ValueError("it is not as it was written")
        return kept

    def _write(self, number: int, kept: Kept) -> None:
        import orbax.checkpoint as ocp

        start = time.monotonic()
        notes = {"notes": kept.notes, "content": manifest.content([number, *kept])}
        with store.in_words(self.folder):
            self._manager().save(
                number,
                args=ocp.args.Composite(
                    arrays=ocp.args.StandardSave(kept.arrays),
                    notes=ocp.args.JsonSave(notes),
                ),
            )
        self._seconds = time.monotonic() - start

    def _do(self, f: Callable[[], T]) -> T:
        """What f() returns in the thread that talks to Orbax."""
        return self._thread.submit(f).result()

    def _manager(self) -> Any:
        import orbax.checkpoint as ocp

        if self._orbax is None:
            here = jax.process_index()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._orbax = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=2,
                    create=False,
                    cleanup_tmp_directories=here == 0,
                    # The thread here is enough.
                    enable_async_checkpointing=False,
                    # No process waits for another: all hold the same.
                    multiprocessing_options=ocp.options.MultiprocessingOptions(
                        primary_host=here,
                        active_processes={here},
                        barrier_sync_key_prefix=f"process{here}",
                    ),
                ),
            )
        return self._orbax
