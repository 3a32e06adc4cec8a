"""Files of examples, whole and damaged, written by the definition of their format."""

import struct
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl.testing import parameterized
from array_record.python import array_record_module

from nrf.data import records

# Of different lengths, one of them empty.
EXAMPLES = [
    np.random.default_rng(row).bytes(97 * row % 500 + 40 * (row > 0))
    for row in range(12)
]


class Split(NamedTuple):
    """What TFDS says of a split."""

    filepaths: list[Path]
    num_examples: int


def crc32c(data: bytes) -> int:
    """The checksum by its definition, a bit at a time."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


def framed(example: bytes) -> bytes:
    def checksum(data):
        crc = crc32c(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)

    length = struct.pack("<Q", len(example))
    return length + checksum(length) + example + checksum(example)


class RecordsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def write(self, file_format):
        """Five examples in the first file, seven in the second."""
        paths = [self.root / f"things-{part}" for part in range(2)]
        for path, part in zip(paths, (EXAMPLES[:5], EXAMPLES[5:]), strict=True):
            if file_format == "tfrecord":
                path.write_bytes(b"".join(map(framed, part)))
            else:
                writer = array_record_module.ArrayRecordWriter(
                    str(path), "group_size:1"
                )
                for example in part:
                    writer.write(example)
                writer.close()
        return Split(paths, 12)

    def read(self, split, file_format, count=12):
        return list(records.read(split, file_format, count, "the test"))

    @parameterized.product(
        file_format=("array_record", "tfrecord"), count=(1, 5, 6, 12)
    )
    def test_in_the_order_of_files(self, file_format, count):
        split = self.write(file_format)
        self.assertEqual(self.read(split, file_format, count), EXAMPLES[:count])

    def test_checksum(self):
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)  # As published.

    @parameterized.parameters(0, 5, 9, 12, 100, -1, -5)
    def test_single_bit_of_tfrecord(self, at):
        """In a length, in its checksum, in an example, and in its checksum."""
        split = self.write("tfrecord")
        path = split.filepaths[1]
        contents = bytearray(path.read_bytes())
        contents[at] ^= 1
        path.write_bytes(contents)
        words = f"{path} has an example with a wrong checksum: .* prepare .* again"
        with self.assertRaisesRegex(ValueError, words):
            self.read(split, "tfrecord")

    @parameterized.parameters(1, 6, 15, 16)
    def test_cut_tfrecord(self, cut):
        split = self.write("tfrecord")
        path = split.filepaths[1]
        path.write_bytes(path.read_bytes()[:-cut])
        words = f"{path} ends in the middle of an example: .* prepare .* again"
        with self.assertRaisesRegex(ValueError, words):
            self.read(split, "tfrecord")

    @parameterized.parameters(0, 100, 66_000, -1)
    def test_cut_array_record(self, length):
        split = self.write("array_record")
        path = split.filepaths[1]
        path.write_bytes(path.read_bytes()[:length])
        words = f"{path} cannot be read .*: the file is damaged; prepare .* again"
        with self.assertRaisesRegex(ValueError, words):
            self.read(split, "array_record")

    def test_flipped_bit_of_array_record(self):
        split = self.write("array_record")
        path = split.filepaths[0]
        contents = bytearray(path.read_bytes())
        contents[contents.index(EXAMPLES[3][:8])] ^= 1
        path.write_bytes(contents)
        words = f"{path} cannot be read .*: the file is damaged; prepare .* again"
        with self.assertRaisesRegex(ValueError, words):
            self.read(split, "array_record")

    @parameterized.parameters("array_record", "tfrecord")
    def test_missing_file(self, file_format):
        split = self.write(file_format)
        split.filepaths[1].unlink()
        with self.assertRaisesRegex(ValueError, "there is no file .*things-1; prepare"):
            self.read(split, file_format)

    def test_missing_examples(self):
        split = self.write("tfrecord")
        split.filepaths[1].write_bytes(b"")
        words = "the test should have 12 examples, and .*things-0 … things-1 hold 5;"
        with self.assertRaisesRegex(ValueError, words):
            self.read(split, "tfrecord")

    def test_other_format(self):
        split = self.write("tfrecord")
        with self.assertRaisesRegex(
            ValueError, "is stored as riegeli; prepare it with"
        ):
            self.read(split, "riegeli")
