"""What a layer knows beside its weights: a vocabulary, what it has made of its variables, its random numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from tf_reg import _keras


def carry_state(old: Any, new: Any) -> None:
    """Give a layer what another one of the same config would save and load, by Keras' own protocol.

    The variables of a `Normalization` are only read when it loads them, and a `StringLookup` that was adapted keeps its
    words in a file. A layer without such a protocol is left as it is.

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


@contextmanager
def left_as_it_is(model: keras.Model) -> Iterator[None]:
    """Give a model that is called within a `with` block its state back.

    Also in inference, a recurrent layer with dropout draws random numbers, and one with a state goes on with it.

    Args:
        model: The model.
    """
    trained = {id(variable) for layer in _keras.sublayers(model) for variable in _keras.own_trainable_variables(layer)}
    before = [(variable, ops.copy(variable.value)) for variable in model.variables if id(variable) not in trained]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
