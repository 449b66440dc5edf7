"""How far an epoch is, for callbacks that count batches, whatever numbers Keras gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras


def batches_done(batch: int, params: Mapping[str, Any], at_once: int) -> int:
    """Return how many batches of the epoch are done.

    With `steps_per_execution`, several batches end at once. Keras gives the callbacks the number of the last of them,
    and Keras 3.10 that of the first. Where fewer are left at the end of an epoch, it gives that of a batch that
    doesn't exist.

    Args:
        batch: What `on_train_batch_end` received.
        params: The callback's `params`.
        at_once: The model's `steps_per_execution`.

    Example:
        >>> batches_done(13, {"steps": 12}, at_once=7)
        12
    """
    done, steps = (batch // at_once + 1) * at_once, params.get("steps")
    return done if steps is None else min(done, steps)


def steps_at_once(model: keras.Model | None) -> int:
    """Return how many batches end at once in the training of a model.

    Args:
        model: A callback's model, when training begins: on JAX, reading it takes time.
    """
    return getattr(model, "steps_per_execution", None) or 1
