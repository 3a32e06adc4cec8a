"""Networks: shapes, published sizes, modes of BatchNorm, precision."""

import contextlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import parameterized
from flax import linen as nn

from nrf import models, train
from nrf.models import airbench
from nrf.models.convolution import conv
from nrf.models.densenet import DenseNet
from nrf.models.inception import average, pad
from nrf.models.model import he_normal, identity_gradient_relu

STATISTICS = {"mean": (0.5,), "std": (0.25,)}
ARCHITECTURES = {
    "airbench": models.Airbench,
    "small": models.Small,
    "mlp": models.MLP,
    "resnet18": models.ResNet18,
    "resnet50": models.ResNet50,
    "vgg16": models.VGG16,
    "inception_v3": models.InceptionV3,
    "densenet121": models.DenseNet121,
}
DEEP = ("airbench", "resnet50", "vgg16", "inception_v3", "densenet121")
# Of the images, where 8 are too few; these are the smallest.
SIDES = {"vgg16": 32, "inception_v3": 9}


def make(name, **options):
    if name == "densenet121":
        # Less deep, as it takes long to compile.
        body = DenseNet(
            5,
            **STATISTICS,
            width=4,
            layers=(1, 2, 1, 1),
            dtype=jnp.dtype(options.get("dtype", "float32")),
        )
        identity = models.linen(body.clone(identity_relu=True))
        return models.linen(body)._replace(identity_relu=identity.apply)
    shape = {"small": {"widths": (4, 6, 8)}, "mlp": {"widths": (12, 8)}}
    shape["airbench"] = shape["small"]
    options = {**shape.get(name, {"width": 2}), **options}
    return ARCHITECTURES[name](**STATISTICS, **options).build(5)


def images(count=4, side=8):
    return jax.random.uniform(jax.random.key(0), (count, side, side, 3))


def draw(model, x):
    """Variables like those of `init`, which takes long to compile for deep networks."""
    random = np.random.RandomState(0)

    def leaf(path, shape):
        values = random.normal(size=shape.shape)
        if path[-1].key == "kernel":
            values *= np.sqrt(2 / np.prod(shape.shape[:-1]))
        else:
            values = 0.1 * values + (path[-1].key in ("scale", "var"))
        return np.asarray(values, shape.dtype)

    return jax.tree_util.tree_map_with_path(leaf, shapes(model, x))


def shapes(model, x):
    return jax.eval_shape(model.init, jax.random.key(0), x)


@contextlib.contextmanager
def recorded_convolutions():
    """Yields a list, of the input and output of every convolution traced within."""
    calls = []

    def recorded(x, *args, **options):
        calls.append((x, conv(x, *args, **options)))
        return calls[-1][1]

    with mock.patch("nrf.models.model.conv", recorded):
        yield calls


class InitialisationTest(parameterized.TestCase):
    @parameterized.parameters((1, 1, 3, 5), (3, 3, 40, 60), (5, 1, 64, 16))
    def test_he_normal_is_that_of_flax(self, *shape):
        ours = he_normal(jax.random.key(3), shape)
        theirs = nn.initializers.he_normal()(jax.random.key(3), shape)
        # Up to rounding.
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)

    def test_shapes_share_generators(self):
        def shapes(widths):
            return [(3, 3, width, width) for width in widths]

        def compiled(shapes):
            text = jax.jit(
                lambda key: [he_normal(jax.random.clone(key), s) for s in shapes]
            )
            return text.lower(jax.random.key(0)).as_text().count("func private @_draw")

        self.assertEqual(compiled(shapes((3, 5, 10))), 1)
        self.assertEqual(compiled(shapes((3, 20))), 2)


class ModelsTest(parameterized.TestCase):
    @parameterized.parameters(
        ("airbench", 8),
        ("small", 8),
        ("mlp", 8),
        ("resnet18", 16),
        ("resnet50", 64),
        ("vgg16", 16),
        ("inception_v3", 64),
        ("densenet121", 4),
    )
    def test_logits_are_the_last_layer_of_the_features(self, name, size):
        model, x = make(name), images(side=SIDES.get(name, 8))
        params = draw(model, x)
        apply = jax.jit(model.apply)
        output = apply(params, x)
        self.assertEqual(output.features.shape, (4, size))
        self.assertEqual(output.logits.shape, (4, 5))
        last = params["params"]["Dense_2" if name == "mlp" else "Dense_0"]
        expected = output.features @ last["kernel"]
        if name != "airbench":  # Without a bias, and of GELU.
            expected += last["bias"][None]
            self.assertGreaterEqual(float(output.features.min()), 0)
        np.testing.assert_allclose(output.logits, expected, atol=1e-5)
        # Other examples do not matter.
        features = apply(params, x.at[1:].set(0.5)).features
        np.testing.assert_allclose(features[0], output.features[0], rtol=1e-5)

    @parameterized.parameters(
        # That of airbench94 without its filters, which are no parameters here.
        ("airbench", 1_971_640 - 288),
        ("resnet18", 11_173_962),
        ("resnet50", 23_520_842),
        # The authors' library has 14,728,266, with a bias for each of the 64 * 2 +
        # 128 * 2 + 256 * 3 + 512 * 6 = 4,224 channels, which BatchNorm takes away.
        ("vgg16", 14_728_266 - 4_224),
        # torchvision's has 27,161,264. Without the auxiliary classifier (its two
        # convolutions, their BatchNorms, its linear layer), with 3x3 instead of 1x1
        # convolutions after three poolings, and with 10 classes instead of 1000:
        (
            "inception_v3",
            27_161_264
            - (768 * 128 + 2 * 128 + 25 * 128 * 768 + 2 * 768 + 769 * 1000)
            + 8 * (192 * 32 + 256 * 64 + 288 * 64)
            - 2049 * 990,
        ),
        ("densenet121", 6_956_298),
    )
    def test_published_sizes(self, name, expected):
        model = ARCHITECTURES[name](**STATISTICS).build(10)
        x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        params = shapes(model, x)["params"]
        self.assertEqual(sum(a.size for a in jax.tree.leaves(params)), expected)

    # torchvision's, and the multiplications that it counts for 224 x 224 pixels: 4.09
    # billion, and 3.86 with the stride in the first convolution of a bottleneck. XLA
    # leaves out those with what is around the image: 3 %, and 7 % of ResNet-18's.
    @parameterized.parameters(
        (models.ResNet18, 11_689_512, 1.81e9), (models.ResNet50, 25_557_032, 4.09e9)
    )
    def test_published_sizes_for_imagenet(self, architecture, size, products):
        model = architecture(**STATISTICS, stem="imagenet").build(1000)
        x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
        params = shapes(model, x)
        self.assertEqual(sum(a.size for a in jax.tree.leaves(params["params"])), size)
        cost = jax.jit(model.apply).lower(params, x).cost_analysis()
        self.assertBetween(cost["flops"] / 2 / products, 0.925, 1)

    def test_the_stem_for_imagenet_pools_maxima(self):
        model, x = make("resnet18", stem="imagenet"), images(count=1, side=32)
        params = draw(model, x)
        with recorded_convolutions() as calls:
            model.apply(params, x)
        (_, made), (pooled, _), *_ = calls
        norm = params["params"]["BatchNorm_0"] | params["batch_stats"]["BatchNorm_0"]
        made = (np.asarray(made[0]) - norm["mean"]) / np.sqrt(norm["var"] + 1e-5)
        made = np.maximum(made * norm["scale"] + norm["bias"], 0)
        self.assertEqual(made.shape, (16, 16, 2))
        made = np.pad(made, ((1, 1), (1, 1), (0, 0)))
        for row, column in np.ndindex(8, 8):
            window = made[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            np.testing.assert_allclose(
                pooled[0, row, column], window.max((0, 1)), rtol=1e-4, atol=1e-6
            )

    @parameterized.parameters(
        ("resnet18", [32, 16, 8, 4]),
        ("vgg16", [32, 16, 8, 4, 2]),
        ("inception_v3", [32, 30, 14, 6]),
        ("densenet121", [32, 16, 8, 4]),
    )
    def test_sides_of_the_stages(self, name, expected):
        with recorded_convolutions() as calls:
            shapes(make(name), images(side=32))
        sides = dict.fromkeys(y.shape[1:3] for _, y in calls)
        self.assertEqual(list(sides), [(side, side) for side in expected])

    @parameterized.parameters("airbench", "small", "resnet18")
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

    @parameterized.parameters(*DEEP)
    def test_training_updates_all_statistics(self, name):
        model, x = make(name), images(side=SIDES.get(name, 8))
        program = jax.make_jaxpr(lambda *inputs: model.train(*inputs)[1]["batch_stats"])
        program = program(shapes(model, x), x).jaxpr
        # A statistic that is not updated is handed through.
        self.assertTrue(set(program.outvars).isdisjoint(program.invars))

    def test_normalises_inside(self):
        plain = models.MLP((0.0,), (1.0,), widths=(3,)).build(2)
        statistics = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
        scaled = models.MLP(*statistics, widths=(3,)).build(2)
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

    @parameterized.parameters("airbench", "small", "mlp", "resnet18")
    def test_bfloat16_keeps_parameters_and_outputs_in_float32(self, name):
        # Flax's BatchNorm mixes types by design.
        self.enter_context(jax.numpy_dtype_promotion("standard"))
        exact, rounded = make(name), make(name, dtype="bfloat16")
        params = rounded.init(jax.random.key(1), images())
        for leaf in jax.tree.leaves(params):
            self.assertEqual(leaf.dtype, jnp.float32)
        outputs = [model.apply(params, images()) for model in (exact, rounded)]
        self.assertEqual(outputs[1].logits.dtype, jnp.float32)
        difference = jnp.abs(outputs[0].features - outputs[1].features).max()
        self.assertBetween(float(difference), 1e-6, 0.1)

    @parameterized.parameters(*DEEP)
    def test_all_convolutions_are_in_bfloat16(self, name):
        self.enter_context(jax.numpy_dtype_promotion("standard"))
        model, x = make(name, dtype="bfloat16"), images(side=SIDES.get(name, 8))
        params = shapes(model, x)
        with recorded_convolutions() as calls:
            outputs = jax.eval_shape(model.apply, params, x)
        for a in jax.tree.leaves(calls):
            self.assertEqual(a.dtype, jnp.bfloat16)
        for a in jax.tree.leaves((params, outputs)):
            self.assertEqual(a.dtype, jnp.float32)

    def test_identity_relu_changes_gradients_only(self):
        model = make("small")
        params = model.init(jax.random.key(1), images())
        np.testing.assert_array_equal(
            model.apply(params, images()).logits,
            model.identity_relu(params, images()).logits,
        )
        x = jnp.array([-2.0, 3.0])
        np.testing.assert_array_equal(identity_gradient_relu(x), jnp.array([0.0, 3.0]))
        slope = jax.grad(lambda x: (x * identity_gradient_relu(x)).sum())(x)
        np.testing.assert_array_equal(slope, jnp.array([-2.0, 6.0]))

    @parameterized.parameters(
        ("small", [2]),
        ("resnet18", [19]),
        ("vgg16", [12]),
        # Every branch of the last block ends in a ReLU.
        ("inception_v3", [85, 87, 88, 91, 92, 93]),
        ("densenet121", [13]),
    )
    def test_identity_relu_passes_gradients_to_every_feature(self, name, last):
        model, x = make(name), images(side=SIDES.get(name, 8))
        variables = draw(model, x)
        params = variables["params"]
        names = [f"BatchNorm_{i}" for i in last]

        def features(biases):
            changed = {n: params[n] | {"bias": biases[n]} for n in names}
            variables["params"] = params | changed
            return model.identity_relu(variables, x).features.sum()

        # Such that all last ReLUs are at zero, and without gradient by themselves.
        biases = {n: params[n]["bias"] - 10 for n in names}
        value, slopes = jax.jit(jax.value_and_grad(features))(biases)
        self.assertEqual(value, 0)
        for slope in slopes.values():
            np.testing.assert_allclose(slope, len(x), rtol=1e-5)

    def test_pooling_counts_the_zeros_beyond_the_border(self):
        # As PyTorch does unless told otherwise, and so the authors' library.
        pooled = average(pad(jnp.ones((1, 3, 4, 1))))[0, :, :, 0] * 9
        expected = np.array([[4, 6, 6, 4], [6, 9, 9, 6], [4, 6, 6, 4]])
        np.testing.assert_allclose(pooled, expected, rtol=1e-6)

    @parameterized.parameters(
        ("vgg16", "VGG", 32),
        ("inception_v3", "Inception", 9),
        ("densenet121", "D", 8),
        ("small", "Small", 4),
        ("airbench", "Airbench", 2),
    )
    def test_images_must_survive_the_halving(self, name, architecture, smallest):
        x = jnp.zeros((1, smallest, smallest, 3))
        shapes(make(name), x)
        message = f"^{architecture}.* {smallest} x {smallest - 1}; .* is {smallest}"
        with self.assertRaisesRegex(ValueError, message):
            shapes(make(name), x[:, :, 1:])

    def test_patches_are_squares_of_pixels(self):
        # The first layer of patches sees what a convolution of stride 2 would.
        x = jnp.arange(16.0).reshape(1, 4, 4, 1) / 16
        model = models.Small((0.0,), (1.0,), widths=(3,), patch=2).build(2)
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
        model = models.MLP((0.5, 0.5), (0.25,), widths=(3,)).build(2)
        with self.assertRaisesRegex(ValueError, "mean must be one number.* 3 channels"):
            model.init(jax.random.key(0), images())

    def test_patches_must_be_whole(self):
        model = models.Small(**STATISTICS, widths=(3,), patch=3).build(2)
        with self.assertRaisesRegex(ValueError, "8 x 8 have no whole 3 x 3 patches"):
            model.init(jax.random.key(0), images())

    def test_an_mlp_without_layers_is_linear(self):
        model = models.MLP(**STATISTICS, widths=()).build(3)
        x = jax.random.uniform(jax.random.key(0), (3, 2, 2, 1))
        params = model.init(jax.random.key(1), x)
        first, second, both = model.apply(
            params, jnp.stack([x[0], x[1], x[:2].mean(0)])
        ).logits
        np.testing.assert_allclose(both, (first + second) / 2, rtol=1e-5)

    def test_identity_relu_is_the_last_of_an_mlp(self):
        model = models.MLP(**STATISTICS, widths=(4, 2)).build(3)
        x = jax.random.uniform(jax.random.key(0), (2, 2, 2, 1))
        params = model.init(jax.random.key(1), x)

        def features(bias):
            last = params["params"]["Dense_1"] | {"bias": bias}
            changed = {"params": params["params"] | {"Dense_1": last}}
            return model.identity_relu(changed, x).features.sum()

        # All units are off, and let gradients through.
        off = jnp.full(2, -100.0)
        self.assertEqual(features(off), 0)
        np.testing.assert_allclose(jax.grad(features)(off), jnp.full(2, 2.0))


class AirbenchTest(parameterized.TestCase):
    def photos(self):
        """[6, 9, 8, 3] of correlated pixels, of three variances."""
        noise = np.random.default_rng(0).normal(size=(6, 9, 8, 3))
        x = np.cumsum(np.cumsum(noise, 1), 2) @ np.diag([1, 0.5, 0.05])
        return jnp.asarray(x / 40 + 0.5, jnp.float32)

    def test_filters_whiten_patches(self):
        x = np.asarray(self.photos(), np.float64)
        filters = np.float64(airbench.whitening(self.photos())).reshape(12, 24)
        np.testing.assert_array_equal(filters[:, 12:], -filters[:, :12])
        windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), (1, 2))
        patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12)
        self.assertLen(patches, 6 * 8 * 7)
        variances = np.linalg.eigvalsh(np.cov(patches.T, bias=True))[::-1]
        # Not by so much where there is next to nothing to see.
        self.assertLess(variances[-1], 1e-5)
        expected = np.diag(variances / (variances + 5e-4))
        whitened = np.cov((patches @ filters[:, :12]).T, bias=True)
        np.testing.assert_allclose(whitened, expected, atol=1e-4)

    def test_the_first_layer_is_of_the_images_and_stays(self):
        model = models.Airbench((0.4,), (0.2,), widths=(3,)).build(2)
        self.assertEqual(model.examples, 1000)
        variables, other = (
            model.init(jax.random.key(seed), self.photos()) for seed in (0, 1)
        )
        filters = variables["whitening"]["filters"]
        np.testing.assert_array_equal(filters, other["whitening"]["filters"])
        expected = airbench.whitening((self.photos() - 0.4) / 0.2)
        np.testing.assert_allclose(filters, expected, rtol=1e-3, atol=1e-3)
        optimizer = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.1))
        step = jax.jit(train.make_step(model, optimizer))
        state = train.State(
            jnp.int32(0), variables, optimizer.init(variables["params"])
        )
        state, _ = step(jax.random.key(0), state, self.photos(), jnp.arange(6) % 2)
        np.testing.assert_array_equal(state.params["whitening"]["filters"], filters)
        changed = jax.tree.map(
            lambda a, b: bool((a != b).any()),
            variables["params"],
            state.params["params"],
        )
        self.assertTrue(all(jax.tree.leaves(changed)))

    def test_computes_what_is_published(self):
        """By NumPy, of one block: its first layer, two convolutions, its maxima."""
        model = models.Airbench((0.4,), (0.2,), widths=(3,)).build(2)
        x = self.photos()[:1, :4, :5]
        variables = draw(model, x)
        params, running = variables["params"], variables["batch_stats"]

        def convolved(x, kernel):
            windows = np.lib.stride_tricks.sliding_window_view(
                x, kernel.shape[:2], (0, 1)
            )
            return np.einsum("hwcij,ijco->hwo", windows, kernel)

        def gelu(x):
            return x / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

        def shifted(x, name):
            mean, var = (running[name]["BatchNorm_0"][k] for k in ("mean", "var"))
            return (x - mean) / np.sqrt(var + 1e-5) + 8 * params[name]["bias"]

        y = (np.float64(x[0]) - 0.4) / 0.2
        y = gelu(convolved(y, variables["whitening"]["filters"]) + params["bias"])
        y = np.pad(y, ((1, 1), (1, 1), (0, 0)))
        y = convolved(y, params["Conv_0"]["kernel"])
        self.assertEqual(y.shape, (3, 4, 3))
        y = y[:2].reshape(1, 2, 2, 2, 3).max((1, 3))
        y = np.pad(gelu(shifted(y, "Shift_0")), ((1, 1), (1, 1), (0, 0)))
        y = gelu(shifted(convolved(y, params["Conv_1"]["kernel"]), "Shift_1"))
        output = model.apply(variables, x)
        np.testing.assert_allclose(output.features[0], y.max((0, 1)) / 9, rtol=1e-4)

    def test_half_of_the_kernels_begin_as_identities(self):
        kernel = airbench.identity(jax.random.key(0), (3, 3, 4, 200))
        x = jax.random.normal(jax.random.key(1), (2, 5, 6, 4))
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        np.testing.assert_array_equal(y[..., :4], x)
        # As many as PyTorch's are: uniform up to 1 / √(inputs).
        spread = float(jnp.std(kernel[..., 4:]) * jnp.sqrt(3 * 9 * 4))
        self.assertBetween(spread, 0.95, 1.05)

    def test_a_pass_is_a_fifth_of_that_of_resnet18(self):
        self.enter_context(jax.numpy_dtype_promotion("standard"))
        model = models.Airbench(**STATISTICS, dtype="bfloat16").build(10)
        x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        params = shapes(model, x)
        # 0.236 by the layers' sides; XLA leaves out what is around the image.
        cost = jax.jit(model.apply).lower(params, x).cost_analysis()["flops"]
        self.assertBetween(cost, 0.2e9, 0.24e9)
        large = models.ResNet18(**STATISTICS, dtype="bfloat16").build(10)
        theirs = jax.jit(large.apply).lower(shapes(large, x), x).cost_analysis()
        self.assertBetween(cost / theirs["flops"], 0.18, 0.22)

        def loss(params, x):
            output, _ = model.train(params, x)
            return output.logits.sum()

        def lowered(function, *inputs):
            traced = jax.jit(function).trace(*inputs)
            return traced.lower(lowering_platforms=("cuda", "tpu")).as_text()

        convolution = "stablehlo.convolution"
        self.assertIn(convolution, lowered(jax.grad(loss, argnums=1), params, x))
        # A thousand images are not passed through the network for their filters.
        self.assertFalse(convolution in lowered(model.init, jax.random.key(0), x))


class ArchitecturesTest(parameterized.TestCase):
    def test_equal_settings_are_one_key(self):
        # What is compiled for a network is looked up by its settings.
        one, other = (models.Small((0.5,), (0.25,), widths=(4,)) for _ in range(2))
        self.assertEqual({one: 1}[other], 1)

    @parameterized.parameters(
        (models.Small, dict(widths=()), "at least one convolution"),
        (models.Small, dict(widths=(3, 0)), "widths must be positive.* got 0"),
        (models.Small, dict(patch=0), "patch must be positive.* got 0"),
        (models.Airbench, dict(widths=()), "at least one block"),
        (models.Airbench, dict(widths=(3, 0)), "widths must be positive.* got 0"),
        (models.MLP, dict(widths=(2.5,)), "widths must be positive whole.* 2.5"),
        (models.VGG16, dict(width=0), "width must be positive.* got 0"),
        (models.MLP, dict(mean=0.5), r"mean must be a tuple.* 0.5; .* \(0.5,\)"),
        (models.MLP, dict(std=[0.5]), "std must be a tuple"),
        (models.MLP, dict(std=(0.5, 0.0)), "std must be positive"),
        (models.ResNet18, dict(dtype="float16"), "dtype must be 'float32' or"),
        (models.ResNet18, dict(stem="cifar10"), "stem must be 'cifar' or 'imagenet', "),
    )
    def test_refuses(self, architecture, options, message):
        with self.assertRaisesRegex(ValueError, message):
            architecture(**{**STATISTICS, **options})
