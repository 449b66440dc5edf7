"""The processes that train a model together, which Keras has on JAX alone."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

TEXT = 4096  # bytes at most of what process 0 tells the others


def number() -> int:
    """Return which of the processes this is, from 0 on; 0 where there is one."""
    if keras.backend.backend() != "jax":
        return 0
    import jax

    return int(jax.process_index())


def count() -> int:
    """Return how many processes train together."""
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return int(jax.process_count())


def of_all(numbers: Sequence[int]) -> list[list[int]]:
    """Return the numbers of each process. All must call it, with as many numbers each, and wait for each other.

    Args:
        numbers: Those of this process.
    """
    if count() == 1:
        return [list(numbers)]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.asarray(numbers, "int32"))).tolist()


def told(text: str | None = None) -> str:
    """Return what process 0 tells all. All must call it, and wait for each other.

    Args:
        text: What process 0 says. The others leave it out.
    """
    from jax.experimental import multihost_utils

    held = np.zeros(TEXT, "uint8")
    said = np.frombuffer((text or "").encode(), "uint8")
    held[: len(said)] = said
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(held))).rstrip(b"\0").decode()
