"""Many trainings in one process without memory that grows: TensorFlow never forgets gradients of its own accord."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from tensorflow.python.framework import ops


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """Free what a training within the block has left behind.

    TensorFlow registers the gradient of each operation with a gradient of its own, such as those of the cross-entropy,
    under a new name each time it traces one. The registry holds the traced functions, and these the whole graph: some
    MiB for each training. The names that the block has added are taken out again, so a model of the block can be used
    after it, but not be trained.
    """
    registered: dict[str, Any] = getattr(ops.gradient_registry, "_registry", {})
    before = set(registered)
    try:
        yield
    finally:
        for name in set(registered) - before:
            del registered[name]
        keras.utils.clear_session()
