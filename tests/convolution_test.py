import collections
import concurrent.futures
import contextlib
import ctypes
import functools
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from flax import linen as nn
from jax import lax

from nrf import devices, features
from nrf.models import convolution, foreign, onednn, onednn_library
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
    ("3x3_uneven_stride_1", 3, 1, ((0, 2), (2, 1)), 3, 6),
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


def arrays(addresses, *shapes):
    """NumPy arrays of float32 at these addresses."""
    parts = zip(addresses, shapes, strict=True)
    pointer = ctypes.POINTER(ctypes.c_float)
    return [np.ctypeslib.as_array(ctypes.cast(a, pointer), shape) for a, shape in parts]


class Stand:
    """Stands in for oneDNN where its package is not installed: the same, in NumPy."""

    bytes = 0

    def __init__(self, text):
        self.kind, *_ = text.decode().split()
        given = map(int, text.decode().removeprefix("order ").split()[1:15])
        _, b, i, o, h, w, kh, kw, sh, sw, top, bottom, left, right = given
        self.strides, self.ordered = (sh, sw), kh * kw * i * o
        self.pads = (0, 0), (top, bottom), (left, right), (0, 0)
        self.inner = slice(top, top + h), slice(left, left + w)
        y = (h + top + bottom - kh) // sh + 1, (w + left + right - kw) // sw + 1
        self.x, self.kernel, self.y = (b, h, w, i), (kh, kw, i, o), (b, *y, o)

    def run(self, addresses, workspace):
        x, k, y = self.x, self.kernel, self.y
        if self.kind == "order":
            kernel, out = arrays(addresses, k, k)
            out[...] = kernel
            return
        orders = {"forward": (x, k, y), "to_x": (y, k, x), "to_kernel": (x, y, k)}
        a, b, out = arrays(addresses, *orders[self.kind])
        out[...] = 0
        # Padded images, of which windows are views.
        wide = np.pad(out if self.kind == "to_x" else a, self.pads)
        for i, j in np.ndindex(*self.kernel[:2]):
            rows = slice(i, i + self.strides[0] * (y[1] - 1) + 1, self.strides[0])
            columns = slice(j, j + self.strides[1] * (y[2] - 1) + 1, self.strides[1])
            window = wide[:, rows, columns]
            if self.kind == "forward":
                out += window @ b[i, j]
            elif self.kind == "to_x":
                window += a @ b[i, j].T
            else:
                out[i, j] = np.tensordot(window, b, ((0, 1, 2), (0, 1, 2)))
        if self.kind == "to_x":
            out[...] = wide[:, *self.inner]


def installed():
    try:
        return bool(importlib.metadata.version(onednn_library.PACKAGE))
    except importlib.metadata.PackageNotFoundError:
        return False


def gradients_of(convolve, x, kernel, stride, padding):
    options = dict(window_strides=(stride, stride), padding=padding)
    f = functools.partial(convolve, **options, dimension_numbers=NHWC)
    return value_and_gradients(f, x, kernel)


class OneDNNTest(chex.TestCase):
    def setUp(self):
        super().setUp()
        stack = self.enter_context(contextlib.ExitStack())
        patch = functools.partial(mock.patch.object, onednn_library)
        stack.enter_context(patch("in_use", lambda: True))
        if not installed():
            pool = collections.defaultdict(list)
            stack.enter_context(patch("_Convolution", Stand))
            stack.enter_context(patch("_convolutions", pool))

    def test_is_laxs_convolution(self):
        def every(convolve, x):
            for name, size, stride, padding, ci, co in CASES:
                kernel = draw(*np.broadcast_to(size, 2), ci, co, seed=1)
                yield name, gradients_of(convolve, x[ci], kernel, stride, padding)

        x = {ci: draw(5, 9, 12, ci) for *_, ci, _ in CASES}
        ours = jax.jit(lambda x: dict(every(conv, x))).lower(x)
        # For y, x and the kernel, and for the kernel's order before the first two.
        self.assertEqual(
            ours.as_text().count(f"@{onednn_library.TARGET}("), 5 * len(CASES)
        )
        expected = jax.jit(lambda x: dict(every(lax.conv_general_dilated, x)))(x)
        for name, actual in ours.compile()(x).items():
            with self.subTest(name):
                assert_close(actual, expected[name])

    def test_under_vmap(self):
        x, kernel = draw(3, 2, 6, 5, 4), draw(3, 3, 3, 4, 2, seed=1)
        g = draw(3, 2, 3, 3, 2, seed=2)

        def gradients(convolve, x, kernel, g):
            f = functools.partial(
                convolve, window_strides=(2, 2), padding="SAME", dimension_numbers=NHWC
            )
            y, pull = jax.vjp(f, x, kernel)
            return y, *pull(g)

        def every(convolve):
            f = functools.partial(gradients, convolve)
            return [
                jax.vmap(f, axes)(
                    *(
                        a if axis == 0 else a[0]
                        for a, axis in zip((x, kernel, g), axes, strict=True)
                    )
                )
                for axes in ((0, None, 0), (None, 0, None), (0, 0, 0), (None, None, 0))
            ]

        actual = jax.jit(lambda: every(conv))()
        expected = jax.jit(lambda: every(lax.conv_general_dilated))()
        for a, b in zip(actual, expected, strict=True):
            assert_close(a, b)

    def test_gradients_of_gradients(self):
        x, kernel = draw(2, 6, 5, 3), draw(3, 3, 3, 4, seed=1)

        def steepness(convolve, x, kernel):
            def f(x, kernel):
                y = convolve(x, kernel, (2, 2), "SAME", dimension_numbers=NHWC)
                return jnp.sum(y**3)

            return sum(jnp.sum(g**2) for g in jax.grad(f, (0, 1))(x, kernel))

        def slopes(convolve):
            f = functools.partial(steepness, convolve)
            return jax.jit(jax.grad(f, (0, 1)))(x, kernel)

        assert_close(slopes(conv), slopes(lax.conv_general_dilated))

    def test_on_several_devices(self):
        mesh = devices.make_mesh(4)
        x, kernel = draw(8, 6, 5, 3), draw(3, 3, 3, 4, seed=1)

        def loss(x, kernel):
            y = conv(x, kernel, (2, 2), "SAME", dimension_numbers=NHWC)
            return jnp.sum(y**3)

        f = jax.jit(jax.grad(loss, (0, 1)))
        expected = f(x, kernel)
        x, kernel = devices.split(mesh, x), devices.copy(mesh, kernel)
        # With the address, the cache has no program of an earlier division.
        name = "jax_remove_custom_partitioning_ptr_from_cache_key"
        jax.config.update(name, False)
        self.addCleanup(jax.config.update, name, True)
        program = f.lower(x, kernel).compile()
        # Calls, devices, and images of each.
        calls = re.findall(r'"(forward|to_x|to_kernel) (\d+) (\d+) ', program.as_text())
        each = [(kind, "4", "2") for kind in ("forward", "to_kernel", "to_x")]
        self.assertEqual(sorted(calls), each)
        dx, dk = actual = program(x, kernel)
        self.assertEqual(dx.sharding, x.sharding)
        self.assertTrue(dk.is_fully_replicated)
        assert_close(actual, expected)

    def test_a_loop_orders_the_kernel_once(self):
        x, kernel = draw(2, 6, 5, 3), draw(3, 3, 3, 4, seed=1)

        def climb(convolve, x, kernel):
            def loss(x):
                y = convolve(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC)
                return jnp.sum(jnp.tanh(y))

            return lax.fori_loop(0, 3, lambda _, x: x + jax.grad(loss)(x), x)

        program = jax.jit(functools.partial(climb, conv)).lower(x, kernel).compile()
        parts = program.as_text().split("\n\n")
        calls = {
            kind: [part.startswith("ENTRY") for part in parts if f'"{kind} ' in part]
            for kind in ("order", "forward", "to_x")
        }
        self.assertEqual(calls, {"order": [True], "forward": [False], "to_x": [False]})
        expected = climb(lax.conv_general_dilated, x, kernel)
        assert_close([program(x, kernel)], [expected], 1e-4)

    def test_from_several_threads(self):
        x, kernel = draw(8, 12, 12, 8), draw(3, 3, 8, 16, seed=1)
        f = jax.jit(lambda x, k: gradients_of(conv, x, k, 1, "SAME"))
        expected = [np.asarray(a) for a in f(x, kernel)]
        wrong = []

        def work():
            for _ in range(20):
                for a, b in zip(f(x, kernel), expected, strict=True):
                    wrong.append(np.any(np.asarray(a) != b))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(wrong), sum(wrong)), (240, 0))

    def test_certificates_see_laxs(self):
        kernel, x = draw(3, 3, 2, 4, seed=1), jnp.full((1, 4, 4, 2), 0.5)

        def features_of(kernel, x):
            y = conv(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC)
            return jax.nn.relu(y).sum((1, 2))

        bounds = features.certify(features_of, "linf", "intervals")
        least, most = bounds(kernel, jnp.float32(0.1), x)
        self.assertTrue(np.all((least >= 0) & (least < most)))

    def test_other_arrays_are_laxs(self):
        x, kernel, pads = draw(2, 6, 5, 3), draw(3, 3, 3, 4), ((1, 1), (1, 1))
        self.assertTrue(onednn.takes(x, kernel, (1, 1), pads))
        for dtype in (jnp.float16, jnp.bfloat16):
            narrow = x.astype(dtype), kernel.astype(dtype)
            self.assertFalse(onednn.takes(*narrow, (1, 1), pads))
        self.assertFalse(onednn.takes(x[:0], kernel, (1, 1), pads))
        self.assertFalse(onednn.takes(x, kernel, (1, 1), ((-1, 0), (0, 0))))
        self.assertFalse(onednn.takes(x[:, :2], kernel, (1, 1), ((0, 0), (0, 0))))
        with onednn.paused():
            self.assertFalse(onednn.takes(x, kernel, (1, 1), pads))

    def test_other_platforms_have_their_own(self):
        x, kernel = draw(2, 6, 5, 3), draw(3, 3, 3, 4)
        traced = jax.jit(lambda x, k: gradients_of(conv, x, k, 1, "SAME")).trace(
            x, kernel
        )
        for platform in ("cuda", "tpu"):
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            self.assertNotIn(onednn_library.TARGET, text)


# Prints how many programs the cache had not, and a digest of the result.
FRESH = """
import jax, numpy as np
from nrf import devices, features
from nrf.models.convolution import conv
from convolution_test import NHWC, draw, gradients_of

devices.cache_programs()
jax.config.update("jax_num_cpu_devices", 2)
mesh, found = devices.make_mesh(2), []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
arrays = devices.split(mesh, draw(4, 6, 5, 3)), devices.copy(mesh, draw(3, 3, 3, 4))
y, *_ = jax.jit(lambda x, k: gradients_of(conv, x, k, 1, "SAME"))(*arrays)
print(found.count("/jax/compilation_cache/cache_misses"), float(y.sum()))
"""


class CacheTest(chex.TestCase):
    def test_a_fresh_process_runs_from_the_cache(self):
        if not installed():
            self.skipTest("oneDNN is not installed")
        folder = self.enter_context(tempfile.TemporaryDirectory())
        env = {"JAX_COMPILATION_CACHE_DIR": folder, "NRF_ONEDNN": "1"}
        command = [sys.executable, "-c", FRESH]
        said = [
            subprocess.run(
                command,
                env=os.environ | env,
                cwd=os.path.dirname(__file__),
                capture_output=True,
                text=True,
                check=True,
            )
            for _ in range(2)
        ]
        (before, a), (after, b) = (one.stdout.split() for one in said)
        self.assertNotEqual(before, "0")
        self.assertEqual((after, a), ("0", b))


class DoorTest(chex.TestCase):
    def test_refuses_a_kernel_in_another_order(self):
        if not installed():
            self.skipTest("oneDNN is not installed")
        text = "forward 1 2 4 6 9 9 3 3 1 1 1 1 1 1"
        size = onednn_library.ordered(text)
        onednn_library._Convolution(f"order {text} {size}".encode())
        with self.assertRaisesRegex(RuntimeError, "compiled for another processor"):
            onednn_library._Convolution(f"{text} {size + 16}".encode())

    def answer(self, wanted, package=onednn_library.PACKAGE):
        with (
            mock.patch.dict(os.environ, {"NRF_ONEDNN": wanted}),
            mock.patch.object(onednn_library, "PACKAGE", package),
            mock.patch.object(onednn_library, "_load", onednn_library._Library),
        ):
            return onednn_library.in_use.__wrapped__()

    def test_says_what_is_wrong(self):
        with self.assertRaisesRegex(ValueError, "must be 0, 1 or unset, got 'yes'"):
            self.answer("yes")
        with self.assertRaisesRegex(ValueError, "cannot be loaded .*no-such-package"):
            self.answer("1", "no-such-package")
        # A package that is there, without the library.
        with self.assertRaisesRegex(ValueError, "numpy has no libdnnl"):
            self.answer("1", "numpy")

    def test_is_used_where_it_is(self):
        self.assertEqual(self.answer(""), installed())
        self.assertFalse(self.answer("", "no-such-package"))
        self.assertFalse(self.answer("0"))

    def test_is_loaded_once(self):
        def slow():
            time.sleep(0.05)
            return object()

        with (
            mock.patch.object(onednn_library, "_load", functools.cache(slow)),
            concurrent.futures.ThreadPoolExecutor(4) as pool,
        ):
            loaded = list(pool.map(lambda _: onednn_library._library(), range(4)))
        self.assertLen(set(map(id, loaded)), 1)


class ForeignTest(chex.TestCase):
    def test_calls_and_errors(self):
        def double(text, addresses):
            if text == b"wrong":
                raise ValueError("this went wrong.")
            x, y = arrays(addresses, (2, 3), (2, 3))
            y[...] = 2 * x

        foreign.register("nrf_test_double", double)

        def call(x, text):
            return jax.ffi.ffi_call("nrf_test_double", x)(x, call=text)

        x = draw(2, 3)
        np.testing.assert_array_equal(jax.jit(call, static_argnums=1)(x, ""), 2 * x)
        with self.assertRaisesRegex(
            Exception, r"nrf_test_double \(wrong\): this went wrong\."
        ):
            jax.block_until_ready(call(x, "wrong"))


class ConvolutionTest(chex.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(onednn.paused())  # Where the suite runs with it.

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

    @parameterized.parameters(
        (3, 1, (2, 2), ((1, 1), (1, 1))),
        (3, 1, (2, 4), ((1, 1), (1, 1))),
        (3, 2, (2, 2), ((1, 1), (1, 1))),
        (5, 2, (3, 4), ((2, 2), (1, 3))),
    )
    def test_images_smaller_than_kernels(self, size, stride, sides, pads):
        self.enter_context(mock.patch.object(onednn, "is_paused", lambda: False))
        self.enter_context(mock.patch.object(onednn_library, "in_use", lambda: False))
        x, kernel = draw(5, *sides, 4), draw(size, size, 4, 6, seed=1)
        expected = gradients_of(lax.conv_general_dilated, x, kernel, stride, pads)
        assert_close(gradients_of(conv, x, kernel, stride, pads), expected)

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
