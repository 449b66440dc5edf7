"""From a file to examples for a model: an array that fits, or an image, decoded or as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tf_reg import _images
from tf_reg.serving.client.server import Tensor
from tf_reg_cli.errors import UserError

ARRAYS = {".npy", ".npz"}  # every other file is an image


def is_image(file: Path) -> bool:
    """Whether a file is taken as an image, which its name alone decides."""
    return file.suffix.lower() not in ARRAYS


def examples(file: Path, tensor: Tensor) -> np.ndarray:
    """Return a file's examples, `(examples, ...)`, with the dtype of what the model takes.

    Raises:
        UserError: If the file can't be read, or the model doesn't take what it holds.
    """
    try:
        return _image(file, tensor) if is_image(file) else _array(file, tensor)
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror or error}.") from error


def _array(file: Path, tensor: Tensor) -> np.ndarray:
    try:
        with file.open("rb") as opened:
            array = np.lib.format.read_array(opened, allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:  # a header can claim any size
        raise UserError(f"{file} can't be read as an array: numpy.save writes such files, one array each.") from error
    array = array[None] if array.ndim == len(tensor.shape) - 1 else array
    wanted = f"the model takes {tensor.dtype} {_show(tensor.shape)}"
    if array.dtype.kind not in "biuf":
        raise UserError(f"{file} holds {array.dtype} instead of numbers; {wanted}.")
    if tensor.dtype == "string" or not fits(array.shape, tensor.shape):
        raise UserError(f"{file} has the shape {array.shape}, {wanted}.")
    if not len(array):
        raise UserError(f"{file} has no examples: its shape is {array.shape}.")
    return cast(file, array, tensor.dtype)


def _image(file: Path, tensor: Tensor) -> np.ndarray:
    content = file.read_bytes()
    header = _images.header(content)
    if tensor.dtype == "string":  # for the server's decoder, which is TensorFlow's
        return np.array([content if header is None or header.plain else _images.as_png(content, 3)], object)
    if len(tensor.shape) != 4 or None in tensor.shape[1:] or tensor.shape[3] not in (1, 3, 4):
        raise UserError(f"{file} is no .npy file, and the model takes no images: {tensor.dtype} {_show(tensor.shape)}.")
    import tensorflow as tf

    height, width, channels = tensor.shape[1:]
    try:
        if header is None or header.plain or channels == 4:
            image = tf.io.decode_image(content, channels=channels, expand_animations=False)
        else:
            image = _images.decode(content, int(channels or 3))
    except (tf.errors.InvalidArgumentError, ValueError) as error:
        raise UserError(
            f"{file} can't be decoded as an image of {_show(tensor.shape)}: it is damaged, or of an unknown kind."
        ) from error
    image = tf.round(tf.image.resize(image, (height, width), antialias=True))
    return cast(file, image.numpy()[None], tensor.dtype)


def cast(file: Path | str, array: np.ndarray, dtype: str) -> np.ndarray:
    """Return an array in another dtype if no value changes, but for the digits that a narrower float hasn't got.

    Args:
        file: Where it comes from, for the message.
        array: Numbers.
        dtype: The dtype's name.

    Raises:
        UserError: If a value would change.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
        if array.dtype.kind == "f" and "float" in dtype:
            same = np.isfinite(cast) | ~np.isfinite(array)
        else:
            same = cast.astype(array.dtype) == array
    if not same.all():
        raise UserError(
            f"{file} holds {array[~same][0]}, which {dtype} can't: convert the array to what the model takes first. "
            f"Received: {array.dtype}."
        )
    return cast


def fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Whether an array of a shape is what a model takes, None for any size."""
    return len(shape) == len(wanted) and all(
        want is None or have == want for have, want in zip(shape, wanted, strict=True)
    )


def shown(tensor: Tensor) -> str:
    """Return a tensor's dtype and shape in words."""
    return f"{tensor.dtype} {_show(tensor.shape)}"


def _show(shape: Sequence[int | None]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"
