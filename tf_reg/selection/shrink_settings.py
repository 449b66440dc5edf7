"""What the candidates of `tf_reg.shrink` depend on, as JSON has it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tf_reg.compaction.objects import config_of
from tf_reg.selection.examples import Examples


def settings_of(
    model: keras.Model, train: Examples, validation: Examples, penalty: Any, optimizer: Any, score: Any, **plain: Any
) -> dict[str, Any]:
    """Return the settings of a call.

    Args:
        model: The original.
        train: The training examples.
        validation: The validation examples.
        penalty: As it was given.
        optimizer: The optimizer.
        score: As it was given.
        **plain: Numbers and words.
    """
    return {
        "model": _digest(model.get_weights()),
        "train": train.fingerprint(),
        "validation": validation.fingerprint(),
        "penalty": _described(penalty),
        "optimizer": _described(optimizer),
        "score": getattr(score, "__qualname__", type(score).__name__),
        **plain,
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
