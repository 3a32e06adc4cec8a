"""Networks: shapes, published sizes, modes of BatchNorm, precision."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import models
from nrf.models.model import identity_gradient_relu

STATISTICS = {"mean": (0.5,), "std": (0.25,)}


def make(name, **options):
    shape = {
        "small": {"widths": (4, 6, 8)},
        "mlp": {"widths": (12, 8)},
        "resnet18": {"width": 2},
        "resnet50": {"width": 2},
    }[name]
    return getattr(models, name)(5, **STATISTICS, **shape, **options)


def images(count=4):
    return jax.random.uniform(jax.random.key(0), (count, 8, 8, 3))


class ModelsTest(parameterized.TestCase):
    @parameterized.parameters(
        ("small", 8), ("mlp", 8), ("resnet18", 16), ("resnet50", 64)
    )
    def test_logits_are_the_last_layer_of_the_features(self, name, size):
        model = make(name)
        params = model.init(jax.random.key(1), images())
        output = jax.jit(model.apply)(params, images())
        self.assertEqual(output.features.shape, (4, size))
        self.assertEqual(output.logits.shape, (4, 5))
        last = params["params"]["Dense_2" if name == "mlp" else "Dense_0"]
        expected = output.features @ last["kernel"] + last["bias"][None]
        np.testing.assert_allclose(output.logits, expected, atol=1e-5)
        self.assertGreaterEqual(float(output.features.min()), 0)

    @parameterized.parameters(("resnet18", 11_173_962), ("resnet50", 23_520_842))
    def test_published_sizes(self, name, expected):
        model = getattr(models, name)(10, **STATISTICS)
        x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        params = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
        self.assertEqual(sum(a.size for a in jax.tree.leaves(params)), expected)

    def test_resnet_reaches_the_last_stage_at_an_eighth(self):
        # Mean features of a constant image do not depend on its size.
        model = make("resnet18")
        params = model.init(jax.random.key(1), images())
        small = model.apply(params, jnp.full((1, 8, 8, 3), 0.7)).features
        self.assertEqual(small.shape, (1, 16))

    @parameterized.parameters("small", "resnet18")
    def test_only_training_uses_and_updates_the_statistics_of_the_batch(self, name):
        model = make(name)
        params = model.init(jax.random.key(1), images())
        alone = model.apply(params, images()[:1]).logits
        np.testing.assert_allclose(
            alone, model.apply(params, images()).logits[:1], atol=1e-5
        )
        output, updated = model.train(params, images())
        self.assertGreater(
            float(jnp.abs(output.logits - model.apply(params, images()).logits).max()),
            1e-3,
        )
        changed = jax.tree.map(
            lambda a, b: bool((a != b).any()),
            params["batch_stats"],
            updated["batch_stats"],
        )
        self.assertTrue(all(jax.tree.leaves(changed)))
        same = jax.tree.map(
            lambda a, b: bool((a == b).all()), params["params"], updated["params"]
        )
        self.assertTrue(all(jax.tree.leaves(same)))

    def test_normalises_inside(self):
        plain = models.mlp(2, widths=(3,), mean=(0.0,), std=(1.0,))
        scaled = models.mlp(2, widths=(3,), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
        x = images()
        params = plain.init(jax.random.key(0), x)
        normal = (x - jnp.array([0.1, 0.2, 0.3])[None, None, None]) / jnp.array(
            [0.5, 1.0, 2.0]
        )[None, None, None]
        np.testing.assert_allclose(
            scaled.apply(params, x).logits,
            plain.apply(params, normal).logits,
            rtol=1e-5,
        )

    @parameterized.parameters("small", "mlp", "resnet18")
    def test_bfloat16_keeps_parameters_and_outputs_in_float32(self, name):
        # Flax's BatchNorm mixes types by design.
        self.enter_context(jax.numpy_dtype_promotion("standard"))
        exact, rounded = make(name), make(name, dtype=jnp.bfloat16)
        params = rounded.init(jax.random.key(1), images())
        for leaf in jax.tree.leaves(params):
            self.assertEqual(leaf.dtype, jnp.float32)
        outputs = [model.apply(params, images()) for model in (exact, rounded)]
        self.assertEqual(outputs[1].logits.dtype, jnp.float32)
        difference = jnp.abs(outputs[0].features - outputs[1].features).max()
        self.assertBetween(float(difference), 1e-6, 0.1)

    def test_identity_relu_changes_gradients_only(self):
        plain, identity = make("small"), make("small", identity_relu=True)
        params = plain.init(jax.random.key(1), images())
        np.testing.assert_array_equal(
            plain.apply(params, images()).logits,
            identity.apply(params, images()).logits,
        )
        x = jnp.array([-2.0, 3.0])
        np.testing.assert_array_equal(identity_gradient_relu(x), jnp.array([0.0, 3.0]))
        slope = jax.grad(lambda x: (x * identity_gradient_relu(x)).sum())(x)
        np.testing.assert_array_equal(slope, jnp.array([-2.0, 6.0]))

    def test_patches_are_squares_of_pixels(self):
        # The first layer of patches sees what a convolution of stride 2 would.
        x = jnp.arange(16.0).reshape(1, 4, 4, 1) / 16
        model = models.small(2, widths=(3,), patch=2, mean=(0.0,), std=(1.0,))
        params = model.init(jax.random.key(0), x)
        kernel = params["params"]["Conv_0"]["kernel"]
        self.assertEqual(kernel.shape, (3, 3, 4, 3))
        patches = np.asarray(x)[0].reshape(2, 2, 2, 2).transpose(0, 2, 1, 3)
        padded = np.pad(patches.reshape(2, 2, 4), ((1, 1), (1, 1), (0, 0)))
        expected = np.zeros(3)
        for i in range(2):
            for j in range(2):
                window = padded[i : i + 3, j : j + 3]
                response = np.einsum("hwc,hwco->o", window, np.asarray(kernel))
                expected += np.maximum(response / np.sqrt(1 + 1e-5), 0) / 4
        np.testing.assert_allclose(
            model.apply(params, x).features[0], expected, rtol=1e-5
        )

    def test_channels_of_the_normalisation_are_those_of_the_images(self):
        model = models.mlp(2, widths=(3,), mean=(0.5, 0.5), std=(0.25,))
        with self.assertRaisesRegex(ValueError, "mean must be one number.* 3 channels"):
            model.init(jax.random.key(0), images())

    def test_patches_must_be_whole(self):
        model = models.small(2, widths=(3,), patch=3, **STATISTICS)
        with self.assertRaisesRegex(ValueError, "8 x 8 have no whole 3 x 3 patches"):
            model.init(jax.random.key(0), images())
