"""What the command says: durations, plans, errors of the system."""

import contextlib
import errno
import io
from pathlib import Path

from absl.testing import parameterized

from nrf import __main__ as command
from nrf.config.accelerators import assumed
from nrf.runs.plan import Planned, duration, table


class WordsTest(parameterized.TestCase):
    @parameterized.parameters(
        (None, "–"), (0.4, "< 1 s"), (99, "99 s"), (210, "4 min"), (7200, "2.0 h")
    )
    def test_durations(self, seconds, words):
        self.assertEqual(duration(seconds), words)

    def test_plan(self):
        steps = [
            Planned("seed0/standard", True, 1200, 3.0, None, None),
            Planned("seed0/D_R", False, 60000, 61.0, 7.5e15, 4e13),
            Planned("seed0/D_NR", False, 60000, 61.0, 2e15, 2e13),
            Planned("seed0/leakage", False, None, None, None, None),
        ]
        self.assertEqual(
            table(steps).splitlines(),
            [
                "step                   images     PFLOP        TB      time",
                "seed0/standard          1,200         –         –      done",
                "seed0/D_R              60,000       7.5        40      61 s",
                "seed0/D_NR             60,000         2        20      61 s",
                "seed0/leakage               –         –         –         –",
                "1 of 4 steps are done; at most 2 min of computation left, 9.5 PFLOP "
                "and 60 TB from and to memory, and those whose time is not known.",
            ],
        )

    def test_a_prediction_says_what_it_assumes(self):
        words = r"not measured: v5e at 36% .* 197 in bfloat16 .* 70% of 0.82 TB/s"
        self.assertRegex(assumed("v5e"), words)

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
