import contextlib
import io
import json
import struct
import tempfile
from pathlib import Path
from unittest import mock

import google_crc32c
import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from absl.testing import parameterized

from nrf import data
from nrf.data import examples
from nrf.data import tfds as prepared
from nrf.rows import Decoded

COLOURS = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), np.uint8)
SCALED = COLOURS / np.float32(255)
LABELS = np.arange(40) % 3
NAMES = ("cat", "dog", "fish")


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image.squeeze()).save(file, "png")
    return file.getvalue()


def framed(record: bytes) -> bytes:
    """A record of a TFRECORD file; `records_test` checks the checksums themselves."""

    def checksum(data):
        crc = google_crc32c.value(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)

    length = struct.pack("<Q", len(record))
    return length + checksum(length) + record + checksum(record)


def write(root, image, images, *, labels=LABELS, splits=("train", "test"), shards=1):
    """Prepares "things" as any user of TFDS would: 30 in train, 10 elsewhere."""

    class Things(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"label": tfds.features.ClassLabel(names=NAMES), **image}
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            for row in range(30) if split == "train" else range(30, 40):
                part = {name: images[row] for name in image}
                yield row, {"label": int(labels[row]), **part}

    builder = Things(data_dir=root, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            try_download_gcs=False, num_shards=shards
        )
    )
    return Path(builder.data_path)


def compressed(shape=(6, 5, 3)):
    return {"image": tfds.features.Image(shape=shape, encoding_format="png")}


def tensor(dtype, shape=(6, 5, 3)):
    return {"image": tfds.features.Tensor(shape=shape, dtype=dtype)}


class Prepared(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        tfds.disable_progress_bar()
        self.root = self.enterContext(tempfile.TemporaryDirectory())

    def load(self, **options):
        return data.load("things", data_dir=self.root, **options)

    def check(self, train, test, images=SCALED):
        for part, rows in ((train, slice(30)), (test, slice(30, 40))):
            np.testing.assert_array_equal(part.images, images[rows])
            np.testing.assert_array_equal(part.labels, LABELS[rows])
            self.assertEqual(part.images.dtype, np.float32)
            self.assertEqual(part.labels.dtype, np.int32)
            self.assertEqual(part.names, NAMES)


class PreparedTest(Prepared):
    @parameterized.parameters(((6, 5, 3),), ((None, None, 3),))
    def test_compressed_colours(self, shape):
        write(self.root, compressed(shape), [png(image) for image in COLOURS])
        self.check(*self.load())

    def test_compressed_greys(self):
        greys = COLOURS[..., :1]
        write(self.root, compressed((6, 5, 1)), [png(image) for image in greys])
        self.check(*self.load(), images=greys / np.float32(255))

    def test_eight_bit_tensors(self):
        write(self.root, tensor(np.uint8), COLOURS)
        self.check(*self.load())

    @parameterized.parameters(np.float32, np.float16)
    def test_floating_point_tensors(self, dtype):
        images = (COLOURS / 255).astype(dtype)
        write(self.root, tensor(dtype), images)
        self.check(*self.load(), images=images.astype(np.float32))

    @parameterized.parameters(np.uint8, np.float16)
    def test_large_sets_are_read_when_they_are_asked_for(self, dtype):
        images = COLOURS if dtype == np.uint8 else (COLOURS / 255).astype(dtype)
        write(self.root, tensor(dtype), images, shards=3)
        scaled = SCALED if dtype == np.uint8 else images.astype(np.float32)
        with mock.patch.object(examples, "LARGE", 30 * images[0].nbytes - 1):
            train, test = self.load()
            few, _ = self.load(train_examples=29)
        self.check(train, test, scaled)
        for part, lazy in ((train, True), (test, False), (few, False)):
            base = getattr(part.images, "base", part.images)
            self.assertEqual(isinstance(base, Decoded), lazy)
        order = [29, 3, 17]
        np.testing.assert_array_equal(train.images[order], scaled[order])

    def test_large_sets_with_a_bad_image_say_so_when_it_is_asked_for(self):
        some = [png(image) for image in COLOURS]
        some[7], some[8] = b"no image", png(COLOURS[8, :3])
        write(self.root, compressed((None, None, 3)), some)
        with mock.patch.object(examples, "LARGE", 0):
            train, _ = self.load()
        np.testing.assert_array_equal(train.images[:7], SCALED[:7])
        with self.assertRaisesRegex(ValueError, "an example of .* be decoded .Unid"):
            train.images[7]
        with self.assertRaisesRegex(ValueError, r"sizes, \(6, 5, 3\) and \(3, 5, 3\)"):
            train.images[8]

    def test_validation_is_the_test_set_where_there_is_none(self):
        write(self.root, tensor(np.uint8), COLOURS, splits=("train", "validation"))
        self.check(*self.load())

    def test_the_first_so_many(self):
        write(self.root, tensor(np.uint8), COLOURS)
        train, test = self.load(train_examples=4, test_examples=10)
        self.assertLen(test.labels, 10)
        np.testing.assert_array_equal(train.images, SCALED[:4])
        with self.assertRaisesRegex(ValueError, "'train', has 30 examples; 31 were"):
            self.load(train_examples=31)

    def as_tfrecord(self, drop=0):
        """Turns the data set into TFDS's default format, by the format's definition."""
        folder = write(self.root, compressed(), list(map(png, COLOURS)), shards=2)
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        builder = tfds.builder_from_directory(folder)
        for split in ("train", "test"):
            source = builder.as_data_source(split, deserialize_method=raw)
            records = [source[row] for row in range(len(source))]
            files = builder.info.splits[split].filepaths
            lengths = builder.info.splits[split].shard_lengths
            for file, length in zip(files, lengths, strict=True):
                part, records = records[:length], records[length:]
                contents = b"".join(map(framed, part[: length - drop]))
                Path(str(file).replace("array_record", "tfrecord")).write_bytes(
                    contents
                )
                file.unlink()
        description = folder / "dataset_info.json"
        info = json.loads(description.read_text())
        info["fileFormat"] = "tfrecord"
        description.write_text(json.dumps(info))

    def test_tfrecord(self):
        self.as_tfrecord()
        self.check(*self.load())

    def test_lost_examples_are_noticed(self):
        self.as_tfrecord(drop=1)
        with self.assertRaisesRegex(ValueError, "should have 30 examples.* hold 28"):
            self.load()
        self.assertLen(self.load(train_examples=28, test_examples=3)[0].labels, 28)

    @parameterized.parameters(
        (("train",), r"has splits \['train'\]; 'train' is needed"),
        (("test",), r"has splits \['test'\]; 'train' is needed"),
    )
    def test_missing_split(self, splits, words):
        write(self.root, tensor(np.uint8), COLOURS, splits=splits)
        with self.assertRaisesRegex(ValueError, words):
            self.load()

    def test_not_images(self):
        write(self.root, {"text": tfds.features.Text()}, ["word"] * 40)
        with self.assertRaisesRegex(ValueError, "not for image classification"):
            self.load()

    def test_not_in_height_width_channels(self):
        write(self.root, tensor(np.uint8, (5,)), COLOURS[:, 0, :, 0])
        with self.assertRaisesRegex(ValueError, "not for image classification"):
            self.load()

    def test_integers_of_other_widths(self):
        write(self.root, tensor(np.int64), COLOURS.astype(np.int64))
        with self.assertRaisesRegex(ValueError, "images of int64; they must be uint8"):
            self.load()

    def test_different_sizes(self):
        images = [png(image[: 6 - row % 2]) for row, image in enumerate(COLOURS)]
        write(self.root, compressed((None, None, 3)), images)
        with self.assertRaisesRegex(ValueError, r"\(6, 5, 3\) and \(5, 5, 3\)"):
            self.load()

    @parameterized.parameters(255, np.nan, -1)
    def test_pixels_outside_of_zero_and_one(self, pixel):
        images = (COLOURS / 255).astype(np.float32)
        images[3, 2, 1, 0] = pixel
        write(self.root, tensor(np.float32), images)
        with self.assertRaisesRegex(ValueError, r"must lie in \[0, 1\]"):
            self.load()

    def test_split_without_labels(self):
        write(self.root, tensor(np.uint8), COLOURS, labels=np.full(40, -1))
        with self.assertRaisesRegex(ValueError, "is it a split without labels"):
            self.load()

    def test_names_what_is_there(self):
        write(self.root, tensor(np.uint8), COLOURS)
        with self.assertRaisesRegex(ValueError, "holds things, .* mean 'things'"):
            prepared.find("thing", self.root, ("digits",))

    def test_a_folder_that_tfds_wrote(self):
        folder = write(self.root, tensor(np.uint8), COLOURS)
        self.check(*data.load(folder))
        self.check(*data.load(str(folder)))
        with self.assertRaisesRegex(ValueError, "holds some: 1.0.0. Give the path"):
            data.load(folder.parent)

    def test_goes_before_a_folder_of_the_same_name(self):
        write(self.root, tensor(np.uint8), COLOURS)
        here = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(contextlib.chdir(here))
        Path("things").mkdir()
        self.check(*self.load())
        with self.assertRaisesRegex(ValueError, "things holds no images in class"):
            data.load("./things", data_dir=self.root)
        with self.assertRaisesRegex(ValueError, "things holds no images in class"):
            data.load("things", data_dir=here)

    def test_floating_point_images(self):
        """TFDS writes their bytes as the red, green, blue and alpha of a PNG."""
        scaled = SCALED[..., :1].copy()
        pixels = scaled.view(np.uint8)
        folder = write(self.root, compressed((6, 5, 4)), list(map(png, pixels)))
        path = folder / "features.json"
        features = json.loads(path.read_text())
        image = features["featuresDict"]["features"]["image"]["image"]
        image["dtype"], image["shape"]["dimensions"][2] = "float32", "1"
        path.write_text(json.dumps(features))
        self.check(*self.load(), images=scaled)


class DamagedTest(Prepared):
    def refused(self, words):
        with self.assertRaisesRegex(ValueError, words):
            self.load()

    @parameterized.parameters(
        ("dataset_info.json", b"", "_info.json cannot be read .*again"),
        ("dataset_info.json", b"{'a", "_info.json cannot be read .*again"),
        ("dataset_info.json", b"\xff", "_info.json cannot be read .*again"),
        ("dataset_info.json", b"{}", "things cannot be read .*again"),
        ("dataset_info.json", None, "things cannot be read .*dataset_info.json.*again"),
        ("features.json", b"", "features.json cannot be read .*again"),
        ("features.json", b"{'a", "features.json cannot be read .*again"),
        ("features.json", b"{}", "things cannot be read .*again"),
        ("features.json", None, "1.0.0 has no features.json; prepare .* again"),
        ("label.labels.txt", b"cat\ndog\n", "labels 0 .. 2, .* class names cut"),
    )
    def test_descriptions(self, name, contents, words):
        path = write(self.root, tensor(np.uint8), COLOURS) / name
        path.unlink() if contents is None else path.write_bytes(contents)
        self.refused(words)

    def test_example_that_is_no_image(self):
        images = [png(image) for image in COLOURS]
        images[7] = images[7][:50]
        folder = write(self.root, compressed(), images)
        self.refused(f"example 7 of .*'train', in {folder} cannot be decoded .*again")


class SecondTestSetTest(Prepared):
    LIKE = data.Dataset(SCALED, LABELS.astype(np.int32), NAMES)

    def load_test(self, like=LIKE):
        return data.load_test("things", like, data_dir=self.root)

    def test_needs_no_training_set(self):
        write(self.root, tensor(np.uint8), COLOURS, splits=("test",))
        np.testing.assert_array_equal(self.load_test().images, SCALED[30:])

    def test_numbers_are_no_names(self):
        """CIFAR-10.1, as TFDS has it, names no classes."""
        folder = write(self.root, tensor(np.uint8), COLOURS, splits=("test",))
        (folder / "label.labels.txt").unlink()
        second = self.load_test()
        self.assertEqual(second.names, NAMES)
        np.testing.assert_array_equal(second.labels, LABELS[30:])
        with self.assertRaisesRegex(ValueError, "has classes 3 .* and .* 2 .cat, dog."):
            self.load_test(self.LIKE._replace(names=("cat", "dog")))
        with self.assertRaisesRegex(ValueError, "has classes 3 .* and .* 2 .0, 1."):
            self.load_test(self.LIKE._replace(names=("0", "1")))

    def test_other_names_and_other_images(self):
        write(self.root, tensor(np.uint8), COLOURS)
        with self.assertRaisesRegex(
            ValueError, "things has classes 3 .cat, dog, fish."
        ):
            self.load_test(self.LIKE._replace(names=("cat", "fish", "dog")))
        with self.assertRaisesRegex(ValueError, "images .6, 5, 3. and .* .6, 5, 1."):
            self.load_test(self.LIKE._replace(images=SCALED[..., :1]))
