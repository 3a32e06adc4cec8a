"""The scripts and the commands of the README, as a user runs them."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl.testing import parameterized

from nrf.runs import formats

ROOT = Path(__file__).parent.parent
TINY = (
    "--seeds 0 --train-examples 60 --test-examples 120 --standard.epochs 1 "
    "--robust.epochs 1 --on.D-R.epochs 1 --on.D-NR.epochs 1 --on.D-rand.epochs 1 "
    "--on.D-det.epochs 1 --matching.steps 2 --mislabelling.attack.steps 2 "
    "--evaluation.steps 2 --evaluation.batch-size 40 --network.widths 4 4 4 "
    "--standard.batch-size 20 --robust.batch-size 20 --on.D-R.batch-size 20 "
    "--on.D-NR.batch-size 20 --on.D-rand.batch-size 20 --on.D-det.batch-size 20 "
    "--synthesis-batch 60 --features.images 120 --features.steps 2"
).split()


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
    )


class RunTest(parameterized.TestCase):
    def test_digits_from_command_to_page(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "digits"
            command = ["scripts/run.py", "configs/digits.py", "--out", out, *TINY]
            done = python(*command)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("| D, adversarial |", done.stdout)
            self.assertEqual(
                done.stdout.strip().splitlines()[-1], str(out / "report.html")
            )
            self.assertRegex(done.stderr, r"seed 0: D_R: 100%.*images/s")
            results = json.loads((out / "results.json").read_text())
            self.assertEqual(results["config"]["train_examples"], 60)
            self.assertIn("configs/digits.py", results["command"])
            page = (out / "report.html").read_bytes()

            again = python(*command)
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertNotIn("images/s", again.stderr)

            other = python(*command, "--matching.steps", "3")
            self.assertEqual(other.returncode, 1)
            self.assertRegex(other.stderr, "D_R was made with .*steps=2.*says 3")
            self.assertNotIn("Traceback", other.stderr)

            remade = python("scripts/report.py", out)
            self.assertEqual(remade.returncode, 0, remade.stderr)
            self.assertEqual((out / "report.html").read_bytes(), page)

    def test_theory_from_command_to_page(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "gaussian"
            options = (
                "--samples 200 --fit-samples 50 --fit-epsilons 1 --pgd 2 0.3 4 0.2 "
                "--dimensions 2 3 --dimension-samples 60 --draws 1000 --problems 9 "
                "--ellipses.examples 200 --ellipses.standard.epochs 1 "
                "--ellipses.robust.epochs 1 --ellipses.evaluation.batch-size 100"
            ).split()
            done = python(
                "scripts/theory.py", "configs/gaussian.py", "--out", out, *options
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout.strip(), str(out / "report.html"))
            found = json.loads((out / "theory.json").read_text())
            self.assertLen(found["fits"], 3)
            self.assertEqual(found["config"]["samples"], 200)
            variances = np.array(found["curve"]["eigenvalues"])
            self.assertTrue((np.diff(variances, axis=0) > 0).all())

    def test_transfer_from_command_to_page(self):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "study.py"
            config.write_text(
                "import sys; sys.path.insert(0, 'tests')\n"
                "from transfer_test import tiny\nconfig = tiny()\n"
            )
            out = Path(folder) / "run"
            options = (
                "--halves False --storage float16 --train-examples 60 "
                "--learners.0.network.widths 3"
            )
            command = ["scripts/transfer.py", config, "--out", out, *options.split()]
            done = python(*command)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("| source: small |", done.stdout)
            self.assertEqual(
                done.stdout.strip().splitlines()[-1], str(out / "report.html")
            )
            self.assertRegex(done.stderr, r"seed 0: mlp_on_D_det: 100%.*images/s")
            found = json.loads((out / "transfer.json").read_text())
            self.assertEqual(found["config"]["learners"][0]["network"]["widths"], [3])
            # Without halves D_det is of all training images.
            made = formats.CONSTRUCTED.load(out / "seed0" / "D_det")
            self.assertLen(made.labels, 60)
            self.assertEqual(made.images.dtype, np.float16)

            again = python(*command)
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertNotIn("images/s", again.stderr)

    def test_a_script_refuses_the_configs_of_another(self):
        for script, name in (
            ("run", "gaussian"),
            ("theory", "digits"),
            ("transfer", "digits"),
        ):
            done = python(f"scripts/{script}.py", f"configs/{name}.py", "--out", "/x")
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"configs/{name}.py is not for scripts/{script}", done.stderr)

    @parameterized.named_parameters(
        ("field", ["--robust.atack.steps", "3"], "--robust.attack.steps"),
        ("value", ["--robust.attack.steps", "0"], "must be at least 1, got 0"),
        ("choice", ["--robust.attack.norm", "l1"], "linf"),
        ("data", ["--data", "cifar1O", "--data-dir", "/"], "cifar10"),
        ("folder", ["--data", "cifar10", "--data-dir", "/nowhere"], "/nowhere"),
        ("writable", ["--out", "/proc/nowhere"], "can not be written"),
    )
    def test_refuses_before_any_work(self, options, message):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            done = python("scripts/run.py", "configs/digits.py", "--out", out, *options)
            self.assertNotEqual(done.returncode, 0)
            said = " ".join((done.stdout + done.stderr).split())
            self.assertIn(message, said)
            self.assertNotIn("Traceback", said)
            self.assertEmpty(list(Path(folder).rglob("*.json")))

    def test_says_which_configs_there_are(self):
        done = python("scripts/run.py", "configs/nothing.py")
        self.assertEqual(done.returncode, 1)
        self.assertIn("configs/digits.py", done.stderr)

    @parameterized.parameters(
        "run.py configs/digits.py",
        "theory.py configs/gaussian.py",
        "transfer.py configs/transfer_small.py",
        "prepare_cifar10.py",
        "report.py",
    )
    def test_help(self, script):
        done = python(*f"scripts/{script} --help".split())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("usage", done.stdout)


class ReadmeTest(parameterized.TestCase):
    def test_python_of_the_readme_runs(self):
        blocks = re.findall(
            r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
        )
        self.assertNotEmpty(blocks)
        done = python("-c", "\n".join(blocks))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_commands_of_the_readme_exist(self):
        text = (ROOT / "README.md").read_text()
        files = set(re.findall(r"(?:scripts|configs|benchmarks)/\w+\.\w+", text))
        self.assertGreater(len(files), 5)
        for file in files:
            self.assertTrue((ROOT / file).is_file(), file)
