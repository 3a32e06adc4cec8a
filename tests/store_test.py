"""Values on disk: whole or not there at all, refused where they are not as written."""

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from absl.testing import parameterized

from nrf import folders, rows
from nrf.runs import formats, manifest, provenance, store

ABOUT = {"seed": 0, "match": {"steps": 1000, "step_size": 0.1}, "sizes": [1, 2]}
VALUE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2])}

KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from nrf.runs import formats, store

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def save(folder, value, whole=formats.FORMATS["arrays"].save):
    whole(folder, value)
    if sys.argv[2] == "save":
        die()

formats.FORMATS["arrays"] = formats.FORMATS["arrays"]._replace(save=save)
if sys.argv[2] == "rename":
    Path.rename = die
store.save(Path(sys.argv[1]), {"a": np.ones(1)}, {"seed": 0})
"""

FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from nrf.runs import formats, store

resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
images = np.random.default_rng(0).random((50, 8, 8, 3), np.float32)
rows = np.arange(50)
for value in (
    {"a": images},
    formats.Trained({"a": images}, []),
    formats.Constructed(images, rows * 0, rows * 0, rows, ("a", "b"), {}),
):
    try:
        store.save(Path(sys.argv[1]), value)
    except OSError as error:
        print(error)
"""


def run(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


class Folders(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.out = Path(self.enterContext(tempfile.TemporaryDirectory())) / "runs" / "a"
        self.path = self.out / "D_R"

    def save(self, about=ABOUT, value=VALUE):
        return store.save(self.path, value, about)

    def with_format(self, **functions):
        """Arrays are saved or loaded by other functions."""
        changed = formats.FORMATS["arrays"]._replace(**functions)
        return mock.patch.dict(formats.FORMATS, arrays=changed)

    def names(self):
        return sorted(path.name for path in self.out.iterdir())


class StoreTest(Folders):
    def test_comes_back_as_it_was(self):
        for value in (self.save(), store.load(self.path, ABOUT), store.load(self.path)):
            self.assertEqual(value.keys(), VALUE.keys())
            for name, array in VALUE.items():
                np.testing.assert_array_equal(value[name], array)
                self.assertEqual(value[name].dtype, array.dtype)
        self.assertEqual(self.names(), ["D_R"])

    def test_manifest(self):
        store.save(self.path, VALUE, ABOUT, seconds=1.5)
        said = json.loads((self.path / "manifest.json").read_text())
        self.assertEqual(said["about"], ABOUT)
        self.assertEqual(said["versions"]["numpy"], np.__version__)
        self.assertEqual(said["device"], provenance.device())
        self.assertEqual(said["git"], provenance.git_commit())
        self.assertEqual(said["settings"], provenance.settings())
        self.assertRegex(said["created"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")
        self.assertEqual((said["seconds"], said["format"]), (1.5, "arrays"))
        self.assertEqual(said["sha256"].keys(), {"a.npy", "b.npy"})
        self.assertEqual(said, manifest.read(self.path))

    @parameterized.parameters(
        (
            {"match": {"steps": 500, "step_size": 0.1}},
            "D_R was made with match.steps=1000; this run asks for 500. Remove "
            r"\S+/D_R or choose another --out.",
        ),
        (
            {"match": {"steps": 500, "step_size": 0.2}},
            "made with match.steps=1000, match.step_size=0.1; this run asks for "
            "match.steps=500, match.step_size=0.2.",
        ),
        ({"start": "noise"}, "made with start=nothing; this run asks for noise."),
        ({"match": None}, "made with .*match.steps=1000"),
        (
            {name: 1 for name in "pqrstu"},
            "p=nothing, q=nothing, r=nothing, s=nothing; .*, and 2 more differ.",
        ),
    )
    def test_other_settings_are_refused_by_name(self, change, words):
        self.save()
        with self.assertRaisesRegex(ValueError, words):
            store.load(self.path, {**ABOUT, **change})
        store.load(self.path, ABOUT)

    def test_other_inputs_are_refused_by_name(self):
        self.save({**ABOUT, "inputs": {"standard": "12", "D": "3"}})
        with self.assertRaisesRegex(ValueError, "D_R was made from another standard "):
            store.load(self.path, {**ABOUT, "inputs": {"standard": "99", "D": "3"}})
        with self.assertRaisesRegex(ValueError, "from standard, D, in this order"):
            store.load(self.path, {**ABOUT, "inputs": {"D": "3", "standard": "12"}})

    @parameterized.parameters("folder", "manifest", "list")
    def test_what_is_no_step_is_refused(self, what):
        self.path.mkdir(parents=True)
        (self.path / "thesis.txt").write_text("mine")
        if what != "folder":
            text = "{" if what == "manifest" else "[]"
            (self.path / "manifest.json").write_text(text)
        with self.assertRaisesRegex(ValueError, "no step of a run.*manifest.json"):
            store.load(self.path, ABOUT)
        with self.assertRaisesRegex(ValueError, "is there already"):
            self.save()
        self.assertEqual((self.path / "thesis.txt").read_text(), "mine")

    def test_damage_is_refused_by_name(self):
        self.save()
        file = self.path / "a.npy"
        contents = bytearray(file.read_bytes())
        contents[-1] ^= 1
        file.write_bytes(contents)
        with self.assertRaisesRegex(ValueError, "D_R/a.npy is damaged"):
            store.load(self.path)
        file.unlink()
        with self.assertRaisesRegex(ValueError, "D_R/a.npy is missing"):
            store.load(self.path)

    def test_a_damaged_digest_in_the_manifest_is_refused(self):
        self.save()
        file = self.path / "manifest.json"
        said = json.loads(file.read_text())
        for damaged in ("0" * 64, None):
            file.write_text(json.dumps({**said, "content": damaged}))
            with self.assertRaisesRegex(ValueError, "D_R/manifest.json is damaged"):
                store.load(self.path)

    def test_what_does_not_come_back_as_it_was_is_refused(self):
        whole = formats.FORMATS["arrays"].save

        def rounding(folder, value):
            whole(folder, {"a": value["a"].astype(np.float16)})

        with (
            self.with_format(save=rounding),
            self.assertRaisesRegex(ValueError, "not read back .* as it was written"),
        ):
            self.save(value={"a": np.ones(3, np.float32)})
        self.assertEmpty(self.names())

    @parameterized.parameters("save", "rename")
    def test_a_killed_process_leaves_no_step(self, when):
        answer = run(KILLED, self.path, when)
        self.assertEqual(answer.returncode, -signal.SIGKILL, answer.stderr)
        self.assertFalse(self.path.exists())
        self.assertLen(self.names(), 1)
        self.save()
        self.assertEqual(self.names(), ["D_R"])  # The leftovers are gone too.

    def test_an_exception_leaves_nothing(self):
        with (
            self.with_format(save=mock.Mock(side_effect=KeyboardInterrupt)),
            self.assertRaises(KeyboardInterrupt),
        ):
            self.save()
        self.assertEmpty(self.names())

    def test_other_folders_are_left_alone(self):
        here = f"tmp-{folders.host()}-"
        others = [
            f".D_R.{here}mine",
            f".D_NR.{here}{'0' * 16}",
            f".D_R.tmp-elsewhere-{'0' * 16}",
            "x",
        ]
        for name in others:
            (self.out / name).mkdir(parents=True)
        self.save()
        self.assertCountEqual(self.names(), [*others, "D_R"])

    @parameterized.parameters(True, False)
    def test_made_by_another_process_meanwhile(self, same):
        first, whole = {"a": np.zeros(2)}, formats.FORMATS["arrays"].save

        def meanwhile(folder, value):
            if value is not first:
                with self.with_format(save=whole):
                    self.save(ABOUT if same else {"seed": 1}, first)
            whole(folder, value)

        with self.with_format(save=meanwhile):
            if same:
                self.assertEqual(self.save().keys(), first.keys())
            else:
                with self.assertRaisesRegex(ValueError, "D_R was made with"):
                    self.save()
        self.assertEqual(self.names(), ["D_R"])
        self.assertEqual(store.load(self.path).keys(), first.keys())

    def test_full_disk(self):
        lines = run(FULL, self.path).stdout.splitlines()
        self.assertLen(lines, 3)
        for line in lines:
            self.assertRegex(line, "/D_R can not be written: .*(full|File too large)")
        self.assertEmpty(self.names())

    @parameterized.parameters(
        (errno.EINVAL, None),  # Some network mounts have no fsync of folders.
        (errno.ENOSPC, "No space left on device"),
        (errno.EIO, "Input/output error"),
    )
    def test_a_folder_that_cannot_be_synced(self, number, words):
        synced = os.fsync

        def fsync(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(number, os.strerror(number))
            synced(descriptor)

        with mock.patch.object(os, "fsync", fsync):
            if words is None:
                self.save()
                self.assertEqual(store.load(self.path).keys(), VALUE.keys())
            else:
                with self.assertRaisesRegex(
                    OSError, f"D_R can not be written: {words}$"
                ):
                    self.save()

    def test_a_file_that_cannot_be_synced(self):
        error = OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        with (
            mock.patch.object(os, "fsync", side_effect=error),
            self.assertRaisesRegex(
                OSError, "D_R can not be written: Invalid argument$"
            ),
        ):
            self.save()
        self.assertEmpty(self.names())

    def test_files_that_no_manifest_names_are_not_read(self):
        self.save()
        for name in ("._a.npy", "c.npy", ".DS_Store"):
            (self.path / name).write_bytes(b"not of this value")
        self.assertEqual(store.load(self.path, ABOUT).keys(), VALUE.keys())

    def test_writing_makes_no_folder_before_there_is_a_value(self):
        store.check_writable(self.out / "deeper")
        self.assertFalse(self.out.exists())

    def test_a_folder_that_takes_no_files_is_refused(self):
        self.out.parent.mkdir(parents=True)
        self.out.write_text("a file, not a folder")
        with self.assertRaisesRegex(OSError, "runs/a can not be written to: "):
            self.save()

    @parameterized.parameters("~/runs", "gs://bucket/runs", "s3://bucket")
    def test_homes_and_clouds_that_would_become_folders_are_refused(self, path):
        begin = path.partition("/")[0]
        with self.assertRaisesRegex(ValueError, f"begins with {begin}, which is no"):
            store.check_writable(Path(path))

    def test_files_appear_whole(self):
        self.out.mkdir(parents=True)
        file = self.out / "results.json"
        store.write(file, b"old")
        with (
            mock.patch.object(Path, "replace", side_effect=OSError(28, "No space")),
            self.assertRaisesRegex(OSError, "results.json can not be written: No spa"),
        ):
            store.write(file, b"new")
        self.assertEqual(file.read_bytes(), b"old")
        self.assertEqual(self.names(), ["results.json"])
        shutil.rmtree(self.out)
        with self.assertRaisesRegex(OSError, "a/results.json can not be written: No"):
            store.write(file, b"new")


class DigestTest(Folders):
    def test_is_that_of_the_value(self):
        digests = []
        for number, value in enumerate(
            (VALUE, VALUE, {**VALUE, "b": np.array([1, 3])})
        ):
            self.path = self.out / str(number)
            self.save({"number": number}, value)
            digests.append(manifest.digest(self.path))
        self.assertEqual(digests[0], digests[1])
        self.assertNotEqual(digests[0], digests[2])
        with self.assertRaisesRegex(ValueError, "no step of a run"):
            manifest.digest(self.out)

    def test_is_the_same_where_images_are_not_in_memory(self):
        """And the same as ever: what was made before is reused."""
        bits = np.arange(7 * 37).astype(np.uint8).reshape(7, 37, 1, 1)
        images, labels = bits / np.float32(255), np.arange(7)
        half = rows.Cast(images.astype(np.float16), np.float32)
        with mock.patch.object(rows, "BLOCK", 300):  # Two rows.
            for one, same in (
                (rows.Pixels(bits), images),
                (rows.part(images, labels), images),
                (half, np.asarray(half)),
            ):
                self.assertEqual(manifest.content(one), manifest.content(same))
            value = rows.Pixels(bits), np.int32(labels), ("a", "b"), 0.5
            self.assertEqual(
                manifest.content(value),
                "cefdc252bf3a2ca8216bd3d36f1fca82e4f1b72a6c310120dd854cb639c7d8ec",
            )

    @parameterized.parameters(
        ({"a": np.zeros(2, np.float32)}, {"a": np.zeros((2, 1), np.float32)}),
        ({"a": np.zeros(2, np.float32)}, {"a": -np.zeros(2, np.float32)}),
        ({"a": np.zeros(2, np.float32)}, {"a": np.zeros(2, np.float16)}),
        ({"a": np.zeros(2, np.float32)}, {"b": np.zeros(2, np.float32)}),
    )
    def test_tells_apart(self, one, other):
        self.assertNotEqual(manifest.content(one), manifest.content(other))
