"""Trainings under way: what is kept of them on disk, and how they go on."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from nrf import train
from nrf.runs import Env
from nrf.runs.checkpoints import Fold, Kept
from nrf.types import Params


class Underway(NamedTuple):
    """A training under way: with its data and settings, all that the rest follows from.

    Arrays may be those of the devices.
    """

    at: train.Position
    history: tuple[dict[str, Any], ...] = ()  # One entry for each epoch that is over.
    best: float = -1.0  # The highest accuracy on what is held out,
    params: Params | None = None  # and the parameters that reached it.


class Keeper:
    """Holds a training as it is `now`, and keeps it on disk from time to time.

    `each` is the number of updates of an epoch.
    """

    def __init__(self, start: Underway, fold: Fold | None, each: int):
        self.fold, self.each = fold, each
        self.now = (fold and fold.load(lambda kept: _unpack(kept, start))) or start

    def __call__(self, at: train.Position) -> None:
        """To be called after every call of the devices."""
        # One assignment: a signal finds the training as it was before, or as it is.
        self.now = self.now._replace(at=at)
        if self.fold and self.fold.due():
            self.save()

    def epoch(
        self, measured: dict[str, Any], best: float, params: Params | None
    ) -> None:
        """To be called when an epoch is over and `measured`."""
        at = self.now.at
        self.now = Underway(
            at._replace(epoch=at.epoch + 1, metrics=()),
            (*self.now.history, measured),
            best,
            params,
        )
        if self.fold and self.fold.due(cheap=True):
            self.save()

    @property
    def updates(self) -> int:
        """How many are made."""
        return self.now.at.epoch * self.each + self.now.at.made(self.each)

    def save(self) -> None:
        """Begins to write the training as it is now, unless that is known or lost."""
        now = jax.device_get(self.now)
        # An epoch's end counts as one more: its accuracies take time too.
        number = self.updates + now.at.epoch
        finite = all(np.isfinite(one.loss).all() for one in now.at.metrics)
        if self.fold and number > max(self.fold.newest, 0) and finite:
            self.fold.save(number, *_pack(now, self.each))


@contextlib.contextmanager
def keeping(
    start: train.Position, env: Env, epochs: int, each: int
) -> Iterator[Keeper]:
    """A keeper of the training that begins at `start`, or goes on from what is kept.

    A signal that ends the training ends it when it is on disk, and is told how far it
    was: of so many `epochs` of `each` updates.

    Raises:
      OSError: the training cannot be kept.
    """
    with contextlib.ExitStack() as stack:
        fold = None
        if env.checkpoints:
            fold = stack.enter_context(env.checkpoints.fold())
        keeper = Keeper(Underway(start), fold, each)
        try:
            yield keeper
        except KeyboardInterrupt as stop:
            if fold and keeper.updates:
                epoch, number = divmod(keeper.updates, each)
                far = f"of {env.step} {epoch} of {epochs} epochs and {number} updates"
                try:
                    keeper.save()
                    fold.wait()
                except OSError as error:
                    far = f"nothing newer of {env.step}: {error}"
                stop.add_note(far)
            raise


def _pack(now: Underway, each: int) -> Kept:
    arrays = {"state": jax.tree.leaves(now.at.state)}
    if now.at.metrics:
        arrays["metrics"] = [*train.joined(now.at.metrics, now.at.made(each))]
    if now.params:
        arrays["params"] = jax.tree.leaves(now.params)
    notes = {"epoch": now.at.epoch, "history": now.history, "best": now.best}
    return Kept(arrays, notes)


def _unpack(kept: Kept, start: Underway) -> Underway:
    """What `_pack` was given; raises ValueError where that was no such training."""
    arrays, notes = kept
    state = _like(start.at.state, arrays["state"])
    params = None
    if "params" in arrays:
        params = _like(start.at.state.params, arrays["params"])
    metrics = (train.Metrics(*arrays["metrics"]),) if "metrics" in arrays else ()
    at = train.Position(notes["epoch"], state, metrics)
    return Underway(at, tuple(notes["history"]), notes["best"], params)


def _like(tree: Any, leaves: Sequence[np.ndarray]) -> Any:
    expected, shape = jax.tree.flatten(tree)
    for one, leaf in zip(expected, leaves, strict=True):
        if (leaf.shape, leaf.dtype) != (one.shape, one.dtype):
            raise ValueError(
                f"it has {leaf.dtype} {leaf.shape} where the training has {one.dtype} "
                f"{one.shape}"
            )
    return jax.tree.unflatten(shape, leaves)
