"""Several processes are one run: results, errors, signals and deaths."""

import json
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import together
from absl.testing import parameterized

from nrf import devices, hosts
from nrf.config import options
from nrf.config.files import load
from nrf.experiments import main

# Everything, with networks of a few units.
WHOLE = """
from dataclasses import replace

import helpers
from nrf.config import PGD, Controls
from nrf.experiments.controls import RandomPush

one = replace(helpers.TRAINING, epochs=1)
D_R, _, D_rand, _ = (replace(made, train=one) for made in helpers.tiny().sets)
config = helpers.tiny(
    networks={"standard": one, "robust": replace(one, attack=PGD("l2", 0.5, 2, 0.3))},
    sets=(D_R, replace(D_rand, train=None)),
    evaluation=helpers.THOROUGH,
    features=replace(helpers.FEATURES, images=40),
    autoattack=replace(helpers.AUTOATTACK, images=20),
    controls=Controls(
        sets=(
            replace(D_rand, name="D_random", recipe=RandomPush(), source="D_rand"),
        )
    ),
    closeness=helpers.CLOSENESS,
)
"""
# A set that asks all processes for numbers until one of them does what `trouble` says.
TROUBLED = """
import itertools
import os
import signal
from dataclasses import replace
from pathlib import Path

import helpers
import jax
import numpy as np
from jax.experimental import multihost_utils

from nrf.config import Evaluation, Set
from nrf.experiments.recipes import constructed
from nrf.models import Linear

TROUBLE = Path(__file__).with_name("trouble")


def troubled(key, dataset, *, env):
    what, who = TROUBLE.read_text().split()
    for number in itertools.count():
        if what == "none":
            return constructed(dataset, dataset.images, dataset.labels)
        if number == 3 and jax.process_index() == int(who):
            if what == "error":
                raise ValueError("there is no ink")
            if what == "fault":
                raise KeyError("paper")
            os.kill(os.getpid(), getattr(signal, what))
        multihost_utils.process_allgather(np.ones(1))


config = helpers.tiny(
    network=Linear((0.3,), (0.38,)),
    networks={"standard": replace(helpers.TRAINING, epochs=1)},
    sets=(Set("D_R", troubled),),
    evaluation=Evaluation("l2", (), steps=1),
)
"""
# What processes say to each other, without a run.
TALK = """
import os
import sys
from pathlib import Path

from nrf import hosts


def refused(f):
    try:
        f()
    except Exception as error:
        print(type(error).__name__, error)


def fail(error):
    raise error


hosts.start(patience=20, wait=20)
number, folder = int(os.environ["SLURM_PROCID"]), Path(sys.argv[1])
print(hosts.first() == (number == 0), hosts.agree({"from": number}))
print(hosts.together(lambda: (number, None)), hosts.gather(number))
for error in (ValueError("a"), OSError("b"), FloatingPointError("c"), KeyError("d")):
    refused(lambda: hosts.together(lambda: fail(error)))
refused(lambda: hosts.together(lambda: hosts))
hosts.barrier("same")
refused(lambda: hosts.barrier(f"place {number}"))
hosts.check_shared(folder)
refused(lambda: hosts.check_shared(folder / str(number), wait=0.1))
print(hosts.name())
sys.exit(hosts.leave(0))
"""
FAILED = ["ValueError a", "OSError b", "FloatingPointError c"]


class RunTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.out = self.folder / "run"

    def line(self, study, *options):
        file = self.folder / "study.py"
        file.write_text(study)
        return together.command("run", file, "--out", self.out, *options)

    def test_two_processes_find_what_one_finds(self):
        line = self.line(WHOLE)
        first, second = together.launch(line)
        self.assertEqual((first.code, second.code), (0, 0), first.err + second.err)
        self.assertRegex(first.err, r"\n\[.*seed0/features_robust: ")
        self.assertEqual(first.out.strip().splitlines()[-1], f"{self.out}/report.html")
        self.assertEqual(second.out + second.err, "")
        # Trainings of several processes use all devices, of one processor only one.
        with mock.patch.object(devices, "for_training", lambda mesh: mesh):
            main.run(load(str(self.folder / "study.py")), self.folder / "one")
        away = together.differences(self.folder / "one", self.out)
        self.assertIn("seed0/D_R.images", away)
        for place, far in away.items():
            # Distances and slopes are sums of what is as close as images and weights.
            array = place.endswith(".images") or ".params." in place
            self.assertLess(far, 1e-6 if array else 1e-5, place)

    def ended(self, trouble, *codes, patience=30):
        (self.folder / "trouble").write_text(trouble)
        line = self.line(TROUBLED, "--patience", patience)
        done = together.launch(line, timeout=60)
        self.assertEqual([one.code for one in done], [*codes], done)
        return done

    def test_all_end_when_one_ends_and_the_same_command_goes_on(self):
        first, second = self.ended("error 1", 1, 1)
        self.assertRegex(first.err, r"process 1 on \S+: there is no ink$")
        self.assertEqual(second.err, "there is no ink")
        first, second = self.ended("fault 0", 1, 1)
        self.assertRegex(first.err, r"Traceback[^$]*KeyError: 'paper'$")
        self.assertRegex(second.err, r"^process 0 on \S+: KeyError: 'paper'$")
        # Process 0 keeps what it has, whoever was stopped.
        first, second = self.ended("SIGTERM 1", 143, 143)
        self.assertRegex(first.err, "Stopped; .* keeps 1 finished step. To go on: ")
        for one in (first, second):
            self.assertRegex(one.err, r"process 1 on \S+ was stopped.$")
        first, _ = self.ended("SIGKILL 1", 1, -signal.SIGKILL, patience=5)
        self.assertRegex(first.err, "process 1 has not been heard of for 5 s. The same")
        _, second = self.ended("SIGKILL 0", -signal.SIGKILL, 1)
        self.assertRegex(second.err, "process 1 on .* has lost process 0.*go on.$")
        first, second = self.ended("none 0", 0, 0)
        self.assertRegex(first.err, "^1 step was there already\n")
        self.assertEqual(second.out + second.err, "")
        rows = json.loads((self.out / "results.json").read_text())["rows"]
        self.assertLen(rows, 1)
        self.assertEmpty(list(self.out.rglob(".*")))


class WordsTest(parameterized.TestCase):
    def test_processes_that_slurm_has_started_agree(self):
        with tempfile.TemporaryDirectory() as folder:
            line = [sys.executable, "-c", TALK, folder]
            first, second = together.launch(line, timeout=60, by_slurm=True)
        self.assertEqual((first.code, second.code), (0, 0), first.err + second.err)
        for done in (first, second):
            lines = done.out.splitlines()
            self.assertEqual(lines[0], "True {'from': 0}")
            self.assertEqual(lines[1], "[0, None] [0, 1]")
            self.assertEqual(lines[2:5], FAILED)
            self.assertIn("different places, place 0 and place 1", lines[7])
            self.assertIn("process 1 on", lines[8])
            self.assertIn("cannot see what process 0 has put in", lines[8])
        self.assertEqual(first.out.splitlines()[5], "KeyError 'd'")
        self.assertEqual(second.out.splitlines()[5], "RuntimeError 'd'")
        self.assertStartsWith(second.out.splitlines()[9], "process 1 on ")

    def test_one_process_asks_nobody(self):
        self.assertTrue(hosts.first())
        self.assertFalse(hosts.started())
        value = object()  # As it is: nothing goes through JSON.
        self.assertIs(hosts.agree(value), value)
        self.assertEqual(hosts.gather(value), [value])
        hosts.barrier("here")
        hosts.check_shared(Path("/nowhere"))
        hosts.tell("nobody", 1)
        self.assertFalse(hosts.wait_for_reason())
        self.assertEqual(hosts.leave(3), 3)
        with self.assertRaisesRegex(ValueError, "cannot see .*/nowhere"):
            hosts.see(Path("/nowhere"), wait=0.0)

    @parameterized.parameters(
        ((None, 2, 0), "all three or, .* none; got None, 2 and 0"),
        (("here:1", None, 0), "got here:1, None and 0"),
        (("here:1", 0, 0), "processes must be at least 1, got 0"),
        (("here:1", 2, 2), "process must be in 0 .. 1, .* counted from 0, got 2"),
        (("here", 2, 0), "coordinator must be HOST:PORT .*, got 'here'"),
        (("here:70000", 2, 1), "coordinator must be HOST:PORT"),
        (("localhost:1", 2, 1), "process 1 cannot reach localhost:1 .* refused"),
    )
    def test_start_refuses(self, given, words):
        with self.assertRaisesRegex(ValueError, words):
            hosts.start(*given, wait=1)
        self.assertFalse(hosts.started())

    def test_start_refuses_a_port_that_is_taken_and_times_that_are_none(self):
        with socket.create_server(("", 0)) as server:
            port = server.getsockname()[1]
            with self.assertRaisesRegex(ValueError, f"port {port} .*in use. Give all"):
                hosts.start(f"localhost:{port}", 2, 0)
        with self.assertRaisesRegex(ValueError, "at least 1 second, got 0 and 300"):
            hosts.start("localhost:1", 2, 0, patience=0)

    def test_process_that_is_alone_ends_in_words(self):
        code = (
            "import sys; from nrf import hosts; hosts.start(*eval(sys.argv[1]), wait=1)"
        )
        for given, words in (
            ((f"localhost:{together.free_port()}", 2, 0), "Process 0 has waited 1 s"),
            ((), "JAX finds no cluster here .*"),
        ):
            done = subprocess.run(
                [sys.executable, "-c", code, repr(given)],
                capture_output=True,
                text=True,
                cwd=together.ROOT,
                timeout=60,
            )
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr.splitlines()[-1], words)


class OptionsTest(parameterized.TestCase):
    def parse(self, line):
        return options.parse(load("digits"), ["--out", "x", *line.split()]).flags.hosts

    def test_are_those_of_start(self):
        self.assertIsNone(self.parse(""))
        self.assertEqual(self.parse("--distributed"), {})
        self.assertEqual(
            self.parse("--distributed --coordinator a:1 --processes 2 --process 0"),
            {"coordinator": "a:1", "processes": 2, "process": 0},
        )

    @parameterized.parameters(
        ("--process 0", "--process is of a run of several processes; add --distr"),
        ("--distributed --plan", "--plan needs one process"),
    )
    def test_refuses(self, line, words):
        with self.assertRaisesRegex(options.OptionError, words):
            self.parse(line)
