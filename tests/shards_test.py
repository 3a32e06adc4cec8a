"""Maps over examples: resumed after any end, on any devices, in little memory."""

import ast
import errno
import functools
import os
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import helpers
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import attacks, devices, evaluate, features, losses, synthesize
from nrf.evaluate import sequence
from nrf.rows import Lazy, Rows
from nrf.runs import Steps, local, shards
from nrf.runs.shards import Shards
from nrf.types import Dataset

TOTAL = 23


class Made(NamedTuple):
    even: jax.Array  # [B] bool
    rows: jax.Array  # [B, 3]


@jax.jit
def made(number, x):
    keys = jax.vmap(lambda n: jax.random.fold_in(jax.random.key(0), n))(number)
    drawn = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    return Made(number % 2 == 0, drawn + jnp.tanh(x))


class Killed(BaseException):
    """As a signal's: no `except Exception` holds it."""


class Calls:
    """`made`, which is counted and ends the process, as it were, after so many."""

    def __init__(self, limit=1000):
        self.limit, self.count = limit, 0

    def __call__(self, number, x):
        if self.count == self.limit:
            raise Killed
        self.count += 1
        return made(number, x)


ARRAYS = np.arange(TOTAL) + 7, np.linspace(0, 1, 3 * TOTAL, dtype=np.float32)
ARRAYS = ARRAYS[0], ARRAYS[1].reshape(TOTAL, 3)


def run(f, kept=None, *, batch_size=4, mesh=1, arrays=ARRAYS, **options):
    return devices.map_examples(
        f,
        arrays,
        batch_size=batch_size,
        mesh=devices.make_mesh(mesh),
        shards=kept,
        **options,
    )


class ShardsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def shards(self, minutes=0.0):
        return Shards(self.folder, minutes)

    def files(self):
        return sorted(self.folder.glob("*.shard"))

    def stop_after(self, batches, **options):
        with self.assertRaises(Killed):
            run(Calls(batches), self.shards(), **options)

    def assert_same(self, found, expected):
        self.assertIs(type(found), Made)
        for a, b in zip(found, expected, strict=True):
            self.assertEqual(a.dtype, b.dtype)
            np.testing.assert_array_equal(a, b)

    @parameterized.product(batches=(0, 1, 3, 5), large=(False, True))
    def test_goes_on_where_it_was_stopped(self, batches, large):
        if large:
            self.enterContext(mock.patch.object(shards, "LARGE", 100))
        expected, ticks = run(made), []
        self.stop_after(batches)
        # The last batch is fetched when the next one is under way.
        kept = max(0, batches - 1)
        self.assertLen(self.files(), kept)
        calls = Calls()
        found = run(calls, self.shards(), tick=ticks.append)
        self.assert_same(found, expected)
        self.assertEqual(calls.count, 6 - kept)
        self.assertEqual(sum(ticks), TOTAL)
        self.assertEqual(ticks[0], 4 * max(kept, 1))
        self.assertIs(isinstance(found.rows, Lazy), large)
        # And once more, with nothing left to do: only the form is asked for.
        traced, again = Calls(), self.shards()
        self.assert_same(run(traced, again), expected)
        self.assertEqual(traced.count, 1)
        self.assertEqual(again.waiting, 0)

    def test_is_written_when_it_is_time_and_with_all_that_waits(self):
        clock = self.enterContext(mock.patch.object(shards.time, "monotonic"))
        clock.return_value = 100.0
        kept = self.shards(minutes=5)
        first = run(made, kept)
        self.assertEmpty(self.files())
        clock.return_value += 301
        second = run(lambda n, x: made(n + 1, x), kept)
        # The first map's, and the first batch of the second.
        self.assertLen(self.files(), 2)
        kept = self.shards(minutes=5)
        calls = Calls()
        self.assert_same(run(calls, kept), first)
        self.assertEqual(calls.count, 1)
        self.assert_same(run(lambda n, x: made(n + 1, x), kept), second)
        self.assertLen(self.files(), 2)

    def test_much_is_written_at_once(self):
        self.enterContext(mock.patch.object(shards, "LARGE", 100))
        run(made, self.shards(minutes=5))
        # 13 bytes an example: eight of them are more than 100.
        ranges = {tuple(map(int, f.name.split("-")[1:3])) for f in self.files()}
        self.assertEqual(ranges, {(0, 8), (8, 16), (16, 23)})

    def test_an_error_or_a_signal_loses_nothing_that_is_finished(self):
        with self.assertRaises(Killed), self.shards(minutes=5) as kept:
            run(made, kept)
            run(Calls(3), kept)
        self.assertLen(self.files(), 2)
        with self.shards(minutes=5) as kept:
            run(made, kept)
        self.assertLen(self.files(), 2)

    @parameterized.product(how=((5, 1), (4, 4), (100, 3)), large=(False, True))
    def test_goes_on_in_other_batches_and_on_other_devices(self, how, large):
        if large:
            self.enterContext(mock.patch.object(shards, "LARGE", 100))
        batch_size, mesh = how
        self.stop_after(3)
        found = run(made, self.shards(), batch_size=batch_size, mesh=mesh)
        for a, b in zip(found, run(made), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)

    @parameterized.parameters("flipped", "header", "cut", "empty")
    def test_damage_is_named_and_made_again(self, how):
        self.stop_after(5)
        file = next(f for f in self.files() if f.name.startswith("0-4-8"))
        bits = bytearray(file.read_bytes())
        if how in ("flipped", "header"):
            bits[-1 if how == "flipped" else 50] ^= 1
        file.write_bytes(bits[: {"cut": -9, "empty": 0}.get(how)])
        calls = Calls()
        with self.assertWarnsRegex(
            UserWarning, f"{file.name} is damaged.*examples 4 .. 7 is made again"
        ):
            found = run(calls, self.shards())
        self.assert_same(found, run(made))
        self.assertEqual(calls.count, 3)
        self.assertFalse(file.exists())

    def test_of_another_map_nothing_is_taken(self):
        self.stop_after(3)
        others = ARRAYS[0] + 1, ARRAYS[1]
        with self.assertWarnsRegex(UserWarning, "is of another map"):
            found = run(made, self.shards(), arrays=others)
        self.assert_same(found, run(made, arrays=others))

    @parameterized.parameters("fsync", "rename", "sync_folder")
    def test_a_kill_inside_the_writing(self, moment):
        """What is on disk then counts and is right, or does not count."""
        whole, times = getattr(os, moment, None) or shards.sync_folder, []

        def killed(*arguments):
            times.append(moment)
            if len(times) == 3:
                raise Killed
            return whole(*arguments)

        where = {
            "fsync": mock.patch.object(shards.os, "fsync", killed),
            "rename": mock.patch.object(Path, "rename", killed),
            "sync_folder": mock.patch.object(shards, "sync_folder", killed),
        }
        with where[moment], self.assertRaises(Killed):
            run(made, self.shards())
        # Of three times; a file is synced, and then its folder.
        kept = {"fsync": 1, "rename": 2, "sync_folder": 3}[moment]
        self.assertLen(self.files(), kept)
        calls = Calls()
        self.assert_same(run(calls, self.shards()), run(made))
        self.assertEqual(calls.count, 6 - kept)

    def test_a_full_disk_is_told_in_words(self):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with mock.patch.object(shards.os, "fsync", side_effect=full):
            with self.assertRaisesRegex(OSError, "can not be written: No space left"):
                run(made, self.shards())
        self.assertEmpty(list(self.folder.iterdir()))
        self.assert_same(run(made, self.shards()), run(made))

    def test_memory_does_not_grow_with_what_is_made(self):
        """Rows of 64 KiB: 4 MiB of them, and 64."""
        self.enterContext(mock.patch.object(shards, "LARGE", 2**20))
        wide = jax.jit(lambda n: jnp.tile(n[:, None], (1, 2**14)))

        def grown(count):
            kept = Shards(self.folder / str(count), minutes=5)
            before = resident()
            with Peak() as peak:
                found = run(wide, kept, batch_size=16, arrays=(np.arange(count),))
                self.assertEqual(found.shape, (count, 2**14))
                np.testing.assert_array_equal(
                    found[[3, count - 1]][:, 0], [3, count - 1]
                )
            return peak.most - before

        grown(64)
        few, many = grown(64), grown(1024)
        self.assertLess(many - few, 16 * 2**20)


def resident():
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGE_SIZE"
    )


class Peak:
    """The most bytes that were in memory inside of the block, often looked at."""

    def __enter__(self):
        self.most, self.over = resident(), threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        while not self.over.wait(0.002):
            self.most = max(self.most, resident())

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()


class AnyBatchTest(parameterized.TestCase):
    @parameterized.product(batch_size=(1, 3, 7, 23, 50), mesh=(1, 3, 4))
    def test_on_any_number_of_devices(self, batch_size, mesh):
        for pack in (False, True):
            found = run(made, batch_size=batch_size, mesh=mesh, pack=pack)
            for a, b in zip(found, run(made), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-6)

    def test_rows_are_taken_as_they_are_needed(self):
        class Watched(Rows):
            most = 0

            def read(self, rows):
                self.most = max(self.most, len(rows))
                return super().read(rows)

        x = Watched(ARRAYS[1], np.arange(TOTAL))
        found = run(made, arrays=(ARRAYS[0], x))
        np.testing.assert_array_equal(found.rows, run(made).rows)
        self.assertEqual(x.most, 4)

    def test_refuses_empty_batches(self):
        with self.assertRaisesRegex(ValueError, "batch_size must be at least 1, got 0"):
            run(made, batch_size=0)


# One linear network of two classes: bright above, or below.
def bright(params, x):
    above, below = jnp.mean(x[:, :2], (1, 2, 3)), jnp.mean(x[:, 2:], (1, 2, 3))
    return params * jnp.stack([above - below, below - above], 1)


def dataset():
    images = np.random.default_rng(0).uniform(0, 1, (9, 4, 4, 1)).astype(np.float32)
    return Dataset(images, np.arange(9, dtype=np.int32) % 2, ("above", "below"))


def climb(loss, epsilon=0.3):
    ball = attacks.l2(epsilon)
    return attacks.pgd(loss, ball, steps=2, step_size=0.2, random_start=True)


def matched(on, **options):
    match = synthesize.make_robustify(bright, climb)
    made = synthesize.robustify(KEY(), match, PARAMS, on, start="noise", **options)
    return made._replace(indices=None, labels=None)


def mislabelled(on, **options):
    push = synthesize.make_mislabel(bright, climb(losses.cross_entropy(bright)))
    return synthesize.mislabel(KEY(), push, PARAMS, on, 1 - on.labels, **options)


def right(on, **options):
    loss = losses.cross_entropy(bright)
    correct = evaluate.make_correct(bright, lambda epsilon: climb(loss, epsilon))
    return evaluate.right(KEY(), correct, PARAMS, on, epsilon=0.2, **options)


def predicted(on, **options):
    predict = evaluate.make_predict(bright)
    return evaluate.predictions(predict, PARAMS, on.images, **options)


def gathered(on, **options):
    loss = losses.cross_entropy(bright)
    checks = evaluate.make_checks(
        bright, loss, attacks.l2, lambda epsilon: climb(loss, epsilon)
    )
    return evaluate.gather(KEY(), checks, PARAMS, on, epsilon=0.2, **options)


def attacked(on, **options):
    def rounds(epsilon, number):
        return climb(losses.cross_entropy(bright), epsilon)

    programs = sequence.make_programs(
        bright, [attacks.Component("pgd", rounds, rounds=3)]
    )
    return sequence.run(KEY(), programs, PARAMS, on, epsilon=0.2, **options)


def measured(on, **options):
    probe = features.make_probe(
        lambda params, x: bright(params, x) ** 3, "l2", steps=1, step_size=0.2
    )
    return features.layer_robustness(
        KEY(), probe, PARAMS, on.images, epsilon=0.2, **options
    )


def KEY():
    return jax.random.key(4)


PARAMS = np.float32(8)
CALLS = Calls()


def mapped(key, *, env):
    """A step, which is a function of its module and nothing else."""
    return {"rows": np.asarray(run(CALLS, env.shards).rows)}


class EveryMapTest(parameterized.TestCase):
    @parameterized.parameters(
        (matched, 3), (mislabelled, 3), (right, 3), (predicted, 3), (gathered, 3),
        (attacked, None), (measured, 6),
    )  # fmt: skip
    def test_goes_on(self, f, batches):
        """Stopped before the last of its batches, it makes this one only."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        one_late, made = devices.maps._one_late, []

        def counted(f, arrays, todo, mesh, held, stop=None):
            for batch in one_late(f, arrays, todo, mesh, held):
                made.append(batch[0])
                if len(made) == stop:
                    raise Killed
                yield batch

        def call(kept, stop=None):
            made.clear()
            options = dict(batch_size=4, mesh=devices.make_mesh(1), shards=kept)
            with mock.patch.object(
                devices.maps, "_one_late", functools.partial(counted, stop=stop)
            ):
                return f(dataset(), **options)

        expected = call(None)
        total = len(made)
        if batches:
            self.assertEqual(total, batches)
        with self.assertRaises(Killed), Shards(folder, minutes=5) as kept:
            call(kept, stop=total)
        found = call(Shards(folder, minutes=5))
        self.assertLen(made, 1)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


class StepsTest(parameterized.TestCase):
    """Every step hands what is kept to what it maps."""

    def test_all_maps_of_experiments(self):
        """But for accuracies after an epoch: a training has checkpoints of its own."""
        for file in (helpers.ROOT / "nrf" / "experiments").glob("*.py"):
            for call in ast.walk(ast.parse(file.read_text())):
                if not isinstance(call, ast.Call) or ast.unparse(call.func) in (
                    "train.epochs",
                    "check_training",
                ):
                    continue
                told = {k.arg: ast.unparse(k.value) for k in call.keywords}
                if told.get("mesh") in ("env.mesh", "mesh") and "tick" in told:
                    self.assertEqual(
                        told.get("shards"), "env.shards", ast.unparse(call)
                    )

    def test_a_step_goes_on(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        kept = folder / ".mapped.scratch" / "shards"
        CALLS.limit = 3
        with self.assertRaises(Killed):
            Steps(folder, 0, local())("mapped", mapped)
        self.assertLen(list(kept.iterdir()), 1)
        CALLS.limit, CALLS.count = 1000, 0
        found = Steps(folder, 0, local())("mapped", mapped).value
        np.testing.assert_array_equal(found["rows"], run(made).rows)
        self.assertEqual(CALLS.count, 6 - 2)
        self.assertFalse(kept.exists())
