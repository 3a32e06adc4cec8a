"""The files of a prepared data set: serialised examples, each checked, in their order.

ARRAY_RECORD and TFRECORD are read without TensorFlow; both carry checksums.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

_CHUNK = 1000  # Examples read at a time.
_AGAIN = "the file is damaged; prepare the data set again."


def read(info: Any, file_format: str, count: int, what: str) -> Iterator[bytes]:
    """The first `count` serialised examples of a split, in the order of its files.

    `info` is the split's description by TFDS.

    Raises:
      ValueError: for another format than ARRAY_RECORD or TFRECORD, or for a file that
        is missing, cut, or not what was written.
    """
    readers = {"array_record": _array_records, "tfrecord": _tfrecords}
    if file_format not in readers:
        raise ValueError(
            f"{what} is stored as {file_format}; prepare it with "
            "file_format='array_record' or 'tfrecord'."
        )
    files = [Path(path) for path in info.filepaths]
    records = (record for file in files for record in readers[file_format](file))
    number = 0
    for record in islice(records, count):
        number += 1
        yield record
    if number < count:
        raise ValueError(
            f"{what} should have {info.num_examples} examples, and its files "
            f"{_names(files)} hold {number}; prepare the data set again."
        )


def fetcher(info: Any) -> Callable[[list[int]], Sequence[bytes]]:
    """Reads the serialised examples of any rows of a split of ARRAY_RECORD files.

    What it returns raises ValueError for a file that is damaged.
    """
    from array_record.python import array_record_data_source

    files = [str(path) for path in info.filepaths]
    source = array_record_data_source.ArrayRecordDataSource(files)

    def fetch(rows: list[int]) -> Sequence[bytes]:
        try:
            return source.__getitems__(rows)
        except (RuntimeError, ValueError) as error:  # RuntimeError from its C++.
            names = _names(list(map(Path, files)))
            raise ValueError(f"{names} cannot be read ({error}): {_AGAIN}") from error

    return fetch


def _names(files: list[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} … {files[-1].name}"


def _array_records(path: Path) -> Iterator[bytes]:
    from array_record.python import array_record_data_source

    _check_there(path)
    try:
        with array_record_data_source.ArrayRecordDataSource([str(path)]) as source:
            for start in range(0, len(source), _CHUNK):
                rows = range(start, min(start + _CHUNK, len(source)))
                yield from source.__getitems__(rows)
    except (RuntimeError, ValueError) as error:  # RuntimeError from its C++.
        raise ValueError(f"{path} cannot be read ({error}): {_AGAIN}") from error


def _tfrecords(path: Path) -> Iterator[bytes]:
    """A record is 8 bytes length, their checksum, the bytes, and their checksum."""
    _check_there(path)
    with path.open("rb") as file:
        while header := file.read(12):
            length = int.from_bytes(_verified(header, 8, path), "little")
            yield _verified(file.read(length + 4), length, path)


def _verified(got: bytes, length: int, path: Path) -> bytes:
    """The first `length` bytes, which the 4 bytes of their checksum follow."""
    import google_crc32c

    data, checksum = got[:length], got[length:]
    if len(checksum) < 4:
        raise ValueError(f"{path} ends in the middle of an example: {_AGAIN}")
    crc = google_crc32c.value(data)
    # "Masked", as TFRECORD has it, so that checksums of checksums differ.
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    if masked.to_bytes(4, "little") != checksum:
        raise ValueError(f"{path} has an example with a wrong checksum: {_AGAIN}")
    return data


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"there is no file {path}; prepare the data set again.")
