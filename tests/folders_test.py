"""Folders for work: kept while somebody is at it, and gone on with after a kill."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from absl.testing import parameterized

from nrf import folders

# Says which folder it has, and waits.
WRITER = """
import sys
from pathlib import Path
from nrf import folders

with folders.temporary(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("of a value")
    print(folder, flush=True)
    sys.stdin.read()
"""


# Works on "D" in a folder of that name, and says where.
WORKER = """
import sys
from pathlib import Path
from nrf import folders

with folders.kept(Path(sys.argv[1]), "D") as folder:
    (folder / "half").write_text("of D")
    print(folder, flush=True)
    sys.stdin.read()
"""


class TemporaryTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.out = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.out / "D_R"

    def make(self):
        with folders.temporary(self.path) as folder:
            self.assertEmpty(list(folder.iterdir()))
            self.assertEqual(folder.parent, self.out)

    def test_is_gone_in_the_end_or_renamed(self):
        self.make()
        self.assertEmpty(list(self.out.iterdir()))
        with self.assertRaises(KeyboardInterrupt), folders.temporary(self.path):
            raise KeyboardInterrupt
        self.assertEmpty(list(self.out.iterdir()))
        with folders.temporary(self.path) as folder:
            folder.rename(self.path)
        self.assertEqual(list(self.out.iterdir()), [self.path])

    def test_belongs_to_its_writer_until_that_one_ends(self):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, self.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            theirs = Path(writer.stdout.readline().strip())
            # As where it runs in another container, whose processes are not seen here.
            with mock.patch.object(os, "kill", side_effect=ProcessLookupError):
                self.make()
            self.assertTrue((theirs / "half").exists())
            with mock.patch.object(folders, "host", return_value="elsewhere"):
                self.make()
            self.assertTrue((theirs / "half").exists())
            writer.kill()
        # Locks of other machines may not be seen here.
        with mock.patch.object(folders, "host", return_value="elsewhere"):
            self.make()
        self.assertTrue((theirs / "half").exists())
        self.make()
        self.assertFalse(theirs.exists())

    def test_is_made_again_where_another_process_took_it_for_a_leftover(self):
        made, mkdir = [], Path.mkdir

        def taken(folder):
            mkdir(folder)
            made.append(folder)
            if len(made) == 1:
                shutil.rmtree(folder)

        with mock.patch.object(Path, "mkdir", taken):
            self.make()
        self.assertLen(set(made), 2)

    def test_nothing_is_removed_without_locks(self):
        left = self.out / f".D_R.tmp-{folders.host()}-{'0' * 16}"
        left.mkdir()
        with mock.patch.object(folders.fcntl, "flock", side_effect=OSError):
            self.make()
        self.assertTrue(left.exists())
        self.make()
        self.assertFalse(left.exists())


class KeptTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.out = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.out / "of" / "D"

    def files(self, about="D"):
        """Where the work is, and what is there of it."""
        with folders.kept(self.path, about) as folder:
            return folder, sorted(path.name for path in folder.iterdir())

    def test_is_gone_on_with_after_a_kill_and_emptied_for_other_work(self):
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, self.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as worker:
            self.assertEqual(worker.stdout.readline().strip(), str(self.path))
            # Two at the same work would be in each other's way.
            folder, there = self.files()
            self.assertEqual(folder.parent, self.path.parent)
            self.assertNotEqual(folder, self.path)
            self.assertEmpty(there)
            self.assertFalse(folder.exists())
            self.assertTrue((self.path / "half").exists())
            worker.kill()
        self.assertEqual(self.files(), (self.path, ["about", "half"]))
        (self.path / "parts").mkdir()
        (self.path / "parts" / "1").write_text("of D")
        self.assertEqual(self.files("E"), (self.path, ["about"]))
        self.assertEqual((self.path / "about").read_text(), "E")

    def test_is_made_again_where_its_owner_has_just_removed_it(self):
        flock, locked = folders.fcntl.flock, []

        def removed(file, how):
            locked.append(how)
            if len(locked) == 1:
                shutil.rmtree(self.path)
            return flock(file, how)

        with mock.patch.object(folders.fcntl, "flock", removed):
            self.assertEqual(self.files(), (self.path, ["about"]))
        self.assertLen(locked, 2)

    def test_needs_no_locks(self):
        with mock.patch.object(folders.fcntl, "flock", side_effect=OSError):
            with folders.kept(self.path, "D") as folder:
                (folder / "half").write_text("of D")
            self.assertEqual(self.files(), (self.path, ["about", "half"]))
