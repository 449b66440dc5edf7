"""The time of a compiled train function's steps alone, without `fit` around them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

UNTIMED = 8  # more than an input pipeline holds ready after a pause


def constant(batch: Any) -> Iterator[Any]:
    """Return an iterator of the same batch again and again, so that no input pipeline bounds a step.

    Args:
        batch: A tuple of tensors or arrays, `(images, labels)`.
    """
    return iter(tf.data.Dataset.from_tensors(batch).repeat())


def seconds(model: keras.Model, batches: Iterator[Any], length: int, untimed: int = UNTIMED) -> float:
    """Return the seconds that `length` steps take, after a few that don't count.

    Args:
        model: A compiled model that has a train function.
        batches: What the train function takes its batches from.
        length: How many steps are timed, 1 or more.
        untimed: How many come before.
    """
    step = model.train_function
    for _ in range(untimed):
        step(batches)
    start = time.perf_counter()
    for _ in range(length):
        logs = step(batches)
    float(logs["loss"])  # waits for the device
    return time.perf_counter() - start
