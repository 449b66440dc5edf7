"""Where images come from: splits that can be cut before one image is read; the digits; folders of images."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_reg_cli.errors import UserError

Shape = tuple[int | None, int | None, int]
DIGITS_TEST_SIZE = 360
SPLIT_FOLDERS = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled images that are still where they are stored, and the numbers of those that are used.

    A record is an image as it is stored: encoded bytes, a file's path, or the pixels.

    Args:
        origin: What an error calls it, for example `"the folder pets"`.
        indices: Ascending int64 numbers, shape `(size,)`, of the stored examples that belong to the split.
        read: Maps such numbers to a `tf.data.Dataset` of those `(record, label)`, in that order.
        decode: Maps a record to an image, uint8 `(height, width, channels)`.
        describe: Maps one number to what an error calls that example, for example its file.
        shuffle_buffer: How many records may be held to shuffle the split when it is streamed.
    """

    origin: str
    indices: np.ndarray
    read: Callable[[np.ndarray], tf.data.Dataset]
    decode: Callable[[Any], Any]
    describe: Callable[[int], str]
    shuffle_buffer: int

    @property
    def size(self) -> int:
        """The number of examples."""
        return len(self.indices)

    def take(self, positions: np.ndarray) -> Split:
        """The split that holds only the examples at these positions, in stored order."""
        return dataclasses.replace(self, indices=np.sort(self.indices[positions]))


@dataclasses.dataclass(frozen=True)
class Source:
    """What a data set's owner provides; `validation` and `test` are None where there is no such split."""

    name: str
    train: Split
    validation: Split | None
    test: Split | None
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    flippable: bool


def final_shape(name: str, shape: Shape, image_size: tuple[int, int] | None) -> tuple[int, int, int]:
    """The `(height, width, channels)` of every image once resized; a `UserError` where that isn't known."""
    height, width = image_size or shape[:2]
    if height is None or width is None:
        raise UserError(
            f"The images of {name} vary in size, so they must be resized: "
            "pass image_size (--image-size), for example 64."
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
    records: np.ndarray,
    labels: np.ndarray,
    decode: Callable[[Any], Any],
    describe: Callable[[int], str],
) -> Split:
    """A split whose records, shape `(size, ...)`, and int labels, shape `(size,)`, are in memory."""

    def read(indices: np.ndarray) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices((records[indices], labels[indices].astype("int64")))

    return Split(origin, np.arange(len(records)), read, decode, describe, shuffle_buffer=len(records))


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


def open_folder(folder: str, image_size: tuple[int, int] | None) -> Source:
    """A folder with one sub-folder a class, or with `train/` and `test/` or `val/` that each have these."""
    path = pathlib.Path(os.path.expanduser(folder))
    if not folder or not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise UserError(f"folder:PATH needs a folder of images, one sub-folder a class; {folder!r} {problem}.")
    shape = final_shape(f"folder:{folder}", (None, None, 3), image_size)
    paths = _split_folders(path)
    listed = {split: _list_images(where) for split, where in paths.items()}
    names = listed["train"][2]
    for split, (_, _, other_names) in listed.items():
        if other_names != names:
            differing = ", ".join(sorted(set(names) ^ set(other_names)))
            raise UserError(
                f"{paths['train']} and {paths[split]} must hold the same class folders; "
                f"only one of them has {differing}."
            )
    splits = {key: _folder_split(paths[key], files, labels, shape) for key, (files, labels, _) in listed.items()}
    return Source(
        f"folder:{folder}",
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        names,
        shape,
        flippable=False,
    )


def _split_folders(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """Which folder holds which split: `path` itself is the training split unless laid out as ImageNet is."""
    found = _sub_folders(path)
    splits = [name for name in found if name in SPLIT_FOLDERS]
    if "train" not in splits or (len(splits) == 1 and len(found) > 1):
        return {"train": path}
    if "val" in splits and "validation" in splits:
        raise UserError(f"{path} has both val and validation: keep one of the two.")
    return {SPLIT_FOLDERS[name]: path / name for name in splits}


def _sub_folders(path: pathlib.Path) -> list[str]:
    try:
        return sorted(item.name for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))
    except OSError as error:
        raise UserError(f"The folder {path} can't be read: {reason(error)}.") from error


def _list_images(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The image files below `path`, their labels and the class names, as Keras finds and sorts them."""
    classes = _sub_folders(path)
    if len(classes) < 2:
        found = f"only one ({classes[0]})" if classes else "no sub-folder"
        raise UserError(f"{path} must hold at least two sub-folders, one a class; it has {found}.")
    try:
        listed = keras.utils.image_dataset_from_directory(
            str(path), label_mode="int", image_size=(1, 1), batch_size=None, shuffle=False, verbose=False
        )
    except ValueError:
        raise UserError(f"{path} holds no image (jpg, png, gif or bmp) in its class folders.") from None
    files = listed.file_paths
    numbers = {name: label for label, name in enumerate(classes)}
    labels = np.array([numbers[file[len(str(path)) :].strip(os.sep).split(os.sep)[0]] for file in files])
    empty = sorted(set(numbers.values()) - set(labels.tolist()))
    if empty:
        raise UserError(f"No image (jpg, png, gif or bmp) in the class folder {path / classes[empty[0]]}.")
    return np.array(files, dtype=object), labels, tuple(classes)


def _folder_split(path: pathlib.Path, files: np.ndarray, labels: np.ndarray, shape: tuple[int, int, int]) -> Split:
    def decode(file: Any) -> Any:
        return tf.io.decode_image(tf.io.read_file(file), channels=3, expand_animations=False)

    decode_image = decode_to(shape, decode, resize=True)
    return array_split(f"the folder {path}", files, labels, decode_image, lambda index: str(files[index]))
