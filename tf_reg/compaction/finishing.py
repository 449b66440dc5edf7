"""What a model gets whose layers are made anew: its class, its frozen parts, and the settings of `compile`."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import keras

from tf_reg.compaction.rebuild import Rebuilt
from tf_reg.compaction.state import carry_trainable
from tf_reg.compaction.training import compile_alike


def finished(model: keras.Model, rebuilt: Rebuilt) -> keras.Model:
    """Return the new model as one of the first one's class, frozen and compiled alike, with an optimizer that starts
    anew.

    Args:
        model: The first model.
        rebuilt: What was made from it.
    """
    made = _in_class_of(model, rebuilt.model)
    carry_trainable([(model, made), *rebuilt.layers])
    if model.compiled:
        compile_alike(model, made)
    return made


def _in_class_of(model: keras.Model, small: keras.Model) -> keras.Model:
    """The compacted model as a sequential model, or one of the user's class, if the model is one."""
    own = list(itertools.takewhile(lambda one: not one.__module__.startswith("keras."), type(model).__mro__))
    if any("__init__" in vars(one) for one in own):
        warnings.warn(
            f"tf_reg can't make a {type(model).__name__}, because its __init__ isn't that of keras.Model. The "
            "new model is a plain functional one, without the methods of your class, such as train_step. Let a "
            "function make the model, not an __init__, or use the new model in inference only.",
            stacklevel=4,
        )
        return small
    kind: Any = type(model)
    if isinstance(model, keras.Sequential):
        return kind(small.layers, name=model.name)
    return kind(small.input, small.output, name=model.name) if own else small
