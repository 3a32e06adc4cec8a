"""How values lie on disk: every bit comes back, and others can read them."""

import tempfile
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from absl.testing import parameterized

from nrf import data, rows
from nrf.runs import formats, manifest, sets, store
from nrf.runs.formats import Constructed, Trained
from nrf.runs.steps import as_input
from nrf.types import check_images


def constructed(dtype=np.float32, n=23):
    draw = np.random.default_rng(0)
    images = draw.random((n, 6, 5, 3), np.float32)
    images[0, 0, 0] = 0.1, np.nextafter(np.float32(0.5), np.float32(1)), 1e-40
    return Constructed(
        images.astype(dtype),
        draw.integers(0, 4, n).astype(np.int32),
        draw.integers(0, 4, n).astype(np.int32),
        draw.permutation(n),
        ("cat", "dog", "fish", "frog"),
        {"epsilon": 0.5, "sources": ["standard"], "random_start": False, "note": None},
    )


class FormatsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "step"

    def twice(self, value):
        """The value when it is saved, and when it is loaded."""
        return store.save(self.path, value), store.load(self.path)

    @parameterized.parameters(np.float32, np.float16)
    def test_constructed_sets_keep_every_bit(self, dtype):
        value = constructed(dtype)
        for back in self.twice(value):
            self.assertEqual(back.images.tobytes(), value.images.tobytes())
            for name in ("images", "labels", "original_labels", "indices"):
                np.testing.assert_array_equal(getattr(back, name), getattr(value, name))
                self.assertEqual(getattr(back, name).dtype, getattr(value, name).dtype)
            self.assertEqual(back.names, value.names)
            self.assertEqual(back.provenance, value.provenance)

    @parameterized.parameters(np.float32, np.float16)
    def test_constructed_sets_are_read_by_tfds_alone(self, dtype):
        value, _ = self.twice(constructed(dtype))
        builder = tfds.builder_from_directory(self.path)
        source = builder.as_data_source("train")
        self.assertLen(source, 23)
        for row, example in enumerate(source):
            self.assertEqual(example["image"].dtype, dtype)
            self.assertEqual(example["image"].tobytes(), value.images[row].tobytes())
            self.assertEqual(example["label"], value.labels[row])
            self.assertEqual(example["original_label"], value.original_labels[row])
            self.assertEqual(example["index"], value.indices[row])
        features = builder.info.features
        self.assertEqual(tuple(features["label"].names), value.names)
        self.assertEqual(tuple(features["original_label"].names), value.names)
        self.assertEqual(builder.info.metadata["epsilon"], 0.5)

    def test_large_sets_are_several_files_and_never_in_memory(self):
        value = constructed(np.float16)
        each = value.images[0].nbytes
        lazy = rows.part(value.images, np.arange(23))
        check_images(lazy)  # As `construct` does.
        read = mock.Mock(side_effect=lazy.read)
        with (
            mock.patch.object(lazy, "read", read),
            mock.patch.object(sets, "_FILE", 10 * each),
            mock.patch.object(rows, "BLOCK", 4 * each),
            mock.patch.object(rows.Lazy, "__array__", None),  # All of it at once.
        ):
            with mock.patch.object(rows.Decoded, "read", None):  # More than once.
                backs = self.twice(value._replace(images=lazy))
            inputs = [as_input(back).images for back in backs]
        # Written, and digested, as they are read for the first time.
        asked = np.concatenate([call.args[0] for call in read.call_args_list])
        np.testing.assert_array_equal(asked, np.arange(23))
        for images in inputs:  # Of the steps to come.
            self.assertIsInstance(images, rows.Lazy)
            self.assertEqual(images.dtype, np.float32)
            np.testing.assert_array_equal(images[3:5], value.images[3:5])
        files = sorted(path.name for path in self.path.glob("*array_record*"))
        self.assertLen(files, 3)
        for back in backs:
            self.assertIsInstance(back.images, rows.Lazy)
            np.testing.assert_array_equal(back.images[[22, 9]], value.images[[22, 9]])
            np.testing.assert_array_equal(back.images, value.images)
            np.testing.assert_array_equal(back.labels, value.labels)
            np.testing.assert_array_equal(back.indices, value.indices)
        train, _ = data.load((self.path, (np.zeros((2, 6, 5, 3), np.float32), [0, 1])))
        np.testing.assert_array_equal(train.images, value.images)

    def test_sets_that_tfds_wrote_itself_are_read(self):
        """As they were kept before: compressed, in files of other names."""
        value = constructed()
        self.path.mkdir()
        writer = tfds.core.SequentialWriter(
            sets._description(self.path, value), 10, file_format="array_record"
        )
        writer.initialize_splits(["train"])
        names = "image", "label", "original_label", "index"
        examples = [
            dict(zip(names, row, strict=True)) for row in zip(*value[:4], strict=True)
        ]
        writer.add_examples({"train": examples})
        writer.close_all()
        back = sets.load(self.path)
        self.assertEqual(manifest.content(back), manifest.content(value))
        np.testing.assert_array_equal(back.images, value.images)

    @parameterized.parameters(np.uint8, np.float64, np.int32)
    def test_images_of_other_types_are_refused(self, dtype):
        value = constructed()._replace(images=np.zeros((23, 6, 5, 3), dtype))
        with self.assertRaisesRegex(
            ValueError, f"float32 or float16, got {dtype.__name__}"
        ):
            self.twice(value)

    @parameterized.parameters(
        (np.nan, "nan"), (np.inf, "inf"), (-0.5, "-0.5"), (255, "")
    )
    def test_pixels_that_are_none_are_refused(self, pixel, words):
        value = constructed()
        value.images[7, 1, 2, 0] = pixel
        with self.assertRaisesRegex(
            ValueError, rf"step can not be saved: .* lie in \[0, 1\], got .*{words}"
        ):
            self.twice(value)
        self.assertFalse(self.path.exists())

    @parameterized.parameters("labels", "original_labels")
    def test_labels_that_are_no_classes_are_refused(self, name):
        for label in (4, -1):
            value = constructed()
            getattr(value, name)[3] = label
            with self.assertRaisesRegex(ValueError, "labels must be in 0 .. 3 for 4"):
                self.twice(value)

    def test_nan_is_never_saved_as_a_network_or_an_array(self):
        weights = np.array([1, np.nan, np.nan], np.float32)
        for value, words in (
            (Trained({"a": {"b": weights}}, []), r"params\['a'\]\['b'\] has NaN in 2 "),
            ({"a": weights}, "step can not be saved: a has NaN in 2 places"),
        ):
            with self.assertRaisesRegex(ValueError, words):
                self.twice(value)

    @parameterized.parameters("labels", "original_labels", "indices")
    def test_columns_of_other_lengths_are_refused(self, name):
        for column in (np.zeros(22, int), np.zeros(23, float)):
            with self.assertRaisesRegex(ValueError, f"{name} must be 23 integers"):
                self.twice(constructed()._replace(**{name: column}))

    def test_trained_networks(self):
        params = {
            "params": {
                "Dense_0": {"kernel": jax.random.normal(jax.random.key(0), (3, 2))},
                "Dense_1": {"bias": np.array([0.1, -0.0], np.float32), "none": {}},
            },
            "batch_stats": {"mean": jnp.zeros(4, jnp.bfloat16), "count": np.int32([3])},
        }
        history = [{"epoch": 1, "loss": np.float32(1.25), "accuracy": 0.5}]
        expected = jax.tree.map(np.asarray, params)
        for back in self.twice(Trained(params, history)):
            self.assertEqual(
                jax.tree.structure(back.params), jax.tree.structure(params)
            )
            for a, b in zip(
                *map(jax.tree.leaves, (back.params, expected)), strict=True
            ):
                self.assertIsInstance(a, np.ndarray)
                self.assertEqual((a.dtype, a.shape), (b.dtype, b.shape))
                self.assertEqual(a.tobytes(), b.tobytes())
            self.assertEqual(
                back.history, [{"epoch": 1, "loss": 1.25, "accuracy": 0.5}]
            )

    def test_parameters_of_all_devices(self):
        """Copied to all devices or split between them, they are kept as one array."""
        mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("data",))
        count = len(jax.devices())
        for number, axes in enumerate(((), ("data",))):
            sharding = jax.sharding.NamedSharding(
                mesh, jax.sharding.PartitionSpec(*axes)
            )
            kernel = jax.device_put(np.arange(2.0 * count, dtype=np.float32), sharding)
            self.path = self.path.with_name(str(number))
            for back in self.twice(Trained({"kernel": kernel}, [])):
                np.testing.assert_array_equal(back.params["kernel"], kernel)

    @parameterized.parameters(
        ({"params": {"a": (np.zeros(2),)}}, "params.params.a is a tuple"),
        ({"params": 1.0}, "params.params is a float"),
    )
    def test_other_trees_are_refused(self, params, words):
        with self.assertRaisesRegex(ValueError, words):
            self.twice(Trained(params, []))

    def test_arrays(self):
        value = {"D": np.ones((2, 3), np.float32), "D_labels": np.array([1, 2])}
        for back in self.twice(value):
            self.assertEqual(back.keys(), value.keys())
            for name in value:
                np.testing.assert_array_equal(back[name], value[name])

    def test_json(self):
        value = [{"name": "D_R", "correct": np.int64(3), "x": None}, {"loss": np.nan}]
        for back in self.twice(value):
            self.assertEqual(back[0], {"name": "D_R", "correct": 3, "x": None})
            self.assertTrue(np.isnan(back[1]["loss"]))

    def test_arrays_are_no_json(self):
        with self.assertRaisesRegex(ValueError, r"write float\(x\)"):
            self.twice({"loss": jnp.float32(1), "epoch": 1})
        self.assertFalse(self.path.exists())

    def test_what_a_value_is_saved_as_follows_from_its_type(self):
        for value, name in (
            (constructed(), "set"),
            (Trained({}, []), "network"),
            ({"a": np.ones(1), "b": jnp.ones(1)}, "arrays"),
            ({"a": 1.0}, "json"),
            ({}, "json"),
            ([np.float32(1)], "json"),
        ):
            self.assertEqual(formats.format_of(value), name)

    def test_a_set_of_somebody_else_is_kept_for_other_readers(self):
        store.save(self.path, constructed())
        with self.assertRaisesRegex(ValueError, "is there already"):
            store.save(self.path, constructed())
        train, _ = data.load((self.path, (np.zeros((2, 6, 5, 3), np.float32), [0, 1])))
        np.testing.assert_array_equal(train.images, constructed().images)
