"""Image-classification data, as `tf.data` pipelines that are never what a training waits for."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tf_reg.recipes.data import cut, folders, pipelines, sources, tfds_source
from tf_reg_cli.errors import UserError

COLOR_MODES = {"grayscale": 1, "rgb": 3}  # and the number of channels
MEMORY_LIMIT = 2**30  # bytes of pixels; while they are read, they are there twice


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A data set, cut into training, validation and test examples.

    Every pipeline yields batches of images, uint8 `(batch, height, width, channels)`, and of one-hot labels,
    float32 `(batch, classes)`. No example is dropped: the last batch may be smaller. Those of training are as even as
    they can be, without a small one at the end.

    Args:
        name: The name it was loaded by.
        train: The training examples, in another order every epoch, all determined by the seed.
        train_eval: The same examples, always in stored order: what the gap to `test` is measured on.
        validation: What choices are made on, in stored order.
        test: What was never looked at, in stored order.
        class_names: The names of the classes, in the order of the labels.
        image_shape: `(height, width, channels)`.
        train_size: Number of training examples.
        validation_size: Number of validation examples.
        test_size: Number of test examples.
        mean: Of each channel of the training pixels, 0 to 255, exact but for one rounding to float64.
        variance: Of each channel of the training pixels (the mean squared distance to `mean`).
        flippable: Whether a mirrored image keeps its class. False for characters, and for a folder of images,
            of which nobody knows.
        notes: What is to be said to the user: files left out, classes without examples, equal files; a sentence each.
        task: Always this one.
        moments: None: there is no target that is a number.
        shuffled: Makes another pipeline of the training examples, which begins with its first epoch.
    """

    name: str
    train: tf.data.Dataset
    train_eval: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train_size: int
    validation_size: int
    test_size: int
    mean: tuple[float, ...]
    variance: tuple[float, ...]
    flippable: bool
    notes: tuple[str, ...] = ()
    task: Literal["classification"] = "classification"
    moments: None = None
    shuffled: Callable[[], tf.data.Dataset] | None = None

    def anew(self) -> ImageData:
        """The same data with a training pipeline that nobody has read from, for one more training."""
        return self if self.shuffled is None else dataclasses.replace(self, train=self.shuffled())


def load(
    dataset: str = "digits",
    *,
    batch_size: int = 128,
    data_dir: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    color_mode: str | None = None,
    train_size: int | None = None,
    validation_split: float = 0.1,
    seed: int = 0,
    skip_damaged: bool = False,
) -> ImageData:
    """Load an image-classification data set and cut it into training, validation and test examples.

    The test examples are the owner's `test` split, else the owner's `validation` split, else 20 % of the
    training examples (360 of `digits`), the same ones for every `seed`. Whatever is set aside or kept has each class
    in proportion, and at least one example of it where that can be.

    A set whose decoded pixels fit in `MEMORY_LIMIT` (1 GiB) is decoded once and held in memory. A bigger one
    is decoded anew every epoch. Its training images are still all read once beforehand, for `mean` and
    `variance`, so one that can't be read is found before training; those of its other splits are not.

    Args:
        dataset: `"digits"` (scikit-learn's, no download), the name of an image-classification set of TensorFlow
            Datasets (`"fashion_mnist"`, `"emnist/letters"`), or `"folder:PATH"`: one sub-folder a class, or
            `train/` and `test/` or `val/` (or both) that hold these, in any usual spelling.
        batch_size: Examples a batch.
        data_dir: Where TensorFlow Datasets keeps its sets. Defaults to the environment variable
            `TFDS_DATA_DIR`, then to its own default. A set that isn't there is downloaded to it.
        image_size: `(height, width)` in pixels, or one number for both, that every image is resized to.
            Needed where images vary in size, as in a folder.
        color_mode: Of a folder's images, in Keras' words: `"grayscale"` for one channel, `"rgb"` for three. By default
            one where all images are grey.
        train_size: How many training examples to keep after validation examples were set aside; a smaller
            number keeps a subset of what a larger one keeps. Defaults to all.
        validation_split: The share, between 0 and 1, of the training examples that is set aside for
            validation. Ignored where the owner made both a validation and a test split.
        seed: Which examples are set aside or kept, and the order of training. That order depends on
            TensorFlow's global seed too (`keras.utils.set_random_seed`), as all of `tf.data` does.
        skip_damaged: Of a folder's images, whether to leave out those that are damaged; `notes` counts them.

    Returns:
        An `ImageData`.

    Raises:
        UserError: for whatever is wrong with the arguments, the files or the network.

    Example:

    >>> data = load("digits", batch_size=32)
    >>> data.train_size, data.validation_size, data.test_size, data.image_shape
    (1293, 144, 360, (8, 8, 1))
    """
    _check(dataset, batch_size, color_mode, train_size, validation_split, seed)
    source = _open(dataset, data_dir, _height_and_width(image_size), COLOR_MODES.get(color_mode or ""), skip_damaged)
    splits = cut.cut(source, train_size, validation_split, seed)
    bytes_needed = sum(split.size for split in splits) * int(np.prod(source.image_shape))
    build = pipelines.in_memory if bytes_needed <= MEMORY_LIMIT else pipelines.streamed
    (shuffled, train_eval, validation, test), counts = build(splits, len(source.class_names), batch_size, seed)
    mean, variance = pipelines.moments(counts)
    return ImageData(
        name=source.name,
        train=shuffled(),
        train_eval=train_eval,
        validation=validation,
        test=test,
        class_names=source.class_names,
        image_shape=source.image_shape,
        train_size=splits[0].size,
        validation_size=splits[1].size,
        test_size=splits[2].size,
        mean=mean,
        variance=variance,
        flippable=source.flippable,
        notes=(*source.notes, *cut.missing_classes(splits, source.class_names), *_equal_files(splits)),
        shuffled=shuffled,
    )


def _check(dataset: Any, batch_size: Any, color_mode: Any, train_size: Any, validation_split: Any, seed: Any) -> None:
    if not isinstance(dataset, str) or not dataset:
        raise UserError(f"dataset must be digits, folder:PATH or a name of TensorFlow Datasets; got {dataset!r}.")
    if not _is_integer(batch_size, minimum=1):
        raise UserError(f"batch_size must be a whole number of at least 1; got {batch_size!r}.")
    if color_mode is not None and color_mode not in COLOR_MODES:
        raise UserError(f"color_mode must be grayscale or rgb, or None to find out; got {color_mode!r}.")
    if color_mode is not None and not dataset.startswith("folder:"):
        raise UserError(f"color_mode is for a folder of images; {dataset} has its own.")
    if train_size is not None and not _is_integer(train_size, minimum=1):
        raise UserError(f"train_size must be a whole number of at least 1, or None for all; got {train_size!r}.")
    if not isinstance(validation_split, numbers.Real) or not 0 < float(validation_split) < 1:
        raise UserError(f"validation_split must lie between 0 and 1, both excluded; got {validation_split!r}.")
    if not _is_integer(seed, minimum=0) or int(seed) >= 2**32:
        raise UserError(f"seed must be a whole number from 0 to 2**32 - 1; got {seed!r}.")


def _is_integer(value: Any, minimum: int) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= minimum


def _height_and_width(image_size: Any) -> tuple[int, int] | None:
    if image_size is None:
        return None
    pair = tuple(image_size) if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    if len(pair) != 2 or not all(_is_integer(length, minimum=1) for length in pair):
        raise UserError(
            f"image_size must be one number of pixels, or (height, width), of at least 1; got {image_size!r}."
        )
    return int(pair[0]), int(pair[1])


def _open(
    dataset: str, data_dir: str | None, image_size: tuple[int, int] | None, channels: int | None, skip_damaged: bool
) -> sources.Source:
    if dataset == "digits":
        return sources.open_digits(image_size)
    if dataset.startswith("folder:"):
        return folders.open_folder(dataset.removeprefix("folder:"), image_size, channels, skip_damaged)
    return tfds_source.open_tfds(dataset, data_dir, image_size)


def _equal_files(splits: tuple[sources.Split, sources.Split, sources.Split]) -> Iterator[str]:
    """What to say of images that were trained on and are to be judged by."""
    for name, split in (("validation", splits[1]), ("test", splits[2])):
        count = folders.equal_files(splits[0], split)
        if count:
            yield f"{count} of the {split.size} {name} images have the same content as a training image."
