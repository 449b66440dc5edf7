"""The same function as a smaller model."""

from __future__ import annotations

import warnings
from typing import Any

import keras

from tf_reg._checks import require
from tf_reg.compaction.check import compare
from tf_reg.compaction.finishing import finished
from tf_reg.compaction.plan import plan_compaction
from tf_reg.compaction.rebuild import Rebuilt
from tf_reg.compaction.training import carry_optimizer


def compact(
    model: keras.Model, examples: Any = None, *, round_to: int | None = None, keep_optimizer: bool = False
) -> keras.Model:
    """Return a new model without what has no effect on the outputs. The model itself stays as it is.

    The new model computes the same in inference, with the same inputs, outputs, names of layers and settings of
    `compile`. This is checked on random inputs, and the model is refused if the outputs differ by more than rounding.
    `plan_compaction` says what is removed, and what stays for which reason.

    In training the two may differ: a batch normalization makes something else of a constant channel there.

    Args:
        model: A built functional or sequential model.
        examples: Inputs of the model, in the structure that it takes, with a batch axis: the check calls both models
            on them too. Give some where random inputs tell little.
        round_to: A whole number such as 8: some channels without effect stay, as zeros, so that the width of each layer
            is a multiple of it, or what it was. None keeps none.
        keep_optimizer: Whether the new optimizer gets the state of the model's optimizer, such as its momentum, so that
            training goes on. By default it starts anew.

    Raises:
        ValueError: A model that isn't built, or isn't functional or sequential; another `round_to`; `keep_optimizer`
            for a model that isn't compiled, or whose optimizer has slots of other shapes than the weights (Adafactor).
        RuntimeError: The new model computes something else. This is a fault of tf_reg, or of Keras on this backend.

    Warns:
        UserWarning: No check could tell: the outputs were constant, or not finite.

    Example:

    >>> layer = keras.layers.Dense(4, activation="relu")
    >>> model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(2)])
    >>> kernel, bias = layer.get_weights()
    >>> layer.set_weights([kernel * [1.0, 0.0, 1.0, 0.0], bias])
    >>> tf_reg.compact(model).layers[0].units
    2
    """
    plan = plan_compaction(model, round_to)
    require(isinstance(keep_optimizer, bool), "keep_optimizer is True or False", "keep_optimizer", keep_optimizer)
    require(not keep_optimizer or model.compiled, "keep_optimizer=True takes a model that is compiled", "model", model)
    rebuilt = Rebuilt(plan.removal)
    small = finished(model, rebuilt)
    found = compare(model, small, examples)
    if not found.within_rounding:
        raise RuntimeError(
            f"The compacted model computes something else: its outputs differ by {found.largest:.1e} of the largest "
            f"one. Rounding makes at most {found.limit:.0e}. Your model is unchanged. This is a fault of tf_reg, or of "
            "Keras on this backend: please report it."
        )
    if not found.checks:
        warnings.warn(
            f"tf_reg.compact could not check the new model: {found.reasons}. Give it some inputs: compact(model, "
            "examples=...).",
            stacklevel=2,
        )
    if keep_optimizer:
        carry_optimizer(model, small, plan.removal, rebuilt.variables)
    return small
