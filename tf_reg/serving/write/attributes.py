"""What a layer keeps in its attributes, whatever lists and dictionaries it lies in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras


def kept_by(layer: keras.Layer) -> Iterator[Any]:
    """Walk everything in the attributes of a layer, containers before what is in them, each object once.

    Args:
        layer: A layer or a model. The attributes of layers inside it are theirs.
    """
    waiting, seen = list(vars(layer).values()), set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            waiting.extend(value)


def is_of_tensorflow(thing: Any) -> bool:
    """Whether something is a variable of TensorFlow's own, which Keras doesn't list."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return isinstance(thing, tf.Variable)
