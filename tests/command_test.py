"""What the command says: durations, plans, errors of the system."""

import contextlib
import errno
import gc
import io
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from absl.testing import parameterized

from nrf import __main__ as command


class WordsTest(parameterized.TestCase):
    @parameterized.parameters(
        (None, "–"), (0.4, "< 1 s"), (99, "99 s"), (210, "4 min"), (7200, "2.0 h")
    )
    def test_durations(self, seconds, words):
        self.assertEqual(command.duration(seconds), words)

    def test_plan(self):
        class Planned(NamedTuple):
            step: str
            done: bool
            examples: int | None
            seconds: float | None

        steps = [
            Planned("seed0/standard", True, 1200, 3.0),
            Planned("seed0/D_R", False, 60000, 61.0),
            Planned("seed0/leakage", False, None, None),
        ]
        self.assertEqual(
            command.plan_table(steps).splitlines(),
            [
                "step                   images      time",
                "seed0/standard          1,200      done",
                "seed0/D_R              60,000      61 s",
                "seed0/leakage               –         –",
                "1 of 3 steps are done; at most 61 s of computation left, and those "
                "whose time is not known.",
            ],
        )

    def test_version(self):
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            self.assertEqual(command.main(["--version"]), 0)
        self.assertRegex(shown.getvalue(), r"^nrf \d+\.\d+")

    def test_the_systems_errors_name_a_file(self):
        self.assertEqual(
            command.in_words(OSError(errno.ENOSPC, "No space left"), Path("runs/a")),
            "runs/a: No space left",
        )
        self.assertEqual(
            command.in_words(FileNotFoundError(2, "No such file", "b/c"), Path("a")),
            "b/c: No such file",
        )
        self.assertEqual(command.in_words(OSError("b is full")), "b is full")
        self.assertEqual(command.in_words(ValueError()), "ValueError")

    def test_what_a_stopped_run_keeps(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            for name in ("a/manifest.json", ".b.scratch/shards/1-20-50-f3.shard"):
                (out / "seed0" / name).parent.mkdir(parents=True)
                (out / "seed0" / name).touch()
            (out / "seed0/.b.scratch/shards/2-0-2000-ab.shard").touch()
            err = io.StringIO()
            with contextlib.redirect_stderr(err):
                code = command._stopped(out, "nrf run x", 143, ["of seed0/c 3 epochs"])
        self.assertEqual(code, 143)
        self.assertEqual(
            err.getvalue(),
            f"\nStopped; {out} keeps 1 finished step, and of seed0/c 3 epochs, and of "
            "seed0/b 2,030 results. To go on: nrf run x\n",
        )


class Finalised:
    """Something that sends a signal when Python deletes it."""

    def __init__(self, number: int):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)


class StopTest(parameterized.TestCase):
    @parameterized.product(
        number=(signal.SIGINT, signal.SIGTERM), where=("finaliser", "collector")
    )
    def test_is_not_lost_where_nothing_is_raised(self, number, where):
        """JAX has a callback there, and Python goes on after its exceptions."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        hook = sys.unraisablehook
        sent = []

        def collecting(phase, info):
            if not sent and threading.current_thread() is threading.main_thread():
                sent.append(phase)
                os.kill(os.getpid(), number)

        with self.assertRaises(KeyboardInterrupt) as raised, command._terminable():
            if where == "finaliser":
                Finalised(number)
            else:  # Not before: the collector may come at any time.
                gc.callbacks.append(collecting)
                self.addCleanup(gc.callbacks.remove, collecting)
                gc.collect()
            time.sleep(5)
        terminated = isinstance(raised.exception, command._Terminated)
        self.assertEqual(terminated, number == signal.SIGTERM)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
        self.assertIs(sys.unraisablehook, hook)

    def test_a_second_ctrl_c_ends_at_once_and_a_second_sigterm_does_not(self):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        with command._terminable():
            with self.assertRaises(command._Terminated):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            with (
                mock.patch.object(os, "_exit", side_effect=SystemExit) as end,
                mock.patch.object(os, "write"),
                self.assertRaises(SystemExit),
            ):
                signal.raise_signal(signal.SIGINT)
            end.assert_called_once_with(130)
