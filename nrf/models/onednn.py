"""Convolutions of oneDNN, the library behind PyTorch's on CPUs: the extra `onednn`.

    pip install onednn-cpu-gomp        NRF_ONEDNN=0 nrf run …    # without it, once

Three functions, linear in both arrays: `forward` is `lax.conv_general_dilated`, and
`to_x` and `to_kernel` are its gradients; the gradients of each are the other two. All
are for float32 on CPUs. Where batches are split over several devices, each convolves
its part, with its share of the cores.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from nrf.models import onednn_library
from nrf.models.onednn_library import TARGET

_LANES = 16  # Numbers of a vector of processors with AVX-512.
_BLOCK = 4  # Pixels that share one.

_paused = contextvars.ContextVar("paused", default=False)


class Geometry(NamedTuple):
    """What the shapes of two of image, kernel and result do not tell."""

    image: tuple[int, int]  # H, W
    window: tuple[int, int]  # kh, kw
    strides: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]  # Before and after, along H and W.

    def result(self):
        """H', W'."""
        return tuple(
            (n + sum(pad) - k) // stride + 1
            for n, k, stride, pad in zip(*self, strict=True)
        )


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Inside, what is traced has the convolutions of `lax`, whose meaning is known."""
    token = _paused.set(True)
    try:
        yield
    finally:
        _paused.reset(token)


def is_paused() -> bool:
    return _paused.get()


def in_use() -> bool:
    """Whether what is traced now has these convolutions, as far as `takes` says."""
    return not is_paused() and onednn_library.in_use()


def takes(x, kernel, strides, pads):
    """Whether these functions are for such arrays, and switched on."""
    geometry = Geometry(x.shape[1:3], kernel.shape[:2], strides, pads)
    sizes = (*x.shape, *kernel.shape, *geometry.result())
    return (
        in_use()
        and x.dtype == kernel.dtype == jnp.float32
        and min(sizes) > 0
        and min(map(min, pads)) >= 0
    )


def forward(x, kernel, strides, pads):
    """[B, H, W, I] and [kh, kw, I, O] to [B, H', W', O]."""
    geometry = Geometry(x.shape[1:3], kernel.shape[:2], strides, pads)
    return _operation("forward", geometry)(x, kernel)


def to_x(g, kernel, image, strides, pads):
    """The gradient to images of `image`, H and W, from that to y [B, H', W', O]."""
    window, channels = kernel.shape[:2], kernel.shape[2]
    inside = all(max(pad) < k for k, pad in zip(window, pads, strict=True))
    many = channels * _BLOCK > _LANES or image[1] % _BLOCK or strides != (1, 1)
    if many or not inside:
        geometry = Geometry(image, window, strides, pads)
        return _operation("to_x", geometry)(g, kernel)
    # Images of three channels would leave most of a vector empty: pixels that are
    # neighbours in a row share it, as the channels of a convolution with strides.
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    shifted = [
        jnp.pad(flipped, ((0, 0), (i, _BLOCK - 1 - i), (0, 0), (0, 0)))
        for i in range(_BLOCK)
    ]
    sides = tuple(
        (k - 1 - before, k - 1 - after)
        for k, (before, after) in zip(window, pads, strict=True)
    )
    dx = forward(g, jnp.concatenate(shifted, -1), (1, _BLOCK), sides)
    return dx.reshape(len(g), *image, channels)


def to_kernel(x, g, window, strides, pads):
    """The gradient to a kernel of `window`, kh and kw, from that to y."""
    return _operation("to_kernel", Geometry(x.shape[1:3], window, strides, pads))(x, g)


@functools.cache
def _operation(kind, geometry):
    """One of the three, of two arrays, the first [B, ...], with its gradients."""

    def gradients(arrays, c):
        a, b = arrays
        # Of x and kernel; g and kernel; x and g.
        (first, *one), (second, *two) = {
            "forward": (("to_x", c, b), ("to_kernel", a, c)),
            "to_x": (("forward", c, b), ("to_kernel", c, a)),
            "to_kernel": (("to_x", b, c), ("forward", a, c)),
        }[kind]
        return _operation(first, geometry)(*one), _operation(second, geometry)(*two)

    call = _mapped(_divided(kind, geometry), kind)
    operation = jax.custom_vjp(call)
    operation.defvjp(lambda a, b: (call(a, b), (a, b)), gradients)
    return operation


def _call(kind, geometry, a, b, devices=1):
    """The calls of the library, on one of so many devices that share the cores."""
    channels = {
        "forward": (a.shape[-1], b.shape[-1]),
        "to_x": (b.shape[2], b.shape[3]),
        "to_kernel": (a.shape[-1], b.shape[-1]),
    }[kind]
    shape = {
        "forward": (len(a), *geometry.result(), channels[1]),
        "to_x": (len(a), *geometry.image, channels[0]),
        "to_kernel": (*geometry.window, *channels),
    }[kind]
    text = onednn_library.describe(kind, devices, len(a), channels, geometry)
    if kind != "to_kernel":
        size = onednn_library.ordered(text)
        text = f"{text} {size}"
        order = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((size,), jnp.float32))
        b = order(b, call=f"order {text}")
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.ffi.ffi_call(TARGET, result)(a, b, call=text)


def _divided(kind, geometry):
    """The call on every device's part of the batch, with the whole kernel."""
    call = functools.partial(_call, kind, geometry)

    def partition(mesh, shapes, _):
        batch = PartitionSpec(*shapes[0].sharding.spec[:1])
        axes = [axis for axis in batch if axis is not None]

        def local(a, b):
            out = call(a, b, devices=mesh.size)
            return lax.psum(out, *axes) if kind == "to_kernel" and axes else out

        parts, whole = NamedSharding(mesh, batch), NamedSharding(mesh, PartitionSpec())
        if kind == "to_kernel":
            return mesh, local, whole, (parts, parts)
        return mesh, local, parts, (parts, whole)

    divided = custom_partitioning(lambda a, b: call(a, b))
    rule = "b h w i, k l i o -> b p q o"
    if kind == "to_kernel":
        rule = "b h w i, b p q o -> k l i o"
    divided.def_partition(partition, sharding_rule=rule)

    def named(a, b):
        return divided(a, b)

    # The keys of JAX's cache of programs see names, but not what is divided: where
    # `partition` changes, so must TARGET.
    named.__name__ = "_".join(map(str, (TARGET, kind, *jax.tree.leaves(geometry))))
    return jax.jit(named)


def _mapped(call, kind):
    """`call` under vmap: as one larger batch where the second array is the same."""
    mapped = jax.custom_batching.custom_vmap(call)

    @mapped.def_vmap
    def rule(size, batched, a, b):
        if kind != "to_kernel" and not batched[1]:
            out = mapped(a.reshape(-1, *a.shape[2:]), b)
            return out.reshape(size, -1, *out.shape[1:]), True
        arrays = [
            array if mapped_over else jnp.broadcast_to(array, (size, *array.shape))
            for array, mapped_over in zip((a, b), batched, strict=True)
        ]
        return lax.map(lambda pair: mapped(*pair), tuple(arrays)), True

    return mapped
