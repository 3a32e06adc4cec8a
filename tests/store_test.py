import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import jax
import numpy as np
from absl.testing import parameterized

from nrf.runs import store
from nrf.runs.formats import ARRAYS

ABOUT = {"seed": 0, "matching": {"steps": 1000, "step_size": 0.1}, "sizes": (1, 2)}
VALUE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2])}

KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from nrf.runs import store
from nrf.runs.formats import ARRAYS, Kind

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def save(folder, value):
    ARRAYS.save(folder, value)
    if sys.argv[2] == "save":
        die()

if sys.argv[2] == "rename":
    Path.rename = die
make = die if sys.argv[2] == "make" else lambda: {"a": np.ones(1)}
store.stage(Path(sys.argv[1]), {}, make, Kind(save, ARRAYS.load))
"""

FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from nrf.runs import formats, store

resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
images = np.random.default_rng(0).random((50, 8, 8, 3), np.float32)
rows = np.arange(50)
for kind, value in (
    (formats.ARRAYS, {"a": images}),
    (formats.TRAINED, formats.Trained({"a": images}, [])),
    (
        formats.CONSTRUCTED,
        formats.Constructed(images, rows * 0, rows * 0, rows, "a", {}),
    ),
):
    try:
        store.stage(Path(sys.argv[1]), {}, lambda: value, kind)
    except OSError as error:
        print(error)
"""


def unused():
    raise AssertionError("what is there was made again")


def run(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


class StageTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.out = Path(self.enterContext(tempfile.TemporaryDirectory())) / "runs" / "a"
        self.path = self.out / "D_R"

    def stage(self, about=ABOUT, make=lambda: VALUE, kind=ARRAYS):
        return store.stage(self.path, about, make, kind)

    def names(self):
        return sorted(path.name for path in self.out.iterdir())

    def test_is_made_once(self):
        for make in (lambda: VALUE, unused):
            value = self.stage(make=make)
            self.assertEqual(value.keys(), VALUE.keys())
            for name, array in VALUE.items():
                np.testing.assert_array_equal(value[name], array)
                self.assertEqual(value[name].dtype, array.dtype)
        self.assertEqual(self.names(), ["D_R"])

    def test_manifest(self):
        self.stage()
        found = json.loads((self.path / "manifest.json").read_text())
        self.assertEqual(found["about"], {**ABOUT, "sizes": [1, 2]})
        self.assertEqual(found["versions"]["numpy"], np.__version__)
        self.assertEqual(found["device"], store.device())
        self.assertEqual(found["git"], store.git_commit())
        self.assertRegex(found["created"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")
        self.assertGreaterEqual(found["seconds"], 0)
        self.assertEqual(found["sha256"].keys(), {"a.npy", "b.npy"})
        self.assertEqual(found, store.manifest(self.path))

    @parameterized.parameters(
        (
            {"matching": {"steps": 500, "step_size": 0.1}},
            "D_R was made with matching.steps=1000; this config says 500. Remove "
            r"\S+/D_R or choose another --out.",
        ),
        (
            {"matching": {"steps": 500, "step_size": 0.2}},
            "made with matching.steps=1000, matching.step_size=0.1; this config says "
            "matching.steps=500, matching.step_size=0.2.",
        ),
        ({"start": "noise"}, "made with start=nothing; this config says noise."),
        ({"matching": None}, "made with .*matching.steps=1000"),
        (
            {name: 1 for name in "pqrstu"},
            "p=nothing, q=nothing, r=nothing, s=nothing; .*, and 2 more differ.",
        ),
    )
    def test_other_settings_are_refused_by_name(self, change, words):
        self.stage()
        with self.assertRaisesRegex(ValueError, words):
            self.stage({**ABOUT, **change}, unused)
        self.stage(make=unused)

    def test_other_inputs_are_refused_by_name(self):
        self.stage({**ABOUT, "inputs": {"standard": "12", "D": "3"}})
        with self.assertRaisesRegex(ValueError, "D_R was made from another standard "):
            self.stage({**ABOUT, "inputs": {"standard": "99", "D": "3"}}, unused)

    @parameterized.parameters("folder", "manifest", "list")
    def test_what_is_no_stage_is_refused(self, what):
        self.path.mkdir(parents=True)
        (self.path / "thesis.txt").write_text("mine")
        if what != "folder":
            text = "{" if what == "manifest" else "[]"
            (self.path / "manifest.json").write_text(text)
        with self.assertRaisesRegex(ValueError, "no stage of a run.*manifest.json"):
            self.stage(make=unused)
        self.assertEqual((self.path / "thesis.txt").read_text(), "mine")

    def test_damage_is_refused_by_name(self):
        self.stage()
        file = self.path / "a.npy"
        contents = bytearray(file.read_bytes())
        contents[-1] ^= 1
        file.write_bytes(contents)
        with self.assertRaisesRegex(ValueError, "D_R/a.npy is damaged"):
            self.stage(make=unused)
        file.unlink()
        with self.assertRaisesRegex(ValueError, "D_R/a.npy is missing"):
            self.stage(make=unused)

    def test_what_does_not_come_back_as_it_was_is_refused(self):
        rounding = store.Kind(
            lambda folder, value: ARRAYS.save(
                folder, {"a": value["a"].astype(np.float16)}
            ),
            ARRAYS.load,
        )
        make = lambda: {"a": np.ones(3, np.float32)}  # noqa: E731
        with self.assertRaisesRegex(ValueError, "not read back .* as it was written"):
            self.stage(make=make, kind=rounding)
        self.assertEmpty(self.names())

    @parameterized.parameters("make", "save", "rename")
    def test_killed_run_leaves_no_stage(self, when):
        answer = run(KILLED, self.path, when)
        self.assertEqual(answer.returncode, -signal.SIGKILL, answer.stderr)
        self.assertFalse(self.path.exists())
        self.assertLen(self.names(), 0 if when == "make" else 1)
        self.stage()
        self.assertEqual(self.names(), ["D_R"])  # The leftovers are gone too.

    def test_exception_leaves_nothing(self):
        kind = ARRAYS._replace(save=mock.Mock(side_effect=KeyboardInterrupt))
        with self.assertRaises(KeyboardInterrupt):
            self.stage(kind=kind)
        self.assertEmpty(self.names())

    def test_other_folders_are_left_alone(self):
        others = [
            f".D_R.tmp-{os.getppid()}",
            ".D_R.tmp-mine",
            ".D_NR.tmp-99999999",
            "x",
        ]
        for name in others:
            (self.out / name).mkdir(parents=True)
        self.stage()
        self.assertCountEqual(self.names(), [*others, "D_R"])

    def test_made_by_another_process_meanwhile(self):
        first = {"a": np.zeros(2)}

        def make():
            self.stage(make=lambda: first)
            return VALUE

        self.assertEqual(self.stage(make=make).keys(), first.keys())
        self.assertEqual(self.names(), ["D_R"])

    def test_full_disk(self):
        lines = run(FULL, self.path).stdout.splitlines()
        self.assertLen(lines, 3)
        for line in lines:
            self.assertRegex(line, "/D_R can not be written: .*(full|File too large)")
        self.assertEmpty(self.names())

    def test_folder_that_takes_no_files_is_refused_before_the_work(self):
        self.out.parent.mkdir(parents=True)
        self.out.write_text("a file, not a folder")
        with self.assertRaisesRegex(OSError, "runs/a can not be written to: "):
            self.stage(make=unused)

    def test_digest_is_that_of_the_value(self):
        digests = []
        for number, value in enumerate(
            (VALUE, VALUE, {**VALUE, "b": np.array([1, 3])})
        ):
            self.path = self.out / str(number)
            self.stage({"number": number}, lambda: value)  # noqa: B023
            digests.append(store.digest(self.path))
        self.assertEqual(digests[0], digests[1])
        self.assertNotEqual(digests[0], digests[2])
        with self.assertRaisesRegex(ValueError, "no stage of a run"):
            store.digest(self.out)

    @parameterized.parameters(
        ({"a": np.zeros(2, np.float32)}, {"a": np.zeros((2, 1), np.float32)}),
        ({"a": np.zeros(2, np.float32)}, {"a": -np.zeros(2, np.float32)}),
        ({"a": np.zeros(2, np.float32)}, {"a": np.zeros(2, np.float16)}),
        ({"a": np.zeros(2, np.float32)}, {"b": np.zeros(2, np.float32)}),
    )
    def test_digest_tells_apart(self, one, other):
        self.assertNotEqual(store.content(one), store.content(other))


class DescriptionTest(parameterized.TestCase):
    def test_key_is_that_of_seed_and_name(self):
        key = store.key_for(3, "D_R")
        # CRC-32 of "D_R", as any other implementation gives it.
        expected = jax.random.fold_in(jax.random.key(3), 0x30948D4D)
        data = [
            jax.random.key_data(k).tolist()
            for k in (key, expected, store.key_for(4, "D_R"), store.key_for(3, "D_NR"))
        ]
        self.assertEqual(data[0], data[1])
        self.assertNotIn(data[0], data[2:])

    def test_device(self):
        devices = jax.devices()
        self.assertRegex(
            store.device(), rf"^{devices[0].platform} x {len(devices)} \(.+\)$"
        )

    def test_versions(self):
        found = store.versions()
        self.assertEqual(found["jax"], jax.__version__)
        self.assertContainsSubset({"python", "flax", "tensorflow-datasets"}, found)

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
            file = Path(folder, "store.py")
            file.write_text("1")
            with mock.patch.object(store, "__file__", str(file)):
                self.assertIsNone(store.git_commit())
                git("init")
                git("commit", "--allow-empty", "-m", "zero")
                self.assertIsNone(store.git_commit())  # Not a file of this repository.
                git("add", ".")
                git("commit", "-m", "one")
                commit = git("rev-parse", "--short", "HEAD")
                self.assertEqual(store.git_commit(), commit)
                file.write_text("2")
                self.assertEqual(store.git_commit(), f"{commit}+changes")
