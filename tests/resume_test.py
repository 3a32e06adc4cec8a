"""Trainings that are killed and go on: to the same network, bit for bit."""

import contextlib
import functools
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import helpers
import jax
import numpy as np
import pytest
from absl.testing import parameterized

from nrf.config import PGD, Training, Work
from nrf.experiments.networks import fit
from nrf.models import Linear, Small
from nrf.runs import Made, Progress, Steps, local
from nrf.runs.checkpoints import Checkpoints, Fold
from nrf.runs.steps import given
from nrf.types import Dataset

NETWORK = Small((0.5,), (0.25,), widths=(3, 4))
STANDARD = Training(epochs=3, batch_size=8, learning_rate=0.1, pad=1, flip=True)
TRAININGS = {
    "standard": STANDARD,
    "robust": replace(STANDARD, attack=PGD("l2", 0.3, 2, 0.2, random_start=True)),
    "holdout": replace(STANDARD, holdout=0.25, averaging=0.8),
}
UPDATES = {"standard": 12, "robust": 12, "holdout": 9}


def toy(count: int, seed: int) -> Dataset:
    """Bright against dark images, under much noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % 2
    images = 0.3 + 0.4 * labels[:, None, None, None]
    images = images + 0.3 * generator.uniform(-1, 1, (count, 4, 4, 1))
    return Dataset(images.astype(np.float32), labels, ("dark", "bright"))


class Stop(Exception):
    """Ends a run without a word, as a kill does."""


class Stopper(Progress):
    """Raises an error after so many updates of this run; None: never."""

    def __init__(self, after: int | None, error: Callable[[], BaseException] = Stop):
        self.after, self.error = after, error
        self.updates = -1  # Every training begins with what was done before.
        self.examples = 0

    def advance(self, step, examples):
        self.examples += examples
        self.updates += 1
        if self.updates == self.after:
            raise self.error()


def train(
    folder, name="standard", *, progress=None, minutes=0.0, devices=1, updates=None
):
    """The step of that training; Work(checkpoint_minutes=0) keeps every call."""
    work = Work(
        devices=devices,
        evaluation_batch=16,
        checkpoint_minutes=minutes,
        updates=updates,
    )
    step = Steps(folder, 0, local(work, progress=progress or Progress()))
    D, test = given("D", toy(32, 0)), given("test", toy(16, 1))
    return step(name, fit, D, test, network=NETWORK, training=TRAININGS[name])


@functools.cache
def whole(name: str = "standard") -> Made:
    """What is made when nothing ends it."""
    with tempfile.TemporaryDirectory() as folder:
        return train(Path(folder), name)


class FoldFolders(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.out = self.root / "killed"

    def killed(self, after, name="standard", error=Stop, **options):
        """A run that ends after so many updates; returns what was raised."""
        with self.assertRaises(error) as raised:
            train(self.out, name, progress=Stopper(after, error), **options)
        return raised.exception


class TrainingTest(FoldFolders):
    @parameterized.parameters(*TRAININGS)
    def test_killed_at_random_updates_it_becomes_the_same_network(self, name):
        random = np.random.default_rng(0)
        kills, seen = 0, 0
        while not (self.out / name).exists():
            run = Stopper(int(random.integers(1, 4)))
            with contextlib.suppress(Stop):
                made = train(self.out, name, progress=run)
            kills += run.updates == run.after
            seen += run.updates
            self.assertLess(kills, UPDATES[name], "it does not go on")
        self.assertEqual(made.digest, whole(name).digest)
        self.assertGreater(kills, 1)
        # Nothing is done twice.
        self.assertLessEqual(seen, UPDATES[name])
        # The bar of the last run is full, although most was done before.
        self.assertEqual(run.examples, 8 * UPDATES[name])
        self.assertEqual(os.listdir(self.out), [name])

    def test_without_a_kill_and_within_the_minutes_nothing_is_written(self):
        self.killed(11, minutes=5)
        folders = os.listdir(self.out / ".standard.scratch")
        self.assertEqual(folders, ["about"])

    def test_ends_of_epochs_are_kept_where_that_is_cheap(self):
        fold = Checkpoints(self.root, minutes=5).fold()
        self.assertFalse(fold.due(cheap=True))
        with fold:
            fold.save(1, {"a": [np.ones(3)]}, {})
        fold._since -= 250 * fold._seconds
        self.assertTrue(fold.due(cheap=True))
        self.assertFalse(fold.due())
        fold._since -= 300
        self.assertTrue(fold.due())

    @parameterized.parameters(2, 9)
    def test_ctrl_c_keeps_what_there_is_and_says_how_far_it_is(self, after):
        stop = self.killed(after, error=KeyboardInterrupt, minutes=5)
        # One more had begun when the loss of this one was looked at.
        epoch, update = divmod(min(after + 1, -(-after // 4) * 4), 4)
        self.assertEqual(
            stop.__notes__,
            [f"of killed/standard {epoch} of 3 epochs and {update} updates"],
        )
        last = Stopper(None)
        self.assertEqual(train(self.out, progress=last).digest, whole().digest)
        self.assertEqual(last.updates, 12 - 4 * epoch - update)

    def test_ctrl_c_on_a_full_disk_says_that_too(self):
        with mock.patch.object(Fold, "_write", side_effect=OSError("it is full")):
            stop = self.killed(2, error=KeyboardInterrupt, minutes=5)
        said = ["nothing newer of killed/standard: it is full"]
        self.assertEqual(stop.__notes__, said)
        self.assertEqual(train(self.out).digest, whole().digest)

    @parameterized.parameters(
        # Two of an epoch's four are made; a call of three that is filled up follows.
        (None, 3, "0 of 3 epochs and 2 updates"),
        # Three and one are made, in arrays of three; the epoch's accuracies follow.
        (3, None, "1 of 3 epochs and 0 updates"),
    )
    def test_goes_on_with_other_calls_of_the_devices(self, first, then, made):
        options = {"error": KeyboardInterrupt, "minutes": 5}
        stop = self.killed(1, updates=first, **options)
        self.assertEqual(stop.__notes__, [f"of killed/standard {made}"])
        last = Stopper(None)
        found = train(self.out, progress=last, updates=then)
        self.assertEqual(last.examples, 8 * 12)
        self.assertNear(found, whole())

    def test_many_updates_in_one_call_are_kept(self):
        whole = train(self.root / "whole", updates=3)
        self.killed(3, updates=3)
        last = Stopper(None)
        self.assertEqual(train(self.out, progress=last, updates=3).digest, whole.digest)
        # Two epochs were made, in two calls each.
        self.assertEqual(last.updates, 2)

    def test_goes_on_with_other_devices_up_to_rounding(self):
        self.killed(6)
        last = Stopper(None)
        made = train(self.out, progress=last, devices=4)
        self.assertLessEqual(last.updates, 6)
        self.assertNear(made, whole())

    def assertNear(self, one, other):
        for a, b in zip(
            jax.tree.leaves(one.value.params),
            jax.tree.leaves(other.value.params),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=1e-5)

    def test_damaged_it_goes_on_from_the_one_before(self):
        self.killed(6)
        folder = self.out / ".standard.scratch" / "checkpoints" / "1"
        newest = max(folder.iterdir(), key=lambda path: int(path.name))
        largest = max(newest.rglob("*"), key=lambda path: path.stat().st_size)
        os.truncate(largest, largest.stat().st_size // 2)
        with self.assertWarnsRegex(
            UserWarning, f"{newest} is damaged .*; the one before"
        ):
            made = train(self.out)
        self.assertEqual(made.digest, whole().digest)

    def test_one_of_another_program_is_named_and_left(self):
        self.killed(6)
        scratch = self.out / ".standard.scratch"
        shutil.rmtree(scratch / "checkpoints")
        with Checkpoints(scratch / "checkpoints", 0).fold() as fold:
            fold.save(3, {"state": [np.ones(3)]}, {"epoch": 0})
        with self.assertWarnsRegex(UserWarning, "1/3 is damaged .*; work begins"):
            self.assertEqual(train(self.out).digest, whole().digest)

    def test_a_loss_that_is_not_finite_is_not_kept(self):
        def keep(update):
            scratch = self.out / ".standard.scratch" / "checkpoints" / "1"
            return scratch / str(update)

        diverging = replace(STANDARD, learning_rate=1e30, warmup=0)
        step = Steps(self.out, 0, local(Work(devices=1, checkpoint_minutes=0)))
        D, test = given("D", toy(32, 0)), given("test", toy(16, 1))
        with jax.debug_nans(False):
            with self.assertRaisesRegex(FloatingPointError, "nan at step 2") as first:
                step("standard", fit, D, test, network=NETWORK, training=diverging)
            with self.assertRaises(FloatingPointError) as again:
                step("standard", fit, D, test, network=NETWORK, training=diverging)
        self.assertEqual(str(again.exception), str(first.exception))
        self.assertEqual((keep(1).exists(), keep(2).exists()), (True, False))

    def test_two_trainings_of_one_step_are_two_folds(self):
        def both(key, D, test, *, env):
            network = Linear((0.5,), (0.25,))
            options = {"network": network, "training": replace(STANDARD, epochs=1)}
            first, second = (
                fit(key, D, test, env=env, **options) for key in jax.random.split(key)
            )
            first, second = (
                jax.tree.leaves(made.params)[0] for made in (first, second)
            )
            return {"first": first, "second": second}

        def run(out, after):
            work = Work(devices=1, evaluation_batch=16, checkpoint_minutes=0)
            step = Steps(out, 0, local(work, progress=Stopper(after)))
            D, test = given("D", toy(32, 0)), given("test", toy(16, 1))
            return step("both", both, D, test)

        with self.assertRaises(Stop):
            run(self.out, 7)
        unharmed = run(self.root / "whole", None)
        self.assertEqual(run(self.out, None).digest, unharmed.digest)

    def test_kill_9(self):
        code = (
            "import sys, os, signal; sys.path[:0] = ['tests', '.'];"
            "import conftest, resume_test as r;"
            "r.Stop = lambda: os.kill(os.getpid(), signal.SIGKILL);"
            f"r.train({str(self.out)!r}, progress=r.Stopper(6, r.Stop))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=helpers.ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
        last = Stopper(None)
        made = train(self.out, progress=last)
        self.assertEqual(made.digest, whole().digest)
        self.assertLessEqual(last.updates, 8)


class FoldTest(FoldFolders):
    def saved(self, folder, *numbers):
        with Checkpoints(folder, 0).fold() as fold:
            for number in numbers:
                fold.save(number, self.arrays(number), {"number": number})

    def arrays(self, number):
        a = np.arange(100, dtype=np.float32) + number
        return {
            "all": [a, np.int32(number), np.full((2, 3), number, jax.numpy.bfloat16)]
        }

    def load(self, folder):
        with Checkpoints(folder, 0).fold() as fold:
            return fold.load(lambda kept: kept)

    def test_the_newest_two_are_kept_with_types(self):
        self.assertIsNone(self.load(self.out))
        self.saved(self.out, 2, 5, 11)
        self.assertEqual(sorted(os.listdir(self.out / "1")), ["11", "5"])
        arrays, notes = self.load(self.out)
        self.assertEqual(notes, {"number": 11})
        for a, b in zip(arrays["all"], self.arrays(11)["all"], strict=True):
            self.assertEqual((a.dtype, a.tobytes()), (b.dtype, b.tobytes()))

    # TensorStore answers after Orbax has given up.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_whatever_is_flipped_or_cut_it_is_whole_or_named(self):
        self.saved(self.root / "a", 5, 11)
        newest = self.root / "a" / "1" / "11"
        files = sorted(file for file in newest.rglob("*") if file.is_file())
        named = 0
        for number, file in enumerate(files):
            content = file.read_bytes()
            flipped = bytearray(content)
            flipped[len(content) // 2] ^= 16
            for damaged in (bytes(flipped), content[: len(content) // 2]):
                copy = self.root / f"{number}-{len(damaged)}"
                shutil.copytree(self.root / "a", copy)
                (copy / file.relative_to(self.root / "a")).write_bytes(damaged)
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    found = self.load(copy)
                named += len(said)
                expected = 5 if said else 11
                self.assertEqual(found.notes, {"number": expected}, file)
                a, b = found.arrays["all"][0], self.arrays(expected)["all"][0]
                np.testing.assert_array_equal(a, b, str(file))
                if said:
                    self.assertIn(f"{copy}/1/11 is damaged", str(said[0].message))
                    # Another can be written in its place.
                    self.saved(copy, 11)
                    self.assertEqual(self.load(copy).notes, {"number": 11})
        self.assertGreater(named, 6)

    def test_a_number_that_another_took_the_place_of_is_named(self):
        self.saved(self.out, 5, 11)
        notes = self.out / "1" / "11" / "notes" / "metadata"
        said = notes.read_text()
        notes.write_text(said.replace("11", "12", 1))
        self.assertNotEqual(notes.read_text(), said)
        with self.assertWarnsRegex(UserWarning, "1/11 is damaged .it is not as it was"):
            self.assertEqual(self.load(self.out).notes, {"number": 5})

    def test_a_full_disk_is_an_error_in_words(self):
        self.saved(self.out, 1)
        noise = np.random.default_rng(0).random(9000)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            with self.assertRaisesRegex(OSError, f"{self.out}/1 can not be written: "):
                with Checkpoints(self.out, 0).fold() as fold:
                    fold.save(2, {"noise": [noise]}, {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.assertEqual(self.load(self.out).notes, {"number": 1})
        self.saved(self.out, 2)
        self.assertEqual(self.load(self.out).notes, {"number": 2})
