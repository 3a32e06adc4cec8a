import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from absl.testing import parameterized

from nrf.runs import store
from nrf.runs.formats import ARRAYS, CONSTRUCTED, JSON, TRAINED, Constructed, Trained


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


def unused():
    raise AssertionError("what is there was made again")


class KindsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "stage"

    def twice(self, kind, value):
        """The value when it is made, and when it is loaded."""
        return (
            store.stage(self.path, {}, lambda: value, kind),
            store.stage(self.path, {}, unused, kind),
        )

    @parameterized.parameters(np.float32, np.float16)
    def test_constructed_sets_keep_every_bit(self, dtype):
        value = constructed(dtype)
        for found in self.twice(CONSTRUCTED, value):
            self.assertEqual(found.images.tobytes(), value.images.tobytes())
            for name in ("images", "labels", "original_labels", "indices"):
                np.testing.assert_array_equal(
                    getattr(found, name), getattr(value, name)
                )
                self.assertEqual(getattr(found, name).dtype, getattr(value, name).dtype)
            self.assertEqual(found.names, value.names)
            self.assertEqual(found.provenance, value.provenance)

    @parameterized.parameters(np.float32, np.float16)
    def test_constructed_sets_are_read_by_tfds_alone(self, dtype):
        value, _ = self.twice(CONSTRUCTED, constructed(dtype))
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

    @parameterized.parameters(np.uint8, np.float64, np.int32)
    def test_images_of_other_types_are_refused(self, dtype):
        value = constructed()._replace(images=np.zeros((23, 6, 5, 3), dtype))
        with self.assertRaisesRegex(
            ValueError, f"float32 or float16, got {dtype.__name__}"
        ):
            self.twice(CONSTRUCTED, value)

    @parameterized.parameters("labels", "original_labels", "indices")
    def test_columns_of_other_lengths_are_refused(self, name):
        for column in (np.zeros(22, int), np.zeros(23, float)):
            with self.assertRaisesRegex(ValueError, f"{name} must be 23 integers"):
                self.twice(CONSTRUCTED, constructed()._replace(**{name: column}))

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
        for found in self.twice(TRAINED, Trained(params, history)):
            self.assertEqual(
                jax.tree.structure(found.params), jax.tree.structure(params)
            )
            for a, b in zip(
                *map(jax.tree.leaves, (found.params, expected)), strict=True
            ):
                self.assertIsInstance(a, np.ndarray)
                self.assertEqual((a.dtype, a.shape), (b.dtype, b.shape))
                self.assertEqual(a.tobytes(), b.tobytes())
            self.assertEqual(
                found.history, [{"epoch": 1, "loss": 1.25, "accuracy": 0.5}]
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
            for found in self.twice(TRAINED, Trained({"kernel": kernel}, [])):
                np.testing.assert_array_equal(found.params["kernel"], kernel)

    @parameterized.parameters(
        ({"params": {"a": (np.zeros(2),)}}, "params.params.a is a tuple"),
        ({"params": 1.0}, "params.params is a float"),
    )
    def test_other_trees_are_refused(self, params, words):
        with self.assertRaisesRegex(ValueError, words):
            self.twice(TRAINED, Trained(params, []))

    def test_arrays(self):
        value = {"D": np.ones((2, 3), np.float32), "D_labels": np.array([1, 2])}
        for found in self.twice(ARRAYS, value):
            self.assertEqual(found.keys(), value.keys())
            for name in value:
                np.testing.assert_array_equal(found[name], value[name])

    def test_what_is_no_array_is_refused(self):
        with self.assertRaisesRegex(ValueError, "count is a int, not an array"):
            self.twice(ARRAYS, {"count": 3})

    def test_json(self):
        value = [{"name": "D_R", "correct": np.int64(3), "x": None}, {"loss": np.nan}]
        for found in self.twice(JSON, value):
            self.assertEqual(found[0], {"name": "D_R", "correct": 3, "x": None})
            self.assertTrue(np.isnan(found[1]["loss"]))

    def test_arrays_are_no_json(self):
        with self.assertRaisesRegex(ValueError, r"write float\(x\)"):
            self.twice(JSON, {"loss": jnp.float32(1)})
        self.assertFalse(self.path.exists())
