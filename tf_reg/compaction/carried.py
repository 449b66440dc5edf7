"""What a layer has beside its configuration and its variables, carried over to the layer that takes its place."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import Any

import keras

from tf_reg import _keras


def carry_state(old: Any, new: Any) -> None:
    """Carry over what a layer has learned that isn't a variable: vocabularies, and the states of a stateful layer.

    Args:
        old: A layer that is built.
        new: One of its class, with its variables.
    """
    if hasattr(old, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)
    elif hasattr(new, "finalize_state"):
        new.finalize_state()
    if getattr(old, "stateful", False) and isinstance(old, keras.layers.RNN):
        for before, after in zip(*(keras.tree.flatten(layer.states) for layer in (old, new)), strict=True):
            if before is not None and before.shape == after.shape:
                after.assign(before)


def carry_trainable(layers: Iterable[tuple[keras.Layer, keras.Layer]]) -> None:
    """Freeze what is frozen: models and layers, and single variables of them.

    Args:
        layers: Old ones and new ones, a model before the layers in it: to freeze a model freezes all of them.
    """
    for old, new in layers:
        parts = [new] if isinstance(old, keras.Model) else _keras.sublayers(new)
        for before, after in zip([old] if len(parts) == 1 else _keras.sublayers(old), parts, strict=True):
            if after.trainable != before.trainable:
                after.trainable = before.trainable
        if isinstance(old, keras.Model):
            continue
        for variable, made in zip(old.variables, new.variables, strict=False):
            if variable.name == made.name and made.trainable != variable.trainable:
                made.trainable = variable.trainable
