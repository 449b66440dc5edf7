"""What the candidates of `tf_reg.shrink` depend on, as JSON has it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_reg.compaction.objects import config_of
from tf_reg.selection.search import Task

NUMBERS = ("max_drop", "level", "candidates", "refit_epochs", "batch_size", "seed")


def settings_of(task: Task, penalty: Any, score: Any) -> dict[str, Any]:
    """Return the settings of a call.

    Args:
        task: What is to be done.
        penalty: As it was given.
        score: As it was given.
    """
    return {
        "model": _digest(task.model.get_weights()),
        "train": task.train.fingerprint(),
        "validation": task.validation.fingerprint(),
        "penalty": _described(penalty),
        "optimizer": _described(task.optimizer),
        "score": getattr(score, "__qualname__", type(score).__name__),
        "distill": task.student is not None,
        **{name: getattr(task, name) for name in NUMBERS},
    }


def _digest(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _described(thing: Any) -> Any:
    """A penalty or an optimizer in words."""
    if isinstance(thing, str):
        return thing
    if isinstance(thing, Mapping):
        return {str(key): _described(value) for key, value in thing.items()}
    config = {key: value for key, value in config_of(thing).items() if key != "name"}  # Keras counts names up
    return f"{type(thing).__name__}({config})"
