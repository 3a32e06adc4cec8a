import functools
import hashlib
import http.server
import io
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
from pathlib import Path
from unittest import mock

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from absl.testing import parameterized

from nrf import data, folders
from nrf.data import cifar10

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
with mock.patch.object(sys, "path", [*sys.path, str(BENCHMARKS)]):
    import packed

# Four examples in each of the archive's files: a label, then red, green, blue planes.
RECORDS = np.random.default_rng(0).integers(0, 256, (6, 4, 3073), np.uint8)
RECORDS[..., 0] %= 10


class PrepareTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.archive = self.root / "mine.tar.gz"
        with tarfile.open(self.archive, "w:gz") as archive:
            names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
            for name, records in zip(names, RECORDS, strict=True):
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
                member.size = records.nbytes
                archive.addfile(member, io.BytesIO(records.tobytes()))
        contents = self.archive.read_bytes()
        self.patch("SIZE", len(contents))
        self.patch("SHA256", hashlib.sha256(contents).hexdigest())
        self.data_dir = self.root / "data"

    def patch(self, name, value):
        self.enterContext(mock.patch.object(cifar10, name, value))

    def check(self, folder):
        self.assertEqual(folder, self.data_dir / "cifar10" / "3.0.2")
        self.assertEqual([path.name for path in self.data_dir.iterdir()], ["cifar10"])
        loaded = data.load("cifar10", data_dir=self.data_dir)
        for part, split, records in zip(
            loaded,
            ("train", "test"),
            (RECORDS[:5].reshape(20, 3073), RECORDS[5]),
            strict=True,
        ):
            # In TFDS's order, which is not that of the files; "id" tells them apart.
            source = tfds.data_source("cifar10", split=split, data_dir=self.data_dir)
            ids = [example["id"].decode() for example in source]
            self.assertCountEqual(
                ids, [f"{split}_{i:05d}" for i in range(len(records))]
            )
            for row, name in enumerate(ids):
                record = records[int(name.removeprefix(f"{split}_"))]
                planes = np.round(part.images[row] * 255).transpose(2, 0, 1)
                np.testing.assert_array_equal(planes.ravel(), record[1:])
                self.assertEqual(part.labels[row], record[0])
            self.assertEqual(part.names[6], "frog")

    def test_from_the_archive(self):
        self.check(cifar10.prepare(self.data_dir, self.archive))
        file = self.root / "packed.npz"
        packed.pack(self.data_dir, file, 12)
        counts = {"train_examples": 12, "data_dir": self.data_dir}
        for one, other in zip(
            data.load(packed.load(file)), data.load("cifar10", **counts), strict=True
        ):
            np.testing.assert_array_equal(one.images, other.images)
            np.testing.assert_array_equal(one.labels, other.labels)
            self.assertEqual(one.names, other.names)

    def test_what_is_there_is_kept(self):
        folder = cifar10.prepare(self.data_dir, self.archive)
        with mock.patch.object(cifar10, "download", side_effect=AssertionError):
            self.assertEqual(cifar10.prepare(self.data_dir), folder)

    def serve(self, check):
        """Calls `check` while a server of this machine has the archive."""
        handler = functools.partial(
            http.server.SimpleHTTPRequestHandler, directory=str(self.root)
        )
        with (
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
            mock.patch.object(handler.func, "log_message"),
        ):
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.patch("URL", f"http://127.0.0.1:{server.server_port}/mine.tar.gz")
            try:
                check()
            finally:
                server.shutdown()

    def test_by_download(self):
        self.serve(lambda: self.check(cifar10.prepare(self.data_dir)))

    def test_endless_download_is_ended(self):
        size = self.archive.stat().st_size
        with self.archive.open("ab") as file:
            file.write(bytes(5 * cifar10.PART))
        written = []

        def check():
            words = f"answers with more than the {size:,} bytes of cifar-10-binary"
            with self.assertRaisesRegex(ValueError, words):
                cifar10.download(self.root / "copy")
            written.append((self.root / "copy").stat().st_size)

        self.serve(check)
        self.assertLessEqual(written[0], size)

    def test_without_network(self):
        refuse = mock.Mock(side_effect=socket.gaierror(-2, "Name not known"))
        with (
            mock.patch.object(socket, "getaddrinfo", refuse),
            self.assertRaisesRegex(ConnectionError, "Name not known.*--archive"),
        ):
            cifar10.prepare(self.data_dir)
        refuse.assert_called_once()  # There are no retries.
        self.assertEmpty(list(self.data_dir.iterdir()))

    @parameterized.parameters(
        (b"", "has 0 bytes and cifar-10-binary.tar.gz .* the Python version"),
        (None, "there is no file"),
    )
    def test_wrong_archive(self, contents, words):
        wrong = self.root / "wrong.tar.gz"
        if contents is not None:
            wrong.write_bytes(contents)
        with self.assertRaisesRegex(ValueError, words):
            cifar10.prepare(self.data_dir, wrong)
        self.assertFalse(self.data_dir.exists())

    def test_damaged_archive(self):
        contents = bytearray(self.archive.read_bytes())
        contents[len(contents) // 2] ^= 1
        self.archive.write_bytes(contents)
        with self.assertRaisesRegex(ValueError, "is damaged or another file"):
            cifar10.prepare(self.data_dir, self.archive)

    def test_interrupted_preparation_is_made_again(self):
        save, calls = PIL.Image.Image.save, []

        def interrupted(*arguments):
            calls.append(arguments)
            if len(calls) == 22:  # In the second split.
                raise KeyboardInterrupt
            save(*arguments)

        with (
            mock.patch.object(PIL.Image.Image, "save", interrupted),
            self.assertRaises(KeyboardInterrupt),
        ):
            cifar10.prepare(self.data_dir, self.archive)
        with self.assertRaisesRegex(ValueError, "no data set 'cifar10'"):
            data.load("cifar10", data_dir=self.data_dir)
        self.check(cifar10.prepare(self.data_dir, self.archive))

    def test_what_a_killed_preparation_left_is_removed(self):
        left = self.data_dir / f".cifar10.tmp-{folders.host()}-{'0' * 16}"
        (left / "cifar10" / "incomplete").mkdir(parents=True)
        (left / "cifar-10-binary.tar.gz").write_bytes(b"partial")
        self.check(cifar10.prepare(self.data_dir, self.archive))

    def test_what_another_preparation_writes_is_kept(self):
        self.data_dir.mkdir()
        with folders.temporary(self.data_dir / "cifar10") as theirs:
            cifar10.prepare(self.data_dir, self.archive)
            self.assertTrue(theirs.exists())

    @parameterized.parameters("data", "data/below")
    def test_folder_that_is_a_file(self, name):
        (self.root / "data").write_text("a file")
        words = "cannot be kept in .*: .*/data is a file, not a folder"
        with self.assertRaisesRegex(ValueError, words):
            cifar10.prepare(self.root / name, self.archive)

    def test_another_data_set_of_its_name(self):
        (self.data_dir / "cifar10" / "3.0.2").mkdir(parents=True)
        with self.assertRaisesRegex(ValueError, "no dataset_info.json. Move it away"):
            cifar10.prepare(self.data_dir, self.archive)

    def test_script_says_what_is_wrong_in_a_sentence(self):
        script = Path(__file__).parents[1] / "scripts" / "prepare_cifar10.py"
        command = [sys.executable, script, "--archive", self.archive]
        answer = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(answer.returncode, 1)
        self.assertRegex(answer.stderr, r"^\S+mine.tar.gz has [\d,]+ bytes and .*\n$")
        self.assertEqual(answer.stdout, "")
