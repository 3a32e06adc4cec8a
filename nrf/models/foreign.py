"""Functions of Python that compiled programs of JAX call on CPUs, without a compiler.

They are targets of XLA's foreign function interface, for which C++ is meant: here
ctypes makes the C function, and the structures below are the start of those in
xla/ffi/api/c_api.h, under `jax.ffi.include_dir()`. Unlike `jax.pure_callback` nothing
is copied, and programs that call them are kept in JAX's cache of compiled programs.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import jax

Word, _Long, _Int = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_METADATA, _INTERNAL = 1, 13  # Kind of extension, code of an error.


class _Buffer(ctypes.Structure):
    _fields_ = (
        *(("size", _Long), ("extension", Word)),
        *(("dtype", _Int), ("data", Word)),
    )


class _Text(ctypes.Structure):
    _fields_ = (("start", Word), ("length", _Long))


class _Buffers(ctypes.Structure):
    _fields_ = (
        *(("size", _Long), ("extension", Word), ("count", _Long), ("types", Word)),
        ("values", ctypes.POINTER(ctypes.POINTER(_Buffer))),
    )


class _Attributes(ctypes.Structure):
    _fields_ = (
        *(("size", _Long), ("extension", Word), ("count", _Long), ("types", Word)),
        ("names", Word),
        ("values", ctypes.POINTER(ctypes.POINTER(_Text))),
    )


class _Version(ctypes.Structure):
    _fields_ = (
        *(("size", _Long), ("extension", Word)),
        *(("major", _Int), ("minor", _Int)),
    )


class _Error(ctypes.Structure):
    _fields_ = (
        *(("size", _Long), ("extension", Word)),
        *(("message", ctypes.c_char_p), ("code", _Int)),
    )


class _Interface(ctypes.Structure):
    _fields_ = (
        *(("size", _Long), ("extension", Word), ("version", _Version)),
        ("internal", Word),
        ("make_error", ctypes.CFUNCTYPE(Word, ctypes.POINTER(_Error))),
    )


class _Metadata(ctypes.Structure):
    _fields_ = (("size", _Long), ("version", _Version))


class _Extension(ctypes.Structure):
    _fields_ = (
        *(("size", _Long), ("kind", _Int), ("next", Word)),
        ("metadata", ctypes.POINTER(_Metadata)),
    )


class _Frame(ctypes.Structure):
    _fields_ = (
        *(("size", _Long), ("extension", ctypes.POINTER(_Extension))),
        ("interface", ctypes.POINTER(_Interface)),
        *(("context", Word), ("stage", _Int)),
        *(("arguments", _Buffers), ("results", _Buffers)),
        ("attributes", _Attributes),
    )


def register(target: str, function: Callable[[bytes, tuple[int, ...]], Any]) -> None:
    """Makes `jax.ffi.ffi_call(target, shape)(*arrays, call=text)` run `function`.

    It is called with the text and the addresses of the arrays and of the result, all
    dense and in C order, and fills the result. XLA may call it from several threads at
    once. What it raises becomes the program's error.
    """

    @ctypes.CFUNCTYPE(Word, ctypes.POINTER(_Frame))
    def handle(pointer):
        frame = pointer.contents
        interface = frame.interface.contents
        if frame.extension and frame.extension.contents.kind == _METADATA:
            # Asked at the registration, for which version this was made.
            version = frame.extension.contents.metadata.contents.version
            version.major = interface.version.major
            version.minor = interface.version.minor
            return None
        text = frame.attributes.values[0].contents
        said = ctypes.string_at(text.start, text.length)
        try:
            groups = frame.arguments, frame.results
            function(
                said,
                tuple(
                    group.values[i].contents.data
                    for group in groups
                    for i in range(group.count)
                ),
            )
        except Exception as error:  # Nothing but a returned error reaches XLA.
            message = f"{target} ({said.decode()}): {error}".encode()
            made = _Error(ctypes.sizeof(_Error), None, message, _INTERNAL)
            return interface.make_error(made)
        return None

    _kept.append(handle)
    jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(handle), platform="cpu")


# XLA has only the addresses of these.
_kept: list[Any] = []
