"""Temporary folders: kept while somebody writes, removed when nobody does any more."""

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
