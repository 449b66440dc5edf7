"""How far an epoch is, for callbacks that count batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def batches_done(batch: int, params: Mapping[str, Any]) -> int:
    """Return how many batches of the epoch are done.

    With `steps_per_execution`, several batches end at once. Where fewer than that are left at the end of an epoch,
    Keras gives the callbacks the number of a batch that doesn't exist.

    Args:
        batch: What `on_train_batch_end` received.
        params: The callback's `params`.

    Example:
        >>> batches_done(13, {"steps": 12})
        12
    """
    steps = params.get("steps")
    return batch + 1 if steps is None else min(batch + 1, steps)
