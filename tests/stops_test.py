"""Runs that are told to end."""

import gc
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

from absl.testing import absltest, parameterized

from nrf import stops


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

        with self.assertRaises(KeyboardInterrupt) as raised, stops.terminable():
            if where == "finaliser":
                Finalised(number)
            else:  # Not before: the collector may come at any time.
                gc.callbacks.append(collecting)
                self.addCleanup(gc.callbacks.remove, collecting)
                gc.collect()
            time.sleep(5)
        terminated = isinstance(raised.exception, stops.Terminated)
        self.assertEqual(terminated, number == signal.SIGTERM)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
        self.assertIs(sys.unraisablehook, hook)

    def test_a_second_ctrl_c_ends_at_once_and_a_second_sigterm_does_not(self):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        with stops.terminable():
            with self.assertRaises(stops.Terminated):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            with (
                mock.patch.object(os, "_exit", side_effect=SystemExit) as end,
                mock.patch.object(os, "write"),
                self.assertRaises(SystemExit),
            ):
                signal.raise_signal(signal.SIGINT)
            end.assert_called_once_with(130)


class KeptTest(absltest.TestCase):
    def test_finished_steps_and_parts_of_others(self):
        with tempfile.TemporaryDirectory() as folder:
            seed = Path(folder, "seed0")
            for name in ("a/manifest.json", ".b.scratch/shards/1-20-50-f3.shard"):
                (seed / name).parent.mkdir(parents=True)
                (seed / name).touch()
            (seed / ".b.scratch/shards/2-0-2000-ab.shard").touch()
            kept = stops.kept(Path(folder))
        self.assertEqual(kept, ["1 finished step", "of seed0/b 2,030 results"])
