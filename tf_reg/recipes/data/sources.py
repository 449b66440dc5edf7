"""Where images come from: splits that can be cut before one image is read; the digits."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_reg_cli.errors import UserError

Shape = tuple[int | None, int | None, int]
DIGITS_TEST_SIZE = 360


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled images that are still where they are stored, and the numbers of those that are used.

    A record is an image as it is stored: encoded bytes, a file's path, or the pixels.

    Args:
        origin: What an error calls it, for example `"the folder pets"`.
        indices: Ascending int64 numbers, shape `(size,)`, of the stored examples that belong to the split.
        read: Maps such numbers to a `tf.data.Dataset` of those `(record, label)`, in that order.
        read_labels: Maps such numbers to the labels of those examples, int64 `(size,)`.
        decode: Maps a record to an image, uint8 `(height, width, channels)`.
        describe: Maps one number to what an error calls that example, for example its file.
        shuffle_buffer: How many records may be held to shuffle the split when it is streamed.
        paths: The paths of all stored examples, where each is a file.
    """

    origin: str
    indices: np.ndarray
    read: Callable[[np.ndarray], tf.data.Dataset]
    read_labels: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[Any], Any]
    describe: Callable[[int], str]
    shuffle_buffer: int
    paths: np.ndarray | None = None

    @property
    def size(self) -> int:
        """The number of examples."""
        return len(self.indices)

    @property
    def labels(self) -> np.ndarray:
        """The examples' labels, int64 `(size,)`."""
        return self.read_labels(self.indices)

    def take(self, positions: np.ndarray) -> Split:
        """The split that holds only the examples at these positions, in stored order."""
        return dataclasses.replace(self, indices=np.sort(self.indices[positions]))


@dataclasses.dataclass(frozen=True)
class Source:
    """What a data set's owner provides.

    Args:
        name: The name of the data set.
        train: The training split.
        validation: The validation split; None where there is none.
        test: The test split; None where there is none.
        class_names: The names of the classes, in the order of the labels.
        image_shape: `(height, width, channels)`.
        flippable: Whether a mirrored image keeps its class.
        notes: What is to be said to the user, a sentence each.
    """

    name: str
    train: Split
    validation: Split | None
    test: Split | None
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    flippable: bool
    notes: tuple[str, ...] = ()


def final_shape(name: str, shape: Shape, image_size: tuple[int, int] | None) -> tuple[int, int, int]:
    """The `(height, width, channels)` of every image once resized; a `UserError` where that isn't known."""
    height, width = image_size or shape[:2]
    if height is None or width is None:
        raise UserError(
            f"The images of {name} vary in size, so they must be resized: pass --image-size, for example 64."
        )
    return height, width, shape[2]


def decode_to(shape: tuple[int, int, int], decode: Callable[[Any], Any], resize: bool) -> Callable[[Any], Any]:
    """`decode`, then resize (bilinear, antialiased, rounded) if asked to, then refuse any other shape."""

    def decode_image(record: Any) -> Any:
        image = decode(record)
        if resize:
            image = tf.cast(tf.round(tf.image.resize(image, shape[:2], antialias=True)), tf.uint8)
        return tf.ensure_shape(image, shape)

    return decode_image


def reason(error: BaseException) -> str:
    """The first line of an error, without the names of TensorFlow's nodes and without its last stop or colon."""
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    text = re.sub(r"\{\{[^}]*\}\}|\[Op:.*", "", text).strip()
    return text.splitlines()[0][:300].strip(" .:") if text else type(error).__name__


def array_split(
    origin: str,
    records: Any,
    labels: np.ndarray,
    decode: Callable[[Any], Any],
    describe: Callable[[int], str],
    paths: np.ndarray | None = None,
) -> Split:
    """A split in memory: an array of records, `(size, ...)`, or a dictionary of some, and int labels, `(size,)`."""

    def read(indices: np.ndarray) -> tf.data.Dataset:
        picked = tf.nest.map_structure(lambda array: array[indices], records)
        return tf.data.Dataset.from_tensor_slices((picked, labels[indices].astype("int64")))

    return Split(origin, np.arange(len(labels)), read, labels.__getitem__, decode, describe, len(labels), paths)


def open_digits(image_size: tuple[int, int] | None) -> Source:
    """scikit-learn's 1,797 digits, 8x8, scaled to 0..255; 360 are a fixed, stratified test split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.round(bunch.images[..., None] * (255 / 16)).astype("uint8")
    shape = final_shape("digits", (8, 8, 1), image_size)
    whole = array_split(
        "digits", images, bunch.target, decode_to(shape, tf.identity, bool(image_size)), "digit {}".format
    )
    train, test = train_test_split(whole.indices, test_size=DIGITS_TEST_SIZE, random_state=0, stratify=bunch.target)
    names = tuple(str(name) for name in bunch.target_names)
    return Source("digits", whole.take(train), None, whole.take(test), names, shape, flippable=False)
