"""Restricted ImageNet from a made `imagenet2012`: its labels, its pixels, its files."""

import contextlib
import io
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from absl.testing import parameterized

from nrf import data
from nrf.__main__ import main
from nrf.data import imagenet

# In TFDS's order, which is that of ImageNet's numbers.
WORDNET = (
    Path(tfds.core.tfds_path("datasets/imagenet2012/labels.txt"))
    .read_text()
    .splitlines()
)
# The first and the last class of each group.
ENDS = {
    "dog": ("n02085620", "n02113978"),  # Chihuahua, Mexican hairless.
    "cat": ("n02123045", "n02124075"),  # Tabby, Egyptian cat.
    "frog": ("n01641577", "n01644900"),  # Bullfrog, tailed frog.
    "turtle": ("n01664065", "n01669191"),  # Loggerhead, box turtle.
    "bird": ("n01795545", "n01860187"),  # Black grouse, black swan.
    "primate": ("n02480495", "n02494079"),  # Orangutan, squirrel monkey.
    "fish": ("n02514041", "n02655020"),  # Barracouta, puffer.
    "crab": ("n01978287", "n01981276"),  # Dungeness crab, king crab.
    "insect": ("n02165105", "n02268443"),  # Tiger beetle, dragonfly.
}


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "jpeg", quality=100, subsampling=0)
    return file.getvalue()


def flat(value: int, height: int = 40, width: int = 60) -> bytes:
    return jpeg(np.full((height, width, 3), value, np.uint8))


def write(root, train, validation, names=tuple(WORDNET)) -> Path:
    """Prepares `imagenet2012` as TFDS does, of (JPEG, label) pairs."""

    class Imagenet2012(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("5.1.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(encoding_format="jpeg"),
                        "label": tfds.features.ClassLabel(names=names),
                        "file_name": tfds.features.Text(),
                    }
                ),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            splits = {"train": train, "validation": validation}
            return {k: self._generate_examples(v) for k, v in splits.items() if v}

        def _generate_examples(self, examples):
            for row, (image, label) in enumerate(examples):
                yield row, {"image": image, "label": label, "file_name": f"{row}.JPEG"}

    tfds.disable_progress_bar()
    builder = Imagenet2012(data_dir=root, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    return Path(builder.data_path)


class GroupsTest(parameterized.TestCase):
    def test_groups_begin_and_end_with_their_animals(self):
        group = imagenet.groups()
        self.assertEqual(imagenet.NAMES, tuple(ENDS))
        for number, (first, last) in enumerate(ENDS.values()):
            rows = np.flatnonzero(group == number)
            self.assertEqual((WORDNET[rows[0]], WORDNET[rows[-1]]), (first, last))
            self.assertLen(rows, rows[-1] - rows[0] + 1)
        self.assertEqual(np.sum(group >= 0), 203)


class MiddleTest(parameterized.TestCase):
    @parameterized.parameters((300, 400), (500, 375), (256, 256), (90, 700), (64, 48))
    def test_is_scaled_and_centred(self, height, width):
        """On a slope, whose values are known wherever pixels are."""
        slope = 200 * np.arange(max(height, width)) / max(height, width)
        for axis, length in enumerate((height, width)):
            pixels = np.broadcast_to(
                np.expand_dims(slope[:length], 1 - axis), (height, width)
            )
            image = PIL.Image.fromarray(np.uint8(np.round(pixels))).convert("RGB")
            found = imagenet.middle(image, 224)
            self.assertEqual(found.shape, (224, 224, 3))
            scale = min(height, width) / 256  # Of a new pixel.
            at = length / 2 - 0.5 + scale * (np.arange(224) - 111.5)
            expected = 200 * at / max(height, width)
            line = found.mean(2).mean(1 - axis)
            # A corner may be rounded by half a pixel, and values are, twice.
            half = 100 * scale / max(height, width)
            np.testing.assert_allclose(line, expected, atol=half + 1)
            self.assertLess(abs(np.mean(line - expected)), half + 0.05)
            self.assertLess(
                np.abs(found - found.mean((1 - axis, 2), keepdims=True)).max(), 1.5
            )

    def test_greys_become_colours(self):
        image = PIL.Image.fromarray(np.full((30, 40), 7, np.uint8))
        np.testing.assert_array_equal(imagenet.middle(image, 8), np.full((8, 8, 3), 7))


class PrepareTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def write(self, train, validation=(), **options):
        validation = validation or [(flat(9), 151), (flat(10), 0), (flat(11), 319)]
        return write(self.root, train, validation, **options)

    def load(self, spec="restricted_imagenet/16", **options):
        return data.load(spec, data_dir=self.root, **options)

    def test_keeps_nine_groups_in_the_order_of_the_records(self):
        labels = [
            c + d for pair in imagenet.GROUPS.values() for c in pair for d in (-1, 0, 1)
        ]
        labels = np.random.default_rng(0).permutation(labels)
        self.write(
            [(flat(50 + row, 40 + row, 60), int(y)) for row, y in enumerate(labels)]
        )
        seen = []
        with mock.patch.object(imagenet, "_CHUNK", 5):
            folder = imagenet.prepare(self.root, side=16, tick=seen.append)
        self.assertEqual(sum(seen), len(labels) + 3)
        self.assertEqual(folder, self.root / "restricted_imagenet" / "16")
        train, test = self.load()
        group = imagenet.groups()[labels]
        np.testing.assert_array_equal(train.labels, group[group >= 0])
        self.assertEqual(train.labels.dtype, np.int32)
        np.testing.assert_array_equal(test.labels, [0, 8])
        self.assertEqual(train.names, tuple(ENDS))
        values = (50 + np.arange(len(labels)))[group >= 0]
        expected = np.broadcast_to(
            np.float32(values / 255)[:, None, None, None], (len(values), 16, 16, 3)
        )
        np.testing.assert_array_equal(train.images, expected)
        np.testing.assert_array_equal(
            test.images[1], np.full((16, 16, 3), 11 / 255, np.float32)
        )
        few, fewer = self.load(train_examples=3, test_examples=1)
        np.testing.assert_array_equal(few.images, expected[:3])
        self.assertEqual((len(few.labels), len(fewer.images)), (3, 1))
        second = data.load_test("restricted_imagenet/16", train, data_dir=self.root)
        np.testing.assert_array_equal(second.labels, test.labels)
        both = self.load(("restricted_imagenet/16", "restricted_imagenet/16"))
        self.assertLen(both[0].labels, len(values))

    def test_what_is_there_is_kept(self):
        self.write([(flat(1), 30)])
        folder = imagenet.prepare(self.root, side=16)
        with mock.patch.object(imagenet, "source", side_effect=AssertionError):
            self.assertEqual(imagenet.prepare(self.root, side=16), folder)

    def test_the_command_prints_the_folder(self):
        self.write([(flat(1), 30)])
        with contextlib.redirect_stdout(io.StringIO()) as told:
            words = "prepare-restricted-imagenet --side 16 --data-dir"
            self.assertEqual(main([*words.split(), str(self.root)]), 0)
        self.assertEqual(told.getvalue(), f"{self.root}/restricted_imagenet/16\n")
        self.assertLen(self.load()[0].labels, 1)

    def test_what_was_interrupted_does_not_count(self):
        self.write([(flat(1), 30), (b"no JPEG", 31)])
        with self.assertRaisesRegex(ValueError, "example 1 of imagenet2012, split 'tr"):
            imagenet.prepare(self.root, side=16)
        with self.assertRaisesRegex(ValueError, "of 16 x 16 .*-imagenet --side 16` ma"):
            self.load()
        self.assertEmpty(list((self.root / "restricted_imagenet").iterdir()))

    def test_files_that_were_cut_or_are_missing_are_told(self):
        self.write([(flat(1), 30), (flat(2), 31)])
        folder = imagenet.prepare(self.root, side=16)
        file = folder / "train.images"
        file.write_bytes(file.read_bytes()[:-1])
        with self.assertRaisesRegex(
            ValueError, "train.images is not as it was written"
        ):
            self.load()
        file.unlink()
        with self.assertRaisesRegex(ValueError, "train.images is missing: remove"):
            self.load()
        (folder / "description.json").write_text("{}")
        with self.assertRaisesRegex(ValueError, "description.json cannot be read"):
            self.load()

    def test_other_folders_and_other_classes_are_refused(self):
        with self.assertRaisesRegex(ValueError, "no data set 'imagenet2012'"):
            imagenet.prepare(self.root)
        for names, words in (
            (tuple(WORDNET[::-1]), "1000 classes, from n15075141 to n01440764"),
            (tuple(WORDNET[:900]), "has 900 classes"),
        ):
            folder = self.write([(flat(1), 30)], names=names)
            with self.assertRaisesRegex(ValueError, words):
                imagenet.prepare(self.root)
            shutil.rmtree(folder.parent)
        (self.root / "restricted_imagenet" / "16").mkdir(parents=True)
        (self.root / "restricted_imagenet" / "16" / "mine").touch()
        self.write([(flat(1), 30)])
        with self.assertRaisesRegex(ValueError, "16 is there and is not restricted_im"):
            imagenet.prepare(self.root, side=16)

    def test_names_tell_the_side_of_the_images(self):
        self.assertEqual(imagenet.side_of("restricted_imagenet"), 224)
        self.assertEqual(imagenet.side_of("restricted_imagenet/64"), 64)
        self.assertIsNone(imagenet.side_of("restricted_imagenet2"))
        self.assertIsNone(imagenet.side_of(Path("photos")))
        for spec in ("restricted_imagenet/0", "restricted_imagenet/big"):
            with self.assertRaisesRegex(ValueError, "behind the slash is the side"):
                self.load(spec)
        with self.assertRaisesRegex(ValueError, "side must be 8 pixels or more, got 7"):
            imagenet.prepare(self.root, side=7)
