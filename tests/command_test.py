"""What the command says: durations, plans, errors of the system."""

import contextlib
import errno
import gc
import io
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

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


class StopTest(parameterized.TestCase):
    @parameterized.parameters(signal.SIGINT, signal.SIGTERM)
    def test_is_not_lost_in_a_callback_of_the_garbage_collector(self, number):
        """JAX has one, and Python goes on after exceptions there."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        sent = []

        def collecting(phase, info):
            if not sent:
                sent.append(phase)
                os.kill(os.getpid(), number)
                sum(range(100))  # Python looks for signals between its steps.

        with self.assertRaises(KeyboardInterrupt) as raised, command._terminable():
            # Not before: the collector may come at any time.
            gc.callbacks.append(collecting)
            self.addCleanup(gc.callbacks.remove, collecting)
            gc.collect()
            time.sleep(5)
        terminated = isinstance(raised.exception, command._Terminated)
        self.assertEqual(terminated, number == signal.SIGTERM)
        self.assertEqual(sent, ["start"])
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
