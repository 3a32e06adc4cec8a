"""By which code and from which settings results are made, as they tell it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import jax
from absl.testing import parameterized

from nrf.config import PGD, Training
from nrf.models import ResNet50
from nrf.runs import provenance
from nrf.runs.provenance import describe


def plus(x):
    return x + 1


def minus(x):
    return x - 1


class DescribeTest(parameterized.TestCase):
    def test_dataclasses_have_kind_and_fields(self):
        said = describe({"attack": PGD("l2", 0.5, 7, 0.1), "sizes": (1, 2)})
        self.assertEqual(said["sizes"], [1, 2])
        self.assertEqual(said["attack"]["kind"], "nrf.config.parts.PGD")
        self.assertEqual(said["attack"]["epsilon"], 0.5)
        self.assertNotIn("source", said["attack"])
        json.dumps(said)

    def test_what_came_later_is_told_where_it_is_used(self):
        early = describe(ResNet50((0.5,), (0.2,)))
        self.assertNotIn("stem", early)
        self.assertEqual(
            describe(ResNet50((0.5,), (0.2,), stem="imagenet")),
            {**early, "stem": "imagenet"},
        )
        self.assertNotIn("crop", describe(Training(1, 2, 0.1)))
        self.assertEqual(describe(Training(1, 2, 0.1, crop=0.5))["crop"], 0.5)

    def test_functions_have_names_and_what_is_not_ours_its_source(self):
        said = describe(plus)
        self.assertEqual(said["function"], f"{__name__}.plus")
        self.assertRegex(said["source"], "^[0-9a-f]{16}$")
        self.assertNotEqual(said["source"], describe(minus)["source"])
        self.assertEqual(describe(jax.jit(plus))["source"], said["source"])
        ours = describe(describe)
        self.assertEqual(ours, {"function": "nrf.runs.provenance.describe"})

    def test_what_functions_captured_is_told(self):
        def make(factor) -> Callable:
            def scaled(x):
                return scaled(factor * x)  # It captured itself, too.

            return scaled

        self.assertEqual(describe(make(2)), describe(make(2)))
        self.assertNotEqual(describe(make(2)), describe(make(3)))
        self.assertEqual(describe(make(2))["captured"], {"factor": 2})
        self.assertNotEqual(describe(make(plus)), describe(make(minus)))
        json.dumps(describe(make(object())))

    def test_objects_that_are_called_are_told_apart(self):
        class Scaled:
            def __init__(self, factor):
                self.factor = factor

            def __call__(self, x):
                return self.factor * x

        self.assertEqual(describe(Scaled(2)), describe(Scaled(2)))
        self.assertNotEqual(describe(Scaled(2)), describe(Scaled(3)))
        self.assertNotEqual(describe(Scaled(2).__call__), describe(Scaled(3).__call__))

    def test_functions_without_a_source_file(self):
        def typed(body):
            names = {"__name__": "__main__"}
            exec(f"def f(x):\n    return {body}", names)
            return describe(names["f"])["source"]

        bodies = ["x + 1", "x + 2", "(lambda y: y + 1)(x)", "(lambda y: y + 2)(x)"]
        self.assertLen({typed(body) for body in bodies}, 4)
        self.assertEqual(typed("x + 1"), typed("x + 1"))
        # The order of sets of words depends on the process.
        code = (
            "from nrf.runs.provenance import describe;"
            'exec(\'def f(x):\\n    return x in {"a", "b", "c", "d"}\');'
            "print(describe(f)['source'])"
        )
        answers = {
            subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed in ("1", "2")
        }
        self.assertLen(answers, 1)

    def test_what_is_no_setting_is_refused(self):
        with self.assertRaisesRegex(ValueError, "is no setting: these are numbers"):
            describe({"x": object()})


class OriginTest(parameterized.TestCase):
    def test_device(self):
        devices = jax.devices()
        self.assertRegex(
            provenance.device(), rf"^{devices[0].platform} x {len(devices)} \(.+\)$"
        )

    def test_versions(self):
        versions = provenance.versions()
        self.assertEqual(versions["jax"], jax.__version__)
        self.assertContainsSubset({"python", "flax", "tensorflow-datasets"}, versions)

    def test_settings_that_numbers_depend_on(self):
        with (
            jax.default_matmul_precision("highest"),
            mock.patch.dict(os.environ, XLA_FLAGS="--xla_x=1"),
        ):
            said = provenance.origin()["settings"]
        self.assertEqual(said["jax_default_matmul_precision"], "highest")
        self.assertEqual(said["XLA_FLAGS"], "--xla_x=1")
        self.assertEqual(said["jax_numpy_dtype_promotion"], "strict")
        self.assertIs(said["jax_enable_x64"], False)
        # They are those of now, not of the first call.
        now = provenance.origin()["settings"]
        self.assertNotEqual(now["jax_default_matmul_precision"], "highest")

    def test_commit_of_this_code(self):
        def git(*arguments):
            return subprocess.run(
                ["git", "-c", "user.name=a", "-c", "user.email=b", *arguments],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "provenance.py")
            file.write_text("1")
            with mock.patch.object(provenance, "__file__", str(file)):
                self.assertIsNone(provenance.git_commit())
                git("init")
                git("commit", "--allow-empty", "-m", "zero")
                self.assertIsNone(
                    provenance.git_commit()
                )  # Not a file of this repository.
                git("add", ".")
                git("commit", "-m", "one")
                commit = git("rev-parse", "--short", "HEAD")
                self.assertEqual(provenance.git_commit(), commit)
                file.write_text("2")
                self.assertEqual(provenance.git_commit(), f"{commit}+changes")
