"""The mechanism of experiments: a step is made once, of what it was called with."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import helpers
import jax
import numpy as np
from absl.testing import parameterized

from nrf.config import Work
from nrf.runs import Constructed, Cost, Steps, costs, key_for, local
from nrf.runs.plan import Plan
from nrf.runs.steps import given
from nrf.types import Dataset

ONES = given("ones", {"a": np.ones(2)})
TWOS = given("twos", {"a": np.full(2, 2.0)})

RECIPE = """
def scaled(key, a, *, env):
    return {"a": FACTOR * a["a"]}
"""

KILLED = """
import os, signal, sys
from pathlib import Path
from nrf.runs import Steps, local

def slow(key, *, size, env):
    if env.scratch.joinpath("half").exists():
        return env.scratch.joinpath("half").read_text()
    env.scratch.joinpath("half").write_text(f"half of {size}")
    os.kill(os.getpid(), signal.SIGKILL)

def later(key, *, size, env):
    return sorted(file.name for file in env.scratch.iterdir())

step = Steps(Path(sys.argv[1]), 0, local())
f = slow if sys.argv[3] == "slow" else later
print(step("slow", f, size=int(sys.argv[2])).value)
"""


@costs(lambda *inputs, factor: Cost(3, 30))
def multiply(key, *inputs, factor, env):
    env.tick(1)
    env.metrics({"loss": 0.5})
    env.tick(2)
    return {"a": factor * sum(one["a"] for one in inputs)}


def add(key, a, *, amount, env):
    return {"a": a["a"] + amount}


def other(key, *inputs, factor, env):
    return {"a": np.zeros(1)}


def draw(key, *, env):
    return {"a": jax.random.normal(key, (3,))}


def fail(key, *, env):
    env.scratch.joinpath("half").write_text("x")
    raise FloatingPointError("it diverged")


def inverted(key, dataset, *, env):
    images, labels = 1 - dataset.images, dataset.labels
    at = np.arange(len(labels))
    return Constructed(images, labels, labels, at, dataset.names, {"share": 0.5})


@dataclass(frozen=True)
class Add:
    """A step with settings of its own."""

    amount: float

    def __call__(self, key, a, *, env):
        return {"a": a["a"] + self.amount}

    def cost(self, a):
        return Cost(len(a["a"]), 0)


class StepFolders(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.out = self.root / "run" / "seed0"
        self.heard = helpers.Recorder()

    def steps(self, folder=None, seed=0, **options):
        env = local(Work(devices=1), progress=self.heard)
        return Steps(folder or self.out, seed, env, **options)

    def manifest(self, name):
        return json.loads((self.out / name / "manifest.json").read_text())


class StepsTest(StepFolders):
    def test_a_step_is_made_once(self):
        for _ in range(2):
            step = self.steps()
            made = step("six", multiply, ONES, TWOS, factor=2)
            np.testing.assert_array_equal(made.value["a"], [6, 6])
            self.assertEqual((made.name, step.made["six"]), ("six", made))
        self.assertEqual(list(self.heard.begun), ["seed0/six"])
        self.assertEqual(self.heard.skipped, ["seed0/six"])
        self.assertEqual([path.name for path in self.out.iterdir()], ["six"])

    def test_progress_is_told_of_examples_metrics_and_the_end(self):
        self.steps()("six", multiply, ONES, factor=2)
        self.steps()("added", Add(1.0), ONES)
        self.steps()("drawn", draw)
        expected = {"seed0/six": 3, "seed0/added": 2, "seed0/drawn": None}
        self.assertEqual(self.heard.begun, expected)
        self.assertEqual(self.heard.advanced, {"seed0/six": 3})
        self.assertEqual(self.heard.measured, [("seed0/six", {"loss": 0.5})])
        self.assertEqual(list(self.heard.ended), list(expected))

    def test_a_step_that_fails_is_begun_only_and_leaves_no_value(self):
        with self.assertRaisesRegex(FloatingPointError, "diverged"):
            self.steps()("failed", fail)
        self.assertEqual(list(self.heard.begun), ["seed0/failed"])
        self.assertEmpty(self.heard.ended)
        self.assertFalse((self.out / "failed").exists())

    def test_the_manifest_is_taken_from_the_call(self):
        step = self.steps(seed=7)
        six = step("six", multiply, ONES, TWOS, factor=2)
        step("seven", Add(1.0), six, draws="six")
        said = self.manifest("six")
        about = said["about"]
        self.assertEqual(about["step"], "six")
        self.assertEqual(about["seed"], 7)
        self.assertEqual(about["by"]["function"], f"{__name__}.multiply")
        self.assertEqual(about["inputs"], {"ones": ONES.digest, "twos": TWOS.digest})
        self.assertEqual(about["settings"], {"factor": 2})
        self.assertNotIn("draws", about)
        self.assertEqual(step.seconds()["seed0/six"], said["seconds"])
        about = self.manifest("seven")["about"]
        self.assertEqual(about["by"]["kind"], f"{__name__}.Add")
        self.assertEqual(about["by"]["amount"], 1.0)
        self.assertEqual(about["inputs"], {"six": said["content"]})
        self.assertEqual(about["draws"], "six")

    @parameterized.named_parameters(
        ("settings", (multiply, ONES, TWOS), dict(factor=3), "factor=2; .* asks for 3"),
        ("input", (multiply, ONES, ONES._replace(name="twos", digest="0")), {}, "twos"),
        ("inputs", (multiply, ONES), {}, "from another twos than that"),
        ("order", (multiply, TWOS, ONES), {}, "from ones, twos, in this order"),
        ("function", (other, ONES, TWOS), {}, r"by.function=\S+multiply.*other"),
        ("draws", (multiply, ONES, TWOS), dict(draws="x"), "draws=nothing; .* for x"),
    )
    def test_another_call_is_refused_by_name(self, call, changes, words):
        self.steps()("six", multiply, ONES, TWOS, factor=2)
        before = sorted(self.root.rglob("*"))
        f, *inputs = call
        with self.assertRaisesRegex(ValueError, f"seed0/six was made .*{words}"):
            self.steps()("six", f, *inputs, **{"factor": 2, **changes})
        self.assertEqual(sorted(self.root.rglob("*")), before)

    def test_another_seed_and_another_field_are_refused_by_name(self):
        self.steps()("added", Add(1.0), ONES)
        with self.assertRaisesRegex(
            ValueError, "made with seed=0; this run asks for 1"
        ):
            self.steps(seed=1)("added", Add(1.0), ONES)
        with self.assertRaisesRegex(ValueError, "by.amount=1.0; this run asks for 2.0"):
            self.steps()("added", Add(2.0), ONES)

    def test_inputs_of_one_name_are_refused(self):
        with self.assertRaisesRegex(ValueError, "ones, ones; inputs need names that"):
            self.steps()("six", multiply, ONES, ONES, factor=2)

    def test_an_edited_recipe_is_refused(self):
        file = self.root / "my_own_recipe.py"
        self.enterContext(mock.patch.object(sys, "path", [str(self.root), *sys.path]))
        self.enterContext(mock.patch.object(sys, "dont_write_bytecode", True))

        def recipe(factor):
            file.write_text(RECIPE.replace("FACTOR", factor))
            sys.modules.pop("my_own_recipe", None)
            importlib.invalidate_caches()
            return importlib.import_module("my_own_recipe").scaled

        self.addCleanup(sys.modules.pop, "my_own_recipe", None)
        self.steps()("scaled", recipe("2"), ONES)
        self.steps()("scaled", recipe("2"), ONES)
        self.assertEqual(self.heard.skipped, ["seed0/scaled"])
        with self.assertRaisesRegex(
            ValueError, "made with by.source=.*; this run asks"
        ):
            self.steps()("scaled", recipe("33"), ONES)

    def test_keys_come_from_seed_and_name_or_draws(self):
        step = self.steps(seed=3)
        drawn = {
            "a": step("a", draw),
            "b": step("b", draw),
            "c": step("c", draw, draws="a"),
        }
        for name, of in (("a", "a"), ("b", "b"), ("c", "a")):
            expected = jax.random.normal(key_for(3, of), (3,))
            np.testing.assert_array_equal(drawn[name].value["a"], expected)
        another = self.steps(self.root / "other", seed=4)("a", draw)
        self.assertTrue((another.value["a"] != drawn["a"].value["a"]).all())

    def test_key_is_that_of_seed_and_name(self):
        # CRC-32 of "D_R", as any other implementation gives it.
        expected = jax.random.fold_in(jax.random.key(3), 0x30948D4D)
        keys = [key_for(3, "D_R"), expected, key_for(4, "D_R"), key_for(3, "D_NR")]
        numbers = [jax.random.key_data(key).tolist() for key in keys]
        self.assertEqual(numbers[0], numbers[1])
        self.assertNotIn(numbers[0], numbers[2:])

    @parameterized.parameters(2**32, 2**70, -1, 0.0, True)
    def test_seeds_of_more_than_32_bits_are_refused(self, seed):
        with self.assertRaisesRegex(ValueError, r"whole numbers from 0 to 2\*\*32 - 1"):
            key_for(seed, "D_R")
        key_for(2**32 - 1, "D_R")

    def test_draws_do_not_depend_on_the_default_kind_of_keys(self):
        expected = jax.random.normal(key_for(3, "a"), (3,))
        with jax.default_prng_impl("rbg"):
            drawn = self.steps(seed=3)("a", draw)
        np.testing.assert_array_equal(drawn.value["a"], expected)
        said = self.manifest("a")["settings"]
        self.assertEqual(said["jax_default_prng_impl"], "rbg")

    @parameterized.parameters(
        (jax.enable_x64, True, "jax_enable_x64 is True.*Unset \\$JAX_ENABLE_X64"),
        (jax.threefry_partitionable, False, "jax_threefry_partitionable is False"),
    )
    def test_settings_that_draw_other_numbers_are_refused(self, setting, value, words):
        env = local()
        with setting(value):
            with self.assertRaisesRegex(ValueError, words):
                Steps(self.out, 0, env)
            with self.assertRaisesRegex(ValueError, words):
                local()
        self.assertFalse(self.out.exists())

    def test_constructed_sets_are_inputs_as_data_sets(self):
        images = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 2, 2, 1)
        D = given("D", Dataset(images, np.array([0, 1], np.int32), ("cat", "dog")))
        step = self.steps()
        made = step("inverted", inverted, D)
        self.assertIsInstance(made.value, Constructed)
        self.assertIn("2 images, share 0.5", self.heard.ended["seed0/inverted"])
        again = step("twice", inverted, made)
        np.testing.assert_allclose(again.value.images, images, atol=1e-7)

    def test_a_folder_of_another_run_is_reused_where_it_is_about_the_same(self):
        first = self.steps(self.root / "first" / "seed0")
        first("six", multiply, ONES, TWOS, factor=2)
        first("added", Add(1.0), ONES)
        self.heard = helpers.Recorder()
        folders = [self.root / "nothing", self.root / "first" / "seed0"]
        step = self.steps(reuse=folders)
        made = step("six", multiply, ONES, TWOS, factor=2)
        np.testing.assert_array_equal(made.value["a"], [6, 6])
        self.assertEmpty(self.heard.begun)
        step("added", Add(5.0), ONES)
        self.assertEqual(list(self.heard.begun), ["seed0/added"])
        for name in ("six", "added"):
            shutil.rmtree(self.root / "first" / "seed0" / name)
        self.steps()("six", multiply, ONES, TWOS, factor=2)  # A copy, not a link.

    def test_damaged_folders_are_not_reused(self):
        first = self.root / "first" / "seed0"
        self.steps(first)("six", multiply, ONES, TWOS, factor=2)
        (first / "six" / "a.npy").write_bytes(b"x")
        with self.assertRaisesRegex(ValueError, "first/seed0/six/a.npy is damaged"):
            self.steps(reuse=[first])("six", multiply, ONES, TWOS, factor=2)
        self.assertFalse((self.out / "six").exists())

    def test_a_damaged_digest_names_the_step_itself(self):
        step = self.steps()
        six = step("six", multiply, ONES, TWOS, factor=2)
        step("seven", Add(1.0), six)
        file = self.out / "six" / "manifest.json"
        said = json.loads(file.read_text())
        file.write_text(json.dumps({**said, "content": "0" * 64}))
        with self.assertRaisesRegex(ValueError, "seed0/six/manifest.json is damaged"):
            step = self.steps()
            step("seven", Add(1.0), step("six", multiply, ONES, TWOS, factor=2))


class PlanTest(StepFolders):
    """Of single steps; of whole experiments see plan_test.py."""

    def plan(self, **options):
        return Plan(self.out, 0, local(Work(devices=1)), **options)

    def walk(self, step, factor=2, amount=1.0):
        six = step("six", multiply, ONES, TWOS, factor=factor)
        seven = step("seven", add, six, amount=amount)
        step("eight", add, seven, amount=1.0)

    def done(self, plan, **changes):
        self.walk(plan, **changes)
        return [one.done for one in plan.planned]

    def test_what_is_there_is_done(self):
        self.assertEqual(self.done(self.plan()), [False] * 3)
        self.assertFalse(self.out.exists())
        self.walk(self.steps())
        self.assertEqual(self.done(self.plan()), [True] * 3)
        # What is made again will be what it was.
        shutil.rmtree(self.out / "six")
        self.assertEqual(self.done(self.plan()), [False, True, True])

    def test_other_settings_are_refused_without_a_look_at_values(self):
        self.walk(self.steps())
        shutil.rmtree(self.out / "six")
        with self.assertRaisesRegex(ValueError, "seven was made with amount=1.0"):
            self.walk(self.plan(), amount=2.0)

    def test_other_runs_have_what_is_made_of_the_same(self):
        self.walk(self.steps(self.root / "first" / "seed0"))
        reuse = [self.root / "nothing", self.root / "first" / "seed0"]
        self.assertEqual(self.done(self.plan(reuse=reuse)), [True] * 3)
        changed = self.done(self.plan(reuse=reuse), amount=2.0)
        self.assertEqual(changed, [True, False, False])
        self.assertEqual(self.done(self.plan(reuse=reuse), factor=3), [False] * 3)
        self.heard = helpers.Recorder()
        self.walk(self.steps(reuse=reuse), amount=2.0)
        self.assertEqual(list(self.heard.begun), ["seed0/seven", "seed0/eight"])


class ScratchTest(parameterized.TestCase):
    def run_killed(self, out, size, f="slow"):
        command = [sys.executable, "-c", KILLED, out, size, f]
        return subprocess.run([*map(str, command)], capture_output=True, text=True)

    def test_outlives_a_kill_belongs_to_one_manifest_and_is_gone_in_the_end(self):
        out = Path(self.enterContext(tempfile.TemporaryDirectory()))
        answer = self.run_killed(out, 1)
        self.assertEqual(answer.returncode, -signal.SIGKILL, answer.stderr)
        self.assertEqual(os.listdir(out), [".slow.scratch"])
        half = out / ".slow.scratch" / "half"
        self.assertEqual(half.read_text(), "half of 1")
        copy = out.with_name(f"{out.name}-copy")
        shutil.copytree(out, copy)
        self.addCleanup(shutil.rmtree, copy)
        # Another manifest gets an empty one, of its own.
        answer = self.run_killed(copy, 2)
        self.assertEqual(answer.returncode, -signal.SIGKILL, answer.stderr)
        self.assertEqual((copy / half.relative_to(out)).read_text(), "half of 2")
        # Another function too.
        answer = self.run_killed(copy, 2, "later")
        self.assertEqual(answer.stdout.strip(), "['about']", answer.stderr)
        # The same goes on with its own.
        answer = self.run_killed(out, 1)
        self.assertEqual(answer.stdout.strip(), "half of 1", answer.stderr)
        for folder in (out, copy):
            self.assertEqual(os.listdir(folder), ["slow"])
