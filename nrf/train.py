"""Standard and adversarial training: one step, and epochs of it."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from nrf import devices, rows
from nrf.data import batch_indices
from nrf.data.feed import RESIDENT, Feed
from nrf.losses import Madry, Objective
from nrf.models import Model
from nrf.types import (
    Attack,
    Dataset,
    Images,
    Key,
    Params,
    as_output,
    check_images,
    check_labels,
)


class State(NamedTuple):
    """Everything that training changes, and nothing else: arrays only."""

    step: jax.Array  # Scalar int32.
    params: Params
    opt_state: optax.OptState


class Metrics(NamedTuple):
    """Of the images trained on: adversarial ones in adversarial training."""

    loss: Any  # Numbers or arrays, of the devices or of the host.
    accuracy: Any


class Position(NamedTuple):
    """Where a training is: all that its next update depends on, beside the data."""

    epoch: int  # That so many epochs are over; the next one may have begun.
    state: State
    # Of that one: arrays [n] for each call of the devices, the last filled up by zeros.
    metrics: tuple[Metrics, ...]

    def made(self, each: int) -> int:
        """How many of the `each` updates of that epoch are made."""
        return min(sum(len(one.loss) for one in self.metrics), each)


Augment = Callable[..., Images]  # (key, x, **given) -> x
Step = Callable[..., tuple[State, Metrics]]


def init(
    key: Key, model: Model, optimizer: optax.GradientTransformation, x: Images
) -> State:
    """A fresh network for images like `x` [B, H, W, C]."""
    params = model.init(key, x)
    return State(jnp.zeros((), jnp.int32), params, optimizer.init(params["params"]))


def make_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    attack: Attack | None = None,
    objective: Objective | None = None,
    augment: Augment | None = None,
) -> Step:
    """One update on a batch, as a pure function step(key, state, x, y, **given).

    Args:
      optimizer: Gets what is `given` too, such as this update's learning rate, if it
        takes that (optax.GradientTransformationExtraArgs).
      attack: Finds the images x_adv to descend at, and should climb `objective.climb`;
        it sees the network with its running statistics. None: x_adv is x.
      objective: None: `losses.Madry`, the cross-entropy at x_adv.
      augment: Changes the images before anything else sees them. It gets what is
        `given` too.

    Returns:
      step(key, state, x, y, **given) -> (state, metrics). The key may be the same for
      all steps: the step's number is folded into it.

    Raises:
      ValueError: when called, if the objective does not return one loss per example.
    """
    objective = objective or Madry()(model)

    train = _full(model.train)
    optimizer = optax.with_extra_args_support(optimizer)

    def step(key, state, x, y, **given):
        key_augment, key_attack = jax.random.split(jax.random.fold_in(key, state.step))
        if augment is not None:
            x = augment(key_augment, x, **given)
        x_adv = x
        if attack is not None:
            target = objective.target(state.params, x, y)
            keys = jax.random.split(key_attack, len(x))
            x_adv = attack(keys, state.params, x, target)

        def loss(weights):
            # Only "params" are optimised: weight decay must not shrink statistics.
            params = {**state.params, "params": weights}
            losses, output, params = objective.descend(train, params, x, x_adv, y)
            if jnp.shape(losses) != (len(x),):
                raise ValueError(
                    f"an objective must return one loss per example, [{len(x)}], got "
                    f"shape {jnp.shape(losses)}; the mean is taken here."
                )
            return losses.mean(), (output, params)

        (value, (output, params)), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.params["params"]
        )
        updates, opt_state = optimizer.update(
            gradient, state.opt_state, state.params["params"], **given
        )
        weights = optax.apply_updates(state.params["params"], updates)
        accuracy = jnp.mean(jnp.argmax(output.logits, -1) == y)
        state = State(state.step + 1, {**params, "params": weights}, opt_state)
        return state, Metrics(value, accuracy)

    return step


def _full(train):
    """`train` of a model that may return plain logits, returning an Output."""

    def full(params, x):
        made, params = train(params, x)
        return as_output(made, x), params

    return full


def make_update(step: Step) -> Callable:
    """`step` on a chunk of `nrf.data.feed` in one call of the devices, compiled.

    Returns:
      update(key, state, given, x, y, count) -> (state, metrics [n], 0 after `count`);
      of arrays [n] that are `given` by name each step gets its entries.
    """

    def update(key, state, given, x, y, count):
        def at(number, state):
            row = {name: values[number] for name, values in given.items()}
            return step(key, state, x[number], y[number], **row)

        def body(number, carry):
            state, seen = carry
            state, metrics = at(number, state)
            return state, jax.tree.map(lambda a, v: a.at[number].set(v), seen, metrics)

        if len(y) == 1:  # No loop, in which gradients of convolutions are slow on CPUs.
            state, metrics = at(0, state)
            return state, jax.tree.map(lambda value: value[None], metrics)
        _, shapes = jax.eval_shape(at, 0, state)
        seen = jax.tree.map(lambda a: jnp.zeros((len(y), *a.shape), a.dtype), shapes)
        # Not a scan: the rest of an epoch would be a second program.
        return jax.lax.fori_loop(0, count, body, (state, seen))

    return jax.jit(update)


def kept(examples: int, holdout: float) -> int:
    """How many of the examples `hold_out` leaves to be trained on."""
    return examples - round(holdout * examples)


def hold_out(key: Key, dataset: Dataset, holdout: float) -> tuple[Dataset, Dataset]:
    """The data set without a random part of it, and that part; a fraction of [0, 1)."""
    count = kept(len(dataset.labels), holdout)
    order: Any = slice(None)  # Nothing held out: as they are.
    if count < len(dataset.labels):
        order = np.asarray(jax.random.permutation(key, len(dataset.labels)))
    images, labels = rows.part(dataset.images, order), dataset.labels[order]
    return (
        dataset._replace(images=rows.part(images, slice(count)), labels=labels[:count]),
        dataset._replace(
            images=rows.part(images, slice(count, None)), labels=labels[count:]
        ),
    )


def epochs(
    key: Key,
    start: State | Position,
    update: Callable,
    dataset: Dataset,
    *,
    count: int,
    batch_size: int,
    mesh: Mesh,
    schedule: Mapping[str, np.ndarray] | None = None,
    resident: int = RESIDENT,
    updates: int | None = None,
    tick: Callable[[int], None] = lambda examples: None,
    keep: Callable[[Position], None] = lambda position: None,
) -> Iterator[tuple[State, Metrics]]:
    """Trains by `update` from `make_update`; yields state and mean metrics per epoch.

    Each epoch visits the data set in an order that depends on the key and the epoch
    alone; a last incomplete batch is left out.

    Args:
      key: Of the order and of the updates.
      start: Where the training begins; a `Position` goes on from there as if it had
        never been left, and its unfinished epoch is the first that is yielded.
      update: From `make_update`.
      dataset: With images in [0, 1].
      count: Epochs in all.
      batch_size: Examples of an update.
      mesh: The devices, of which those share every batch that divide it evenly.
      schedule: Arrays [updates in all] by name; each update is given its entries.
      resident, updates: Of `nrf.data.feed.Feed`; they change no number but by rounding.
      tick: Called with the number of newly finished examples.
      keep: Called after each call of the devices, before anybody knows its losses.

    Raises:
      ValueError: the data set or the schedule does not fit what is promised.
      FloatingPointError: the loss is not finite.
    """
    check_images(dataset.images)
    check_labels(dataset.labels, dataset.num_classes)
    mesh = devices.sharing(mesh, batch_size)
    key_order, key_step = jax.random.split(key)
    seed = int.from_bytes(np.asarray(jax.random.key_data(key_order)).tobytes(), "big")
    feed = Feed(dataset, mesh, resident=resident, updates=updates)
    at = Position(0, start, ()) if isinstance(start, State) else start
    metrics = at.metrics
    key_step, state = devices.copy(mesh, (key_step, at.state))
    last = float(metrics[-1].loss[-1]) if metrics else math.nan
    for epoch in range(at.epoch, count):
        order = batch_indices(seed, epoch, len(dataset.labels), batch_size)
        first = Position(epoch, state, metrics).made(len(order))
        number = epoch * len(order) + first
        late: Any = ()
        for chunk in itertools.chain(feed.chunks(order, first), [None]):
            call: tuple = ()
            if chunk:
                given = _given(schedule, number, len(chunk.y), count * len(order))
                state, measured = update(key_step, state, given, *chunk)
                metrics = (*metrics, measured)
                keep(Position(epoch, state, metrics))
                call, number = (measured, number, chunk.made), number + chunk.made
            # Looked at one call late, so that the devices never wait for the host.
            if late:
                last = _finite(late, last)
                tick(batch_size * late[-1])
            late = call
        seen, metrics = joined(metrics, len(order)), ()
        yield state, Metrics(*map(np.mean, seen))


def joined(metrics: tuple[Metrics, ...], made: int) -> Metrics:
    """Those of the first `made` updates, in arrays [made] of the host."""
    seen = jax.device_get(metrics)
    return Metrics(*(np.concatenate(a)[:made] for a in zip(*seen, strict=True)))


def _given(
    schedule: Mapping[str, np.ndarray] | None, number: int, length: int, total: int
) -> dict[str, np.ndarray]:
    """What `length` updates from `number` on are given; beyond `total`, the last's."""
    rows = {}
    for name, values in (schedule or {}).items():
        if np.shape(values) != (total,):
            raise ValueError(
                f"the schedule's {name} must have one number for each of the {total} "
                f"updates, got shape {np.shape(values)}."
            )
        rows[name] = np.take(values, number + np.arange(length), mode="clip")
    return rows


def _finite(call: tuple[Metrics, int, int], last: float) -> float:
    """The last loss of a call, if all are finite; `last` is that of the one before."""
    metrics, number, made = call  # So many updates were made before it, and by it.
    for loss in jax.device_get(metrics).loss[:made]:
        number += 1
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"loss is {loss} at step {number} (last finite loss: {last:.4g}); "
                "a smaller learning rate or a longer warm-up may help."
            )
        last = float(loss)
    return last
