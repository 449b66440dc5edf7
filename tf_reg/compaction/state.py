"""What a layer knows beside its variables: a vocabulary, or what it has made of its variables."""

from __future__ import annotations

import tempfile
from typing import Any

import keras


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
