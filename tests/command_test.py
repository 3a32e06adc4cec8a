"""What the command says: durations, plans, errors of the system."""

import contextlib
import errno
import io
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
