"""From splits to batches: images held in memory or decoded as they go, and the statistics of their pixels."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tf_reg.recipes.data.sources import Split, reason
from tf_reg_cli.errors import UserError

CHUNK = 256  # images decoded at a time in the one pass over a split
PREFETCH = 4  # batches ready before they are asked for

Splits = tuple[Split, Split, Split]  # training, validation, test
Shuffled = Callable[[], tf.data.Dataset]  # makes the training pipeline, from its first epoch on
Pipelines = tuple[Shuffled, tf.data.Dataset, tf.data.Dataset, tf.data.Dataset]


def in_memory(splits: Splits, classes: int, batch_size: int, seed: int) -> tuple[Pipelines, np.ndarray]:
    """Pipelines over tensors that hold every image.

    Args:
        splits: The training, the validation and the test split.
        classes: How many classes there are.
        batch_size: Examples a batch at most. Those of the shuffled pipeline are even.
        seed: The order of training.

    Returns:
        The pipelines (a function that makes the shuffled one of training, training in order, validation, test) and
        what `moments` takes: how often each value occurs in the training pixels, int64 `(channels, 256)`.
    """
    train, validation, test = (_hold(split, classes) for split in splits)
    pipelines = (
        functools.partial(_gather, *train, classes, even(len(train[1]), batch_size), seed),
        *(_gather(*held, classes, batch_size) for held in (train, validation, test)),
    )
    images = train[0]
    with tf.device("CPU"):  # else every slice would bring all images to the GPU
        counts = _count(images[start : start + CHUNK].numpy() for start in range(0, len(images), CHUNK))
    return pipelines, counts


def even(size: int, batch_size: int) -> int:
    """Return how many examples a batch has if as few batches as possible are about equally large.

    A last step with a few examples, whose gradient is mostly noise, would bring zero weights back.

    Args:
        size: How many examples there are.
        batch_size: How many a batch may have.
    """
    return math.ceil(size / math.ceil(size / batch_size))


def streamed(splits: Splits, classes: int, batch_size: int, seed: int) -> tuple[Pipelines, np.ndarray]:
    """Pipelines that decode their images every time; arguments and results are those of `in_memory`."""
    pipelines = (
        functools.partial(_stream, splits[0], classes, even(splits[0].size, batch_size), seed),
        *(_stream(split, classes, batch_size) for split in splits),
    )
    return pipelines, _count(images.numpy() for images, _ in _chunks(splits[0], classes))


def moments(counts: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and the variance of each channel: whole numbers until the one division, so they are exact.

    Args:
        counts: int64 `(channels, 256)`: how often each value occurs.
    """
    means, variances = [], []
    for channel in counts.tolist():
        number = sum(channel)
        total = sum(value * count for value, count in enumerate(channel))
        squares = sum(value * value * count for value, count in enumerate(channel))
        means.append(total / number)
        variances.append((number * squares - total * total) / (number * number))
    return tuple(means), tuple(variances)


def _count(batches: Iterable[np.ndarray]) -> np.ndarray:
    """How often each value occurs in each channel of `(batch, height, width, channels)` images."""
    return np.sum(
        [[np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(images, -1, 0)] for images in batches],
        axis=0,
    )


def _hold(split: Split, classes: int) -> tuple[Any, Any]:
    """All images `(size, height, width, channels)` and labels `(size,)`, on the CPU, where `tf.data` runs."""
    chunks = list(_chunks(split, classes))
    with tf.device("CPU"):
        return tf.concat([images for images, _ in chunks], 0), tf.concat([labels for _, labels in chunks], 0)


def _gather(
    images: Any, labels: Any, classes: int, batch_size: int, shuffle_seed: int | None = None
) -> tf.data.Dataset:
    """Batches of a split that is held: only numbers are shuffled, and a batch is one gather."""
    size = len(labels)
    indices = tf.data.Dataset.range(size)
    if shuffle_seed is not None:
        indices = indices.shuffle(size, seed=shuffle_seed, reshuffle_each_iteration=True)

    def batch(index: Any) -> tuple[Any, Any]:
        return tf.gather(images, index), tf.one_hot(tf.gather(labels, index), classes)

    batches = indices.batch(batch_size).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()  # rewriting the pipeline's graph would copy `images` into it
    options.experimental_optimization.apply_default_optimizations = False
    return batches.prefetch(PREFETCH).with_options(options)


def _stream(split: Split, classes: int, batch_size: int, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Batches of a split that is not held: records are shuffled while encoded, then decoded in parallel."""
    records = split.read(split.indices).apply(tf.data.experimental.assert_cardinality(split.size))
    if shuffle_seed is not None:
        buffer = min(split.size, split.shuffle_buffer)
        records = records.shuffle(buffer, seed=shuffle_seed, reshuffle_each_iteration=True)

    def example(record: Any, label: Any) -> tuple[Any, Any]:
        return split.decode(record), tf.one_hot(label, classes)

    examples = records.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(batch_size).prefetch(PREFETCH)


def _chunks(split: Split, classes: int) -> Iterator[tuple[Any, Any]]:
    """Up to `CHUNK` images and int64 labels at a time, in order; a `UserError` names what can't be read."""
    records = split.read(split.indices)
    examples = records.map(
        lambda record, label: (split.decode(record), label),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    done = 0
    try:
        for images, labels in examples.batch(CHUNK).prefetch(1):
            if not 0 <= int(np.min(labels)) <= int(np.max(labels)) < classes:
                raise UserError(f"Some examples of {split.origin} have no class label.")
            done += len(labels)
            yield images, labels
    except tf.errors.ResourceExhaustedError:
        raise UserError(f"{split.origin} needs more memory than there is. Choose a smaller image size.") from None
    except tf.errors.OpError as error:
        raise UserError(_blame(split, done, error)) from None
    if done != split.size:
        raise UserError(f"{split.origin} is damaged: expected {split.size} examples, found {done}.")


def _blame(split: Split, start: int, error: Exception) -> str:
    """Which of the `CHUNK` examples from `start` on can't be decoded, or why the split can't be read."""
    suspects = split.take(np.arange(start, min(start + CHUNK, split.size)))
    records = iter(suspects.read(suspects.indices))
    for index in suspects.indices:
        try:
            record, _ = next(records)
        except (tf.errors.OpError, StopIteration):
            break
        try:
            suspects.decode(record)
        except tf.errors.OpError as cause:
            return f"{split.describe(index)} can't be read as an image: {reason(cause)}."
    return f"{split.origin} can't be read, so it is damaged: {reason(error)}. Delete it and get it again."
