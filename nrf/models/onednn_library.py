"""The C library of oneDNN, by ctypes, which frees the interpreter meanwhile.

The package `onednn-cpu-gomp` is the library alone, version 3 of
https://uxlfoundation.github.io/oneDNN; names and numbers are those of its dnnl.h.
"""

import collections
import contextlib
import ctypes
import functools
import importlib.metadata
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from nrf.models import foreign

TARGET = "nrf_onednn_2"  # Another one whenever its calls mean something else.
PACKAGE = "onednn-cpu-gomp"

_CPU, _IN_ORDER = 1, 1
_FLOAT32, _ANY = 3, 1  # Data type, and the layout that the library prefers.
_TRAINING, _DIRECT = 64, 1  # Forward propagation, algorithm of convolutions.
_OURS = 1  # Scratchpads that are not the library's.
_INFORMATION = {"weights": 131, "diff_weights": 132, "scratchpad": 136}
_PLACES = {
    "src": 1,
    "dst": 17,
    "weights": 33,
    "scratchpad": 80,
    "diff_src": 129,
    "diff_dst": 145,
    "diff_weights": 161,
}
_LINE = 64  # Bytes by which memory is aligned.


class _Argument(ctypes.Structure):
    _fields_ = (("place", ctypes.c_int), ("memory", foreign.Word))


@functools.cache
def in_use() -> bool:
    """Whether the library is there, and `NRF_ONEDNN` is not 0.

    Raises:
      ValueError: NRF_ONEDNN is 1 and it is not there, or neither 0 nor 1.
    """
    wanted = os.environ.get("NRF_ONEDNN", "")
    if wanted not in ("", "0", "1"):
        raise ValueError(
            f"NRF_ONEDNN must be 0, 1 or unset, got {wanted!r}: 0 convolves without "
            "oneDNN, 1 only with it, and unset with it where it is installed."
        )
    if wanted == "0":
        return False
    try:
        _library()
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        if wanted == "1":
            raise ValueError(
                f"NRF_ONEDNN is 1, but oneDNN cannot be loaded ({error}); it comes "
                "with `pip install onednn-cpu-gomp`, for Linux on x86-64 alone, and "
                "needs libgomp.so.1."
            ) from error
        return False
    return True


def describe(kind: str, devices: int, batch: int, channels: Any, geometry: Any) -> str:
    """What `TARGET` is told by its attribute "call": of which a primitive is made."""
    flat = jax.tree.leaves((devices, batch, channels, tuple(geometry)))
    return " ".join(map(str, (kind, *flat)))


def ordered(text: str) -> int:
    """How many numbers the kernel of such a call has in the library's own order."""
    said = text.encode()
    with _borrowed(_convolutions[said], lambda: _Convolution(said)) as (convolution,):
        return convolution.ordered


class _Library:
    """The functions of the library, which raise what they answer."""

    def __init__(self):
        distribution = importlib.metadata.distribution(PACKAGE)
        for file in distribution.files or ():
            if file.name == "libdnnl.so.3":
                self.functions = ctypes.CDLL(str(distribution.locate_file(file)))
                break
        else:
            raise OSError(f"{PACKAGE} has no libdnnl.so.3")
        self.functions.dnnl_primitive_desc_query_md.restype = foreign.Word
        self.functions.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        self.threads = ctypes.CDLL("libgomp.so.1")
        self.cores = self.threads.omp_get_max_threads()
        self.engine = self.make("engine_create", _CPU, ctypes.c_size_t(0))

    def do(self, function: str, *arguments: Any) -> None:
        status = getattr(self.functions, f"dnnl_{function}")(*arguments)
        if status:
            raise RuntimeError(f"dnnl_{function} answers {status}.")

    def make(self, function: str, *arguments: Any) -> Any:
        made = foreign.Word()
        self.do(function, ctypes.byref(made), *arguments)
        return made

    def layout(self, description: Any, of: str) -> Any:
        """That which the library chose for an array of a primitive."""
        query = self.functions.dnnl_primitive_desc_query_md
        return foreign.Word(query(description, _INFORMATION[of], 0))

    def bytes(self, *layouts: Any) -> list[int]:
        """Of arrays, filled up to whole lines."""
        size = self.functions.dnnl_memory_desc_get_size
        return [-(-size(layout) // _LINE) * _LINE for layout in layouts]

    @contextlib.contextmanager
    def threaded(self, count: int) -> Iterator[None]:
        """Inside, this thread's loops use so many threads."""
        before = self.threads.omp_get_max_threads()
        self.threads.omp_set_num_threads(count)
        try:
            yield
        finally:
            self.threads.omp_set_num_threads(before)


_load, _loading = functools.cache(_Library), threading.Lock()


def _library() -> _Library:
    # One for all threads: primitives of one engine refuse the memory of another.
    with _loading:
        return _load()


def _numbers(*values: int) -> Any:
    return (ctypes.c_int64 * 12)(*values)


class _Convolution:
    """A convolution of given shapes, or a gradient; for one thread at a time.

    Images are as JAX has them, [B, H, W, C]. Kernels are not: with an order of the
    library's own all is much faster. The gradient to a kernel is brought from it here;
    a kernel is brought to it by a call before, "order" and the convolution's text,
    which XLA makes once for all passes of a loop.
    """

    def __init__(self, text: bytes):
        kind, *given = text.decode().removeprefix("order ").split()
        devices, b, i, o, *geometry = map(int, given)
        h, w, kh, kw, sh, sw, top, bottom, left, right, *ordered = geometry
        p, q = (h + top + bottom - kh) // sh + 1, (w + left + right - kw) // sw + 1
        library = _library()
        self.count = max(1, library.cores // devices)
        x = _strided((b, i, h, w), (h * w * i, 1, w * i, i))
        y = _strided((b, o, p, q), (p * q * o, 1, q * o, o))
        plain = _strided((o, i, kh, kw), (1, o, kw * i * o, i * o))
        options = library.make("primitive_attr_create")
        library.do("primitive_attr_set_scratchpad_mode", options, _OURS)
        with library.threaded(self.count):
            shapes = x, _preferred(o, i, kh, kw), y
            pairs = (sh, sw), (0, 0), (top, left), (bottom, right)
            at = [_numbers(*pair) for pair in pairs]
            description = _describe(kind, shapes, at, options)
            chosen = "diff_weights" if kind == "to_kernel" else "weights"
            blocked = library.layout(description, chosen)
            ends = (blocked, plain) if kind == "to_kernel" else (plain, blocked)
            engine = library.engine
            reorder = library.make(
                "reorder_primitive_desc_create",
                *(ends[0], engine, ends[1], engine, options),
            )
            both = description, reorder
            primitives = [library.make("primitive_create", made) for made in both]
        scratch = [library.layout(made, "scratchpad") for made in both]
        size, *needed = library.bytes(blocked, *scratch)
        self.ordered = size // 4
        if ordered and ordered != [self.ordered]:
            raise RuntimeError("the program was compiled for another processor.")
        memories = [
            library.make("memory_create", layout, engine, None)
            for layout in (x, plain, y, blocked, *scratch)
        ]
        self.stream = library.make("stream_create", engine, _IN_ORDER)
        self._arrange(text.decode().split()[0], memories, primitives)
        # Behind each other in the workspace; scratchpads share what is left.
        self.inner = list(zip(memories[3:], (0, size, size), strict=True))
        self.bytes = size + max(needed)

    def _arrange(self, kind: str, memories: list, primitives: list) -> None:
        """Sets the steps, and where arguments and the result are."""
        x, kernel, y, blocked, *scratch = memories
        ours, ends = (x, blocked, y), ("src", "dst")
        self.outer, *steps = {
            "order": ((kernel, blocked), (1, ends, (kernel, blocked))),
            "forward": (ours, (0, ("src", "weights", "dst"), ours)),
            "to_x": (ours[::-1], (0, ("diff_src", "weights", "diff_dst"), ours)),
            "to_kernel": (
                (x, y, kernel),
                (0, ("src", "diff_weights", "diff_dst"), ours),
                (1, ends, (blocked, kernel)),
            ),
        }[kind]
        self.steps = [
            _step(primitives[n], (*names, "scratchpad"), (*arrays, scratch[n]))
            for n, names, arrays in steps
        ]

    def run(self, data: tuple[int, ...], workspace: int) -> None:
        """Of arguments and the result, at these addresses."""
        library = _library()
        workspace += -workspace % _LINE
        places = [(memory, workspace + offset) for memory, offset in self.inner]
        # The others last: a kernel in the library's order may be one of them.
        for memory, address in (*places, *zip(self.outer, data, strict=True)):
            library.do("memory_set_data_handle", memory, foreign.Word(address))
        with library.threaded(self.count):
            for primitive, count, arguments in self.steps:
                library.do(
                    "primitive_execute", primitive, self.stream, count, arguments
                )
            library.do("stream_wait", self.stream)


def _strided(shape: Any, strides: Any) -> Any:
    sizes = _numbers(*shape), _FLOAT32, _numbers(*strides)
    return _library().make("memory_desc_create_with_strides", 4, *sizes)


def _preferred(*shape: int) -> Any:
    sizes = _numbers(*shape), _FLOAT32, _ANY
    return _library().make("memory_desc_create_with_tag", 4, *sizes)


def _describe(kind: str, shapes: Any, at: Any, options: Any) -> Any:
    """The description of a convolution's primitive, made for the library's engine."""
    make, engine = _library().make, _library().engine
    x, kernel, y = shapes
    forward = make(
        "convolution_forward_primitive_desc_create",
        *(engine, _TRAINING, _DIRECT, x, kernel, None, y, *at, options),
    )
    if kind == "forward":
        return forward
    if kind == "to_x":
        return make(
            "convolution_backward_data_primitive_desc_create",
            *(engine, _DIRECT, x, kernel, y, *at, forward, options),
        )
    return make(
        "convolution_backward_weights_primitive_desc_create",
        *(engine, _DIRECT, x, kernel, None, y, *at, forward, options),
    )


def _step(primitive: Any, names: Any, memories: Any) -> Any:
    pairs = [_Argument(_PLACES[n], m) for n, m in zip(names, memories, strict=True)]
    return primitive, len(pairs), (_Argument * len(pairs))(*pairs)


# What no thread uses now: XLA may run several calls at once, from threads that Python
# does not know again, so that its thread-local storage is empty in each.
_convolutions: dict[bytes, list] = collections.defaultdict(list)
_workspaces: list[np.ndarray] = []


@contextlib.contextmanager
def _borrowed(pool: list, make: Callable[[], Any]) -> Iterator[list]:
    """A list of one object, which goes back to the pool at the end."""
    try:
        held = [pool.pop()]
    except IndexError:
        held = [make()]
    try:
        yield held
    finally:
        pool.append(held[0])


def _run(text: bytes, data: tuple[int, ...]) -> None:
    with (
        _borrowed(_convolutions[text], lambda: _Convolution(text)) as (convolution,),
        _borrowed(_workspaces, lambda: np.empty(0, np.uint8)) as held,
    ):
        if held[0].size < convolution.bytes + _LINE:
            held[0] = np.empty(convolution.bytes + _LINE, np.uint8)
        convolution.run(data, held[0].ctypes.data)


# Also where it is not in use: a program of the cache may call it.
foreign.register(TARGET, _run)
