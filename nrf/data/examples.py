"""Images and labels of the serialised examples of TFDS, at once or as asked for."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from nrf import rows
from nrf.data import records

Decoder = Callable[[bytes], tuple[np.ndarray, int]]
LARGE = 2**30  # Bytes of images that are not held in memory.


def read(builder: Any, info: Any, count: int, what: str) -> tuple[Any, np.ndarray]:
    """Images [N, H, W, C], as they were stored, and labels [N] int32.

    Large sets in ARRAY_RECORD files are rows that are read when they are asked for.

    Args:
      builder: TFDS's, of images with labels.
      info: The split's description.
      count: The first so many examples.
      what: The set in words.

    Raises:
      ValueError: an example is missing or damaged, or images have different sizes. Of
        a large set images are decoded, and told apart, when they are asked for.
    """
    features, file_format = builder.info.features, builder.info.file_format.value
    decode, dtype = _decoder(features), features["image"].np_dtype
    where = f"{what} in {info.filepaths[0].parent}"
    serialised = records.read(info, file_format, count, what)
    shape = _decoded(decode, next(serialised), 0, where)[0].shape
    serialised = records.read(info, file_format, count, what)
    labels = np.empty(count, np.int32)
    large = count * np.prod(shape) * np.dtype(dtype).itemsize > LARGE
    if large and file_format == "array_record":
        from tensorflow_datasets.proto import tf_example_pb2

        for number, example in enumerate(serialised):
            parts = tf_example_pb2.Example.FromString(example).features.feature
            labels[number] = parts["label"].int64_list.value[0]

        def image(example: bytes) -> np.ndarray:
            return _alike(_decoded(decode, example, None, where)[0], shape, where)

        fetch = records.fetcher(info)
        return rows.Decoded(fetch, image, (count, *shape), dtype), labels
    images = rows.empty((count, *shape), dtype, where)
    for number, example in enumerate(serialised):
        made, labels[number] = _decoded(decode, example, number, where)
        images[number] = _alike(made, shape, where)
    return images, labels


def _decoded(
    decode: Decoder, example: bytes, number: int | None, what: str
) -> tuple[np.ndarray, int]:
    try:
        return decode(example)
    except Exception as error:  # Of Pillow, of protocol buffers, of NumPy.
        which = "an example" if number is None else f"example {number}"
        raise ValueError(
            f"{which} of {what} cannot be decoded ({type(error).__name__}: {error}); "
            "prepare the data set again."
        ) from error


def _alike(image: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    if image.shape != shape:
        raise ValueError(
            f"{what} has images of different sizes, {shape} and {image.shape}; all "
            "must have one size."
        )
    return image


def _decoder(features: Any) -> Decoder:
    """From a serialised example to its image [H, W, C] and its label."""
    import PIL.Image
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto import tf_example_pb2

    # Only what is needed is decoded.
    image_feature = features["image"]
    wanted = tfds.features.FeaturesDict(
        {"image": image_feature, "label": features["label"]}
    )

    def general(example: bytes) -> tuple[np.ndarray, int]:
        decoded = wanted.deserialize_example_np(example)
        return decoded["image"], decoded["label"]

    def compressed(example: bytes) -> tuple[np.ndarray, int]:
        # A PNG or JPEG and an integer: TFDS's own parser takes 1.5 times as long.
        parts = tf_example_pb2.Example.FromString(example).features.feature
        file = io.BytesIO(parts["image"].bytes_list.value[0])
        with PIL.Image.open(file) as opened:
            image = np.asarray(opened.convert(mode) if opened.mode != mode else opened)
        image = image.reshape(*image.shape[:2], -1)
        if is_float:
            image = image.view(np.float32)
        return image, parts["label"].int64_list.value[0]

    # TFDS writes a float as the four bytes of a pixel with transparency.
    is_float = image_feature.np_dtype == np.float32
    mode = "RGBA" if is_float else {1: "L", 3: "RGB"}.get(image_feature.shape[-1])
    if isinstance(image_feature, tfds.features.Image) and mode:
        return compressed
    return general
