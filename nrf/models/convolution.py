"""Convolutions whose gradients are fast on CPUs too.

    nn.Conv(features, kernel_size, conv_general_dilated=conv)

XLA's CPU backend has fast forward convolutions and matrix products, and slow gradients
of convolutions, above all inside loops (https://github.com/jax-ml/jax/issues/12868).
Here both gradients are made of the two fast operations, where the program is compiled
for a CPU, wherever it was traced; or all three are oneDNN's, where its package is
installed (`nrf.models.onednn`). Other backends keep their own.
`benchmarks/attack_speed.py` compares whole attacks and training steps with PyTorch's.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from nrf.models import onednn

_NHWC = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
# Bytes of copies of the images that the gradient to the weights holds at once, to stay
# in cache; copies of the whole batch at once are slower.
_CHUNK = 4 * 2**20


def conv(
    lhs,
    rhs,
    window_strides,
    padding,
    lhs_dilation=None,
    rhs_dilation=None,
    dimension_numbers=None,
    feature_group_count=1,
    precision=None,
    preferred_element_type=None,
):
    """`lax.conv_general_dilated`; of plain ones without forward-mode derivatives."""
    dilations = (*(lhs_dilation or ()), *(rhs_dilation or ()))
    if (
        dimension_numbers != _NHWC
        or any(dilation != 1 for dilation in dilations)
        or feature_group_count != 1
        or preferred_element_type is not None
    ):
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            precision=precision,
            preferred_element_type=preferred_element_type,
        )
    size, strides = rhs.shape[:2], tuple(window_strides)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], size, strides, padding)
    if size == (1, 1) and not any(map(any, padding)):
        # As stride 1: the gradient of a slice is cheaper than that of a strided window.
        lhs, strides = lhs[:, :: strides[0], :: strides[1]], (1, 1)
    return _conv(lhs, rhs, strides, tuple(map(tuple, padding)), precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x, kernel, strides, pads, precision):
    plain = _plain(strides, pads, precision)
    if onednn.takes(x, kernel, strides, pads):
        fast = functools.partial(onednn.forward, strides=strides, pads=pads)
    elif _is_swapped(x, kernel) and not onednn.is_paused():

        def fast(x, kernel):
            valid = _plain(strides, ((0, 0), (0, 0)), precision)
            return valid(_padded(x, pads), kernel)

    else:
        return plain(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=fast, default=plain)


def _is_swapped(x, kernel):
    """Whether XLA would convolve the kernel with these images, which is far slower."""
    return math.prod(x.shape[1:3]) < math.prod(kernel.shape[:2])


def _padded(x, pads, dilation=(1, 1)):
    """Images with zeros around and between their pixels, which XLA leaves there."""
    inner = [(*pad, n - 1) for pad, n in zip(pads, dilation, strict=True)]
    zero = jnp.zeros((), x.dtype)
    return lax.optimization_barrier(lax.pad(x, zero, [(0, 0, 0), *inner, (0, 0, 0)]))


def _plain(strides, pads, precision):
    return functools.partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=pads,
        dimension_numbers=_NHWC,
        precision=precision,
    )


def _forward(x, kernel, strides, pads, precision):
    return _conv(x, kernel, strides, pads, precision), (x, kernel)


def _backward(strides, pads, precision, saved, g):
    def ours(x, kernel, g):
        if onednn.takes(x, kernel, strides, pads):
            dx = onednn.to_x(g, kernel, x.shape[1:3], strides, pads)
            return dx, onednn.to_kernel(x, g, kernel.shape[:2], strides, pads)
        dx = _gradient_to_x(x.shape, kernel, g, strides, pads, precision)
        return dx, _gradient_to_kernel(x, kernel, g, strides, pads, precision)

    def theirs(x, kernel, g):
        return jax.vjp(_plain(strides, pads, precision), x, kernel)[1](g)

    # Not by `jax.default_backend()`: a program may be traced on another machine.
    return lax.platform_dependent(*saved, g, cpu=ours, default=theirs)


_conv.defvjp(_forward, _backward)


def _gradient_to_x(shape, kernel, g, strides, pads, precision):
    """A forward convolution of g with the flipped kernel, g dilated by the strides."""
    # XLA would undo the flip, and run the slow convolution that it knows instead.
    flipped = lax.optimization_barrier(kernel[::-1, ::-1].swapaxes(2, 3))
    sides = []
    for axis, stride in enumerate(strides):
        before = kernel.shape[axis] - 1 - pads[axis][0]
        width = (g.shape[1 + axis] - 1) * stride + 1
        sides.append(
            (before, shape[1 + axis] + kernel.shape[axis] - 1 - width - before)
        )
    if _is_swapped(g, kernel):
        g, sides, strides = _padded(g, sides, strides), ((0, 0), (0, 0)), (1, 1)
    return lax.conv_general_dilated(
        g,
        flipped,
        (1, 1),
        sides,
        lhs_dilation=strides,
        dimension_numbers=_NHWC,
        precision=precision,
    )


def _gradient_to_kernel(x, kernel, g, strides, pads, precision):
    """Matrix products of shifted images with (shifted) g, over chunks of the batch."""
    b, oh, ow, co = g.shape
    (sh, sw), (kh, kw, ci, _) = strides, kernel.shape
    # Copying costs as much as multiplying. Shifting x alone takes kh * kw copies of it.
    # Shifting x along W and g along H takes kw of x and kh of g, which is fewer unless
    # g has many more channels. With strides, rows of x that move together replace some
    # of the shifts of g.
    shifts = -(-kh // sh) if kh * kw * ci > kw * sh * ci + kh * co else 1
    rows = sh if shifts > 1 else kh
    height = oh + shifts - 1
    wide = jnp.float32 if x.dtype.itemsize < 4 else x.dtype

    def chunk(x, g):
        n = len(x)
        spare = max(0, (height - 1) * sh + rows - x.shape[1] - pads[0][0])
        pad_h = (pads[0][0], spare)
        pad_w = (pads[1][0], max(0, (ow - 1) * sw + kw - x.shape[2] - pads[1][0]))
        x = jnp.pad(x, ((0, 0), pad_h, pad_w, (0, 0)))
        x = jnp.concatenate(
            [
                x[:, i : i + (height - 1) * sh + 1 : sh, j : j + (ow - 1) * sw + 1 : sw]
                for i in range(rows)
                for j in range(kw)
            ],
            axis=-1,
        )
        g = jnp.pad(g, ((0, 0), (shifts - 1, shifts - 1), (0, 0), (0, 0)))
        g = [g[:, shifts - 1 - t :][:, :height] for t in range(shifts)]
        g = jnp.concatenate(g, axis=-1)
        product = lax.dot_general(
            x.reshape(n * height * ow, rows * kw * ci),
            g.reshape(n * height * ow, shifts * co),
            (((0,), (0,)), ((), ())),
            precision=precision,
            preferred_element_type=wide,
        )
        product = product.reshape(rows, kw, ci, shifts, co).transpose(3, 0, 1, 2, 4)
        return product.reshape(shifts * rows, kw, ci, co)[:kh]

    patch = height * ow * (rows * kw * ci + shifts * co) * x.dtype.itemsize
    n = max(1, min(b, _CHUNK // patch))
    count, rest = divmod(b, n)
    total = chunk(x[:rest], g[:rest]) if rest else jnp.zeros(kernel.shape, wide)
    parts = [a[rest:].reshape(count, n, *a.shape[1:]) for a in (x, g)]
    total, _ = lax.scan(lambda t, part: (t + chunk(*part), None), total, parts)
    return total.astype(kernel.dtype)
