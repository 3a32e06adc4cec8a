import functools
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from flax import linen as nn
from jax import lax

from nrf.models import convolution
from nrf.models.convolution import conv

NHWC = lax.conv_dimension_numbers((1, 1, 1, 1), (1, 1, 1, 1), ("NHWC", "HWIO", "NHWC"))
# Side of the kernel (or height and width), stride, padding, input and output channels;
# images are 9 x 12.
CASES = (
    ("3x3", 3, 1, "SAME", 4, 6),
    ("3x3_few_channels_in", 3, 1, "SAME", 2, 16),
    ("3x3_valid", 3, 1, "VALID", 4, 6),
    ("3x3_stride_2", 3, 2, ((1, 1), (1, 1)), 4, 6),
    ("3x3_stride_2_few_channels_in", 3, 2, "SAME", 1, 16),
    ("3x3_stride_2_valid", 3, 2, "VALID", 4, 6),
    ("3x3_uneven", 3, 2, ((0, 2), (3, 1)), 4, 6),
    ("1x1", 1, 1, "SAME", 4, 6),
    ("1x1_stride_2", 1, 2, "VALID", 4, 6),
    ("1x1_padded", 1, 2, ((1, 1), (1, 1)), 4, 6),
    ("2x2_stride_3", 2, 3, "VALID", 4, 6),
    ("5x5", 5, 1, "SAME", 4, 3),
    ("7x7_stride_2", 7, 2, ((3, 3), (3, 3)), 3, 6),
    ("1x7", (1, 7), 1, ((0, 0), (3, 3)), 4, 6),
    ("7x1", (7, 1), 1, ((3, 3), (0, 0)), 4, 6),
    ("7x1_few_channels_out", (7, 1), 1, ((3, 3), (0, 0)), 16, 2),
    ("1x7_stride_2", (1, 7), 2, ((0, 0), (3, 3)), 4, 6),
    ("7x1_stride_2", (7, 1), 2, ((3, 3), (0, 0)), 16, 2),
)


def draw(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.RandomState(seed).normal(size=shape), dtype)


def value_and_gradients(convolve, x, kernel):
    """The convolution, and its gradients for a random output gradient."""
    y, pull = jax.vjp(convolve, x, kernel)
    return y, *pull(draw(*y.shape, seed=2, dtype=y.dtype))


def assert_close(actual, expected, tolerance=1e-5):
    """Equal up to `tolerance` of the largest expected entry, array by array."""
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    for a, b in zip(actual, expected, strict=True):
        a, b = (np.asarray(v, np.float32) for v in (a, b))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


class ConvolutionTest(chex.TestCase):
    @parameterized.named_parameters(*CASES)
    def test_is_laxs_convolution(self, size, stride, padding, ci, co):
        x, kernel = draw(5, 9, 12, ci), draw(*np.broadcast_to(size, 2), ci, co, seed=1)
        options = dict(
            window_strides=(stride, stride), padding=padding, dimension_numbers=NHWC
        )
        theirs = functools.partial(lax.conv_general_dilated, **options)
        expected = jax.jit(functools.partial(value_and_gradients, theirs))(x, kernel)
        ours = functools.partial(
            value_and_gradients, functools.partial(conv, **options)
        )
        assert_close(jax.jit(ours)(x, kernel), expected)
        # A larger batch is summed in chunks; one of the sizes below does not divide 5.
        for kilobytes in (1, 8, 16, 32):
            with mock.patch.object(convolution, "_CHUNK", kilobytes * 2**10):
                assert_close(ours(x, kernel), expected)

    def test_in_a_loop(self):
        x, kernel = draw(4, 8, 8, 3), draw(3, 3, 3, 5, seed=1)

        def train(convolve, kernel):
            def loss(kernel, x):
                y = convolve(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC)
                return jnp.mean(jnp.tanh(y) ** 2)

            def step(carry, _):
                kernel, x = carry
                slopes = jax.grad(loss, (0, 1))(kernel, x)
                return (kernel - slopes[0], x + 10 * slopes[1]), None

            return lax.scan(step, (kernel, x), length=4)[0]

        expected = jax.jit(lambda k: train(lax.conv_general_dilated, k))(kernel)
        assert_close(jax.jit(lambda k: train(conv, k))(kernel), expected)

    def test_bfloat16(self):
        x = draw(64, 8, 8, 4, dtype=jnp.bfloat16)
        kernel = draw(3, 3, 4, 8, seed=1, dtype=jnp.bfloat16)
        f = functools.partial(
            conv, window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC
        )
        # One image at a time: the sum over the batch has to be kept in float32.
        with mock.patch.object(convolution, "_CHUNK", 1):
            actual = value_and_gradients(f, x, kernel)
        y, pull = jax.vjp(f, *(a.astype(jnp.float32) for a in (x, kernel)))
        g = draw(*y.shape, seed=2, dtype=jnp.bfloat16).astype(jnp.float32)
        expected = tuple(a.astype(jnp.bfloat16) for a in (y, *pull(g)))
        assert_close(actual, expected, tolerance=5e-3)

    @parameterized.named_parameters(
        ("groups", dict(feature_group_count=2)),
        ("dilated", dict(kernel_dilation=2)),
        ("one_dimension", dict(kernel_size=(3,))),
        ("plain", dict(strides=2, padding=1)),
        ("no_batch", dict(), ()),
    )
    def test_as_a_flax_layer(self, options, batch=(2,)):
        options = {"kernel_size": (3, 3), "use_bias": False} | options
        x = draw(*batch, *(8 for _ in options["kernel_size"]), 4)
        theirs = nn.Conv(6, **options)
        ours = nn.Conv(6, **options, conv_general_dilated=conv)
        params = theirs.init(jax.random.key(0), x)

        def gradients(layer):
            return jax.tree.leaves(
                jax.grad(lambda p: jnp.sum(layer.apply(*p) ** 2))((params, x))
            )

        assert_close(gradients(ours), gradients(theirs))
