"""Folders of PNG and JPEG files, written with Pillow and compared with their pixels."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
from absl.testing import parameterized

from nrf import data, rows

COLOURS = np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3), np.uint8)
SCALED = COLOURS / np.float32(255)
GREYS = COLOURS[..., 0]


class FolderTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory())) / "photos"

    def write(self, name, image, **options):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(image, PIL.Image.Image):
            image = PIL.Image.fromarray(image)
        image.save(path, **options)
        return path

    def write_flat(self, images=COLOURS):
        """Ten of each of three classes."""
        for row, image in enumerate(images):
            self.write(f"{('cat', 'dog', 'fish')[row % 3]}/{row}.png", image)

    def write_split(self, test="test"):
        for row, image in enumerate(COLOURS):
            part = "train" if row < 20 else test
            self.write(f"{part}/{('cat', 'dog', 'fish')[row % 3]}/{row}.png", image)

    def load(self, **options):
        return data.load(self.root, **options)

    def rows(self, part, images=SCALED):
        """Which of the images are in a set; checks their labels on the way."""
        rows = []
        for image, label in zip(part.images, part.labels, strict=True):
            (row,) = (i for i, truth in enumerate(images) if (truth == image).all())
            self.assertEqual(label, row % 3)
            rows.append(row)
        return rows

    def refused(self, words):
        return self.assertRaisesRegex(ValueError, words)


class LayoutTest(FolderTest):
    @parameterized.parameters("test", "val", "validation", "valid", "Test")
    def test_training_and_test_folders(self, name):
        self.write_split(name)
        train, test = data.load(str(self.root) + "/")
        self.assertCountEqual(self.rows(train), range(20))
        self.assertCountEqual(self.rows(test), range(20, 30))
        for part in (train, test):
            self.assertEqual(part.names, ("cat", "dog", "fish"))
            self.assertEqual(part.images.dtype, np.float32)
            self.assertEqual(part.labels.dtype, np.int32)

    def test_class_folders_alone_are_split(self):
        self.write_flat()
        with self.assertLogs("nrf.data.folder") as log:
            train, test = self.load()
        self.assertIn("no test folder: 6 of its 30 images are the test", log.output[0])
        self.assertCountEqual(self.rows(train) + self.rows(test), range(30))
        np.testing.assert_array_equal(np.bincount(test.labels), [2, 2, 2])

    def test_split_and_order_depend_on_names_alone(self):
        self.write_flat()
        train, test = self.load()
        # Written down from the first release: a new order is a new data set.
        self.assertEqual(self.rows(test), [7, 23, 29, 0, 21, 19])
        moved = self.root.parent / "elsewhere"
        for row in reversed(range(30)):  # Another order of creation.
            name = f"{('cat', 'dog', 'fish')[row % 3]}/{row}.png"
            (moved / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.root / name, moved / name)
        again, test_again = data.load(moved)
        np.testing.assert_array_equal(again.images, train.images)
        np.testing.assert_array_equal(test_again.images, test.images)

    def test_the_first_so_many_are_of_all_classes(self):
        for row in range(30):
            self.write(f"{'abc'[row // 10]}/{row:02}.png", COLOURS[row])
        train, test = self.load(train_examples=9, test_examples=4)
        self.assertLen(test.labels, 4)
        self.assertLen(set(train.labels), 3)
        np.testing.assert_array_equal(train.images, self.load()[0].images[:9])
        with self.refused("training set of .*photos has 24 examples; 25 were asked"):
            self.load(train_examples=25)

    def test_a_training_folder_alone_is_split(self):
        for row, image in enumerate(COLOURS):
            self.write(f"train/{('cat', 'dog', 'fish')[row % 3]}/{row}.png", image)
        train, test = self.load()
        self.assertCountEqual(self.rows(train) + self.rows(test), range(30))

    def test_a_test_folder_without_labels_is_passed_over(self):
        self.write_split("val")
        self.write("test/unknown/1.png", COLOURS[0])
        self.assertCountEqual(self.rows(self.load()[1]), range(20, 30))

    def test_a_test_class_may_be_missing(self):
        self.write_split()
        shutil.rmtree(self.root / "test" / "cat")
        _, test = self.load()
        self.assertEqual(test.names, ("cat", "dog", "fish"))
        self.assertEqual(set(self.rows(test)), {r for r in range(20, 30) if r % 3})

    def test_images_lie_deeper_beside_other_files(self):
        self.write_flat()
        self.write("cat/more/0.JPEG", COLOURS[0])
        for name in ("cat/.DS_Store", "cat/Thumbs.db", "cat/._1.png", "readme.txt"):
            (self.root / name).write_text("nothing")
        (self.root / ".git").mkdir()
        self.assertLen(np.concatenate([p.labels for p in self.load()]), 31)

    def test_second_test_set(self):
        self.write_split()
        first = self.load()[0]
        self.assertCountEqual(
            self.rows(data.load_test(self.root, first)), range(20, 30)
        )
        shutil.rmtree(self.root / "test" / "cat")
        test = data.load_test(self.root / "test", first)
        self.assertEqual(test.names, first.names)
        self.assertNotEmpty(self.rows(test))
        with self.refused("classes 2 .dog, fish. and the first test set 2 .cat, dog."):
            data.load_test(self.root, first._replace(names=("cat", "dog")))


class RefusedLayoutTest(FolderTest):
    @parameterized.parameters(
        ((), "there is no folder .*photos; .* has nothing"),
        (("1.png",), "holds no images in class folders: .* It has 1.png"),
        (("cat/1.png", "cat/2.png"), "a folder for each of two classes .* has cat/"),
        (("train/1.png", "test/1.png"), "train holds no images in class folders"),
        (("test/a/1.png", "test/b/1.png"), "a folder test and none called train"),
        (("a/1.png", "a/2.png", "b/1.png"), "photos/b holds one image, and one is"),
        (("a/1.png", "b/1.webp"), "1.webp is neither PNG nor JPEG; convert it"),
        (
            ("train/a/1.png", "train/b/1.png", "test/b/1.png", "test/c/1.png"),
            "test has classes that .*train does not have: c;",
        ),
        (
            ("birds/train/a/1.png", "birds/train/b/1.png", "cars/1.png"),
            "birds has folders train, .* give its path instead of",
        ),
    )
    def test_refused(self, names, words):
        for name in names:
            self.write(name, COLOURS[0])
        with self.refused(words):
            self.load()

    def test_empty_class(self):
        self.write_flat()
        (self.root / "horse").mkdir()
        with self.refused("photos/horse holds no PNG or JPEG images"):
            self.load()

    def test_file(self):
        self.write_flat()
        with self.refused("0.png is a file; give a folder"):
            data.load(self.root / "cat" / "0.png")

    def test_not_enough_memory(self):
        self.write_flat()
        with self.assertRaisesRegex(ValueError, r"1000000000000 images of 6 x 5 x 3"):
            rows.empty((10**12, 6, 5, 3), np.uint8, "photos")


class PixelsTest(FolderTest):
    def test_greys_have_one_channel(self):
        self.write_flat(GREYS)
        self.write("cat/0.png", PIL.Image.fromarray(GREYS[0]).convert("LA"))
        train, test = self.load()
        truth = GREYS[..., None] / np.float32(255)
        self.assertCountEqual(
            self.rows(train, truth) + self.rows(test, truth), range(30)
        )

    def test_greys_among_colours_have_three(self):
        self.write_flat()
        self.write("cat/0.png", GREYS[0])
        truth = COLOURS.copy()
        truth[0] = GREYS[0][..., None]
        train, test = self.load()
        rows = [self.rows(p, truth / np.float32(255)) for p in (train, test)]
        self.assertCountEqual(sum(rows, []), range(30))

    def test_palettes_and_opaque_images(self):
        self.write_flat()
        palette = PIL.Image.fromarray(COLOURS[0]).quantize()
        self.write("cat/0.png", palette)
        self.write("dog/1.png", PIL.Image.fromarray(COLOURS[1]).convert("RGBA"))
        truth = COLOURS.copy()
        truth[0] = np.asarray(palette.convert("RGB"))
        train, test = self.load()
        rows = [self.rows(p, truth / np.float32(255)) for p in (train, test)]
        self.assertCountEqual(sum(rows, []), range(30))

    def test_jpeg(self):
        smooth = np.linspace(0, 255, 30 * 6 * 5).astype(np.uint8).reshape(30, 6, 5)
        for row, image in enumerate(smooth):
            self.write(f"{'ab'[row % 2]}/{row}.jpg", image, quality=100)
        made = np.concatenate([part.images for part in self.load()])[..., 0] * 255
        order = made.mean(axis=(1, 2)).argsort()
        np.testing.assert_allclose(made[order], smooth, atol=3)

    def test_transparency_is_refused(self):
        self.write_flat()
        image = PIL.Image.fromarray(COLOURS[0])
        image.putalpha(200)
        self.write("cat/0.png", image)
        with self.refused("cat/0.png is transparent in places"):
            self.load()

    def test_sixteen_bits_are_refused(self):
        # Pillow would cut every value above 255.
        self.write_flat()
        self.write("cat/0.png", GREYS[0].astype(np.uint16) * 256)
        with self.refused("cat/0.png is stored as 'I;16'; save it with 8 bits"):
            self.load()

    def test_sizes_are_compared(self):
        self.write_flat()
        self.write("cat/0.png", COLOURS[0][:4])
        with self.refused("of 2 sizes: .*png is 5 x .* or resize"):
            self.load()

    @parameterized.parameters(0, 20, 60, 90)
    def test_cut_file(self, length):
        self.write_flat()
        path = self.root / "cat" / "0.png"
        path.write_bytes(path.read_bytes()[:length])
        with self.refused("cat/0.png cannot be read as an image: "):
            self.load()

    def test_flipped_bit(self):
        self.write_flat()
        path = self.root / "cat" / "0.png"
        contents = bytearray(path.read_bytes())
        contents[len(contents) // 2] ^= 16
        path.write_bytes(contents)
        with self.refused("cat/0.png cannot be read as an image: "):
            self.load()
