"""What a layer has beside its config and its variables: a vocabulary, what it made of its variables, frozen parts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import Any

import keras

from tf_reg import _keras


def carry_state(old: Any, new: Any) -> None:
    """Give a layer what another one of the same config would save and load, by Keras' own protocol.

    The variables of a `Normalization` are only read when it loads them, and a `StringLookup` that was adapted keeps its
    words in a file. A layer without such a protocol is left as it is. The states of a stateful recurrent layer, which
    are in no file, are carried over too.

    Args:
        old: The layer whose state it is.
        new: A layer of the same class and the same sizes.
    """
    if hasattr(old, "save_assets") and hasattr(new, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)
    if type(new).load_own_variables is not keras.layers.Layer.load_own_variables:
        store: dict[str, Any] = {}
        old.save_own_variables(store)
        new.load_own_variables(store)
    if getattr(old, "stateful", False) and isinstance(old, keras.layers.RNN):
        for before, after in zip(*(keras.tree.flatten(layer.states) for layer in (old, new)), strict=True):
            if before is not None:
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
