"""A model as a plain functional model."""

from __future__ import annotations

from typing import Any

import keras
from keras import tree


def as_graph(model: Any) -> keras.Model | None:
    """Return a model as a plain functional model over the same layers, or None where that isn't possible.

    It is possible for functional and sequential models that are built, unless their class has a `call` of its own.

    Args:
        model: A model, or any layer or operation.
    """
    if isinstance(model, keras.Sequential):
        if type(model).call is not keras.Sequential.call or not getattr(model, "inputs", None):
            return None
        structure = model.compute_output_spec(model.inputs[0])
        return keras.Model(model.inputs[0], tree.pack_sequence_as(structure, model.outputs), name=model.name)
    if not (isinstance(model, keras.Model) and isinstance(model, keras.Function)):
        return None
    functional: Any = next(kind for kind in type(model).__mro__ if keras.Function in kind.__bases__)
    if type(model).call is not functional.call:
        return None
    return keras.Model(model.input, model.output, name=model.name)
