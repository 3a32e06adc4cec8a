"""The command and the scripts, as a user runs them."""

import contextlib
import errno
import io
import json
import os
import re
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from absl.testing import parameterized

from nrf import __main__ as command
from nrf.runs import store

ROOT = Path(__file__).parent.parent
PUSHED = ("D-rand", "D-det", "D-rand-robust", "D-det-robust")
SETS = ("D-R", "D-NR", *PUSHED)
TRAININGS = ("standard", "robust", *(f"{name}.train" for name in SETS))
TINY = (
    "--seeds 0 --train-examples 60 --test-examples 120 --network.widths 4 4 4 "
    "--evaluation.epsilons 0.5 --evaluation.steps 2 "
    "--work.evaluation-batch 40 --work.synthesis-batch 60 "
    "--features.images 120 --features.steps 2 "
    "--D-R.recipe.steps 2 --D-NR.recipe.steps 2 "
    "--mlp None --linear None --closeness None "
    + " ".join(f"--{name}.recipe.attack.steps 2" for name in PUSHED)
    + " "
    + " ".join(f"--{name}.epochs 1 --{name}.batch-size 20" for name in TRAININGS)
).split()
STUDY = """
from nrf.config import PGD, Learner, Training, Transfer
from nrf.experiments import Mislabel
from nrf.models import MLP, Small

training = Training(epochs=1, batch_size=20, learning_rate=0.05)
attack = PGD("l2", 1.0, steps=3, step_size=0.5)
config = Transfer(
    name="study",
    data="digits",
    source=Small((0.3,), (0.38,), widths=(4, 5)),
    source_training=training,
    learners=tuple(
        Learner(f"mlp{width}", MLP((0.3,), (0.38,), (width,)), training, training)
        for width in (4, 5, 6)
    ),
    attack=attack,
    D_det=Mislabel(attack, "next"),
    test_examples=60,
)
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def python(*arguments, **environment):
    """Runs Python in the checkout."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def nrf(*arguments, main=command.main):
    """The command in this process, where JAX is there already."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # tyro's, or a script's.
            code = end.code
    return Ended(code, out.getvalue(), err.getvalue())


def script(name, *arguments):
    """A file of scripts/ in this process."""

    def main(words):
        with mock.patch.object(sys, "argv", [name, *words]):
            runpy.run_path(str(ROOT / name), run_name="__main__")

    return nrf(*arguments, main=main)


@contextlib.contextmanager
def full():
    """No file above 1 kB can be written, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class RunTest(parameterized.TestCase):
    def test_digits_from_command_to_page(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "digits"
            options = ["--out", out, *TINY]
            done = python("scripts/run.py", "configs/digits.py", *options)
            self.assertEqual(done.code, 0, done.err)
            self.assertIn("| D, adversarial ", done.out)
            page = out / "report.html"
            self.assertEqual(done.out.strip().splitlines()[-1], str(page))
            # A log has one line for each step, with what came of it.
            self.assertRegex(done.err, r"seed0/D_R: \d+\.\d s, .*\d")
            self.assertLess(len(done.err.splitlines()), 60)
            results = json.loads((out / "results.json").read_text())
            self.assertEqual(results["config"]["train_examples"], 60)
            # Two devices, of however many cores.
            self.assertStartsWith(results["device"], "cpu x 2 (")
            self.assertStartsWith(
                results["command"], "python scripts/run.py configs/digits.py --out"
            )
            html = page.read_bytes()

            # By its name, with a terminal that has no ±; nothing is made again.
            again = python(
                "-m", "nrf", "run", "digits", *options, PYTHONIOENCODING="ascii"
            )
            self.assertEqual(again.code, 0, again.err)
            self.assertRegex(again.err, r"^\d+ steps were there already\n$")

            other = nrf("run", "digits", *options, "--D-R.recipe.steps", 3)
            self.assertEqual(other.code, 1)
            self.assertRegex(
                other.err, "D_R was made with .*steps=2; this run asks for 3"
            )

            page.unlink()
            remade = script("scripts/report.py", out)
            self.assertEqual(remade.out.strip(), str(page), remade.err)
            self.assertEqual(remade.code, 0, remade.err)
            self.assertIn(b"D_R", html)

            compared = nrf("compare", out)
            self.assertEqual(compared.code, 0, compared.err)
            self.assertIn("| D, adversarial", compared.out)
            self.assertTrue((Path(folder) / "comparison.html").is_file())

            with full():
                failed = nrf("run", "digits", *options)
            self.assertEqual(failed.code, 1)
            self.assertIn(os.strerror(errno.EFBIG), failed.err.splitlines()[-1])
            self.assertIn(str(out), failed.err.splitlines()[-1])
            self.assertNotIn("Traceback", failed.err)

    def test_plan_shows_steps_and_makes_none(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "digits"
            done = nrf("run", "digits", "--out", out, *TINY, "--plan")
            self.assertEqual(done.code, 0, done.err)
            self.assertRegex(done.out, r"\nseed0/standard +60 ")
            self.assertRegex(done.out, r"\nseed0/on_D_R +60 ")
            self.assertRegex(done.out, r"\n0 of \d+ steps are done")
            self.assertEmpty(list(Path(folder).rglob("manifest.json")))

    def test_theory_from_command_to_page(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "gaussian"
            options = (
                "--samples 200 --fit-samples 50 --fit-epsilons 1 --pgd 2 0.3 4 0.2 "
                "--dimensions 2 3 --dimension-samples 60 --draws 1000 --problems 9 "
                "--ellipses.examples 200 --ellipses.standard.epochs 1 "
                "--ellipses.robust.epochs 1 --work.evaluation-batch 100"
            ).split()
            line = ["-m", "nrf", "run", "gaussian", "--out", out, *options]
            # Killed while it is in its third step, it goes on after the second.
            with subprocess.Popen(
                [sys.executable, *map(str, line)],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
            ) as killed:
                begun = [killed.stderr.readline() for _ in range(2)]
                killed.kill()
            self.assertEqual(killed.returncode, -signal.SIGKILL)
            self.assertFalse((out / "theory.json").exists())
            done = python(*line)
            self.assertEqual(done.code, 0, done.err)
            self.assertRegex(done.err, r"^2 steps were there already\n")
            for step in begun:
                self.assertNotIn(step.partition(" ")[0], done.err)
            self.assertEqual(done.out.strip(), str(out / "report.html"))
            results = json.loads((out / "theory.json").read_text())
            self.assertLen(results["fits"], 3)
            self.assertEqual(results["config"]["samples"], 200)
            variances = np.array(results["curve"]["eigenvalues"])
            self.assertTrue((np.diff(variances, axis=0) > 0).all())

    def test_transfer_from_command_to_page(self):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "study.py"
            config.write_text(STUDY)
            out = Path(folder) / "run"
            options = (
                "--halves False --storage float16 --train-examples 60 "
                "--mlp4.network.widths 3"
            ).split()
            done = nrf("run", config, "--out", out, *options)
            self.assertEqual(done.code, 0, done.err)
            self.assertIn("| source", done.out)
            page = str(out / "report.html")
            self.assertEqual(done.out.strip().splitlines()[-1], page)
            self.assertRegex(done.err, r"seed0/mlp5_on_D_det: \d+\.\d s")
            results = json.loads((out / "transfer.json").read_text())
            self.assertEqual(results["config"]["learners"][0]["network"]["widths"], [3])
            # Without halves D_det is of all training images.
            made = store.load(out / "seed0" / "D_det")
            self.assertLen(made.labels, 60)
            self.assertEqual(made.images.dtype, np.float16)

            again = nrf("run", config, "--out", out, *options, "--quiet")
            self.assertEqual((again.code, again.err), (0, ""))

    def test_stopped_it_says_what_is_kept_and_how_to_go_on(self):
        """By Ctrl-C; by SIGTERM, in `hosts_test.py`."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "digits"
            lines = []
            # Where these tests themselves run in the background, Ctrl-C is ignored.
            begin = (
                "import runpy, signal;"
                "signal.signal(signal.SIGINT, signal.default_int_handler);"
                "runpy.run_module('nrf', run_name='__main__', alter_sys=True)"
            )
            command = [
                sys.executable,
                "-c",
                begin,
                "run",
                "digits",
                "--out",
                out,
                *TINY,
            ]
            endless = ["--robust.epochs", "100000", "--work.checkpoint-minutes", "0"]
            kept = out / "seed0" / ".robust.scratch" / "checkpoints" / "1"
            with subprocess.Popen(
                command + endless, cwd=ROOT, stderr=subprocess.PIPE, text=True
            ) as run:
                while run.poll() is None and not list(kept.glob("[0-9]*")):
                    time.sleep(0.05)
                run.send_signal(signal.SIGINT)
                lines = [*run.stderr]
            self.assertEqual(run.returncode, 130, lines)
            self.assertLen(lines, 4, lines)  # A step, its time, nothing, and this:
            said = re.fullmatch(
                f"Stopped; {out} keeps 1 finished step, and of seed0/robust (\\d+) of "
                "100000 epochs and (\\d) updates. To go on: "
                f"python -m nrf run digits --out {out} --seeds .*\n",
                lines[-1],
            )
            self.assertIsNotNone(said, lines[-1])
            epoch, update = map(int, said.groups())
            newest = max(int(path.name) for path in kept.iterdir())
            # An epoch's three updates and its end, before which the third is said to
            # be an epoch too.
            expected = 4 * epoch + update
            self.assertIn(newest, [expected, expected - (update == 0)])


class RefusalsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("field", ["--robust.atack.steps", "3"], 2, "--robust.attack.steps"),
        ("value", ["--robust.attack.steps", "0"], 2, "least 1, got 0"),
        ("choice", ["--robust.attack.norm", "l1"], 2, "linf"),
        ("data", ["--data", "cifar1O", "--data-dir", "/"], 1, "cifar10"),
        ("folder", ["--data", "cifar10", "--data-dir", "/nowhere"], 1, "/nowhere"),
        ("writable", ["--out", "/proc/nowhere"], 1, "can not be written"),
    )
    def test_refuses_before_any_work(self, options, code, message):
        with tempfile.TemporaryDirectory() as folder:
            done = nrf("run", "digits", "--out", Path(folder) / "run", *options)
            self.assertEqual(done.code, code)
            said = " ".join((done.out + done.err).split())
            self.assertIn(message, said)
            self.assertEmpty(list(Path(folder).rglob("*.json")))

    @parameterized.parameters(
        ("run", 2, "CONFIG is a file, or the name of one.*cifar10, .*digits"),
        ("run --out x", 2, "CONFIG is a file"),
        ("run digitz --out x", 1, "Did you mean digits"),
        (
            "runn digits",
            2,
            "no command 'runn'; it has run, report, compare, verify, import, export, "
            "prepare-cifar10",
        ),
        ("digits", 2, "no command 'digits'; .* Did you mean nrf run digits"),
        ("run digits --out x --reuse /nowhere", 2, "--reuse: there is no folder /now"),
        ("report /nowhere", 1, "/nowhere"),
        ("compare /nowhere", 1, "/nowhere"),
        ("compare", 2, "give folders of runs"),
        ("prepare-cifar10 --archive /nowhere", 1, "/nowhere"),
    )
    def test_says_what_is_wrong(self, line, code, words):
        done = nrf(*line.split())
        self.assertEqual(done.code, code)
        self.assertRegex(done.err.replace("\n", " "), words)

    def test_refuses_what_is_no_experiment(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "study.py"
            file.write_text("config = {'seeds': 3}\n")
            done = nrf("run", file, "--out", folder)
            self.assertEqual(done.code, 1)
            self.assertRegex(done.err, "study.py has a config of type dict; nrf runs")

    @parameterized.parameters(
        "scripts/run.py configs/digits.py",
        "scripts/theory.py configs/gaussian.py",
        "scripts/compare.py",
        "scripts/report.py",
    )
    def test_help_of_scripts(self, line):
        done = script(*line.split(), "--help")
        self.assertEqual((done.code, done.err), (0, ""))
        self.assertRegex(done.out, "usage|nrf run")

    @parameterized.parameters(
        "run transfer_small", "run photos_full", "run", "report", "prepare-cifar10"
    )
    def test_help(self, line):
        done = nrf(*line.split(), "--help")
        self.assertEqual(done.code, 0)
        self.assertIn("usage", done.out)
