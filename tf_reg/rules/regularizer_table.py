"""The regularizers that a model's weights have: which, where they act, and whether a saved model has them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras

from tf_reg._text_table import aligned
from tf_reg.penalties.coupled import ChannelMember
from tf_reg.penalties.stand_in import OutOfGradient, unwrapped
from tf_reg.rules.weights import losses, weights_of


@dataclasses.dataclass(frozen=True)
class RegularizedWeight:
    """A weight that has a regularizer.

    Attributes:
        path: The path of its layer and its own name: `"encoder/dense/kernel"`.
        shape: Its shape.
        regularizer: Its regularizer.
        acts_in: Who makes the weight smaller: `"loss"`, `"proximal step"`, or `"nothing (frozen)"`.
        saved: Whether a saved file and a clone have the regularizer too: whether a layer that is made from the config
            has it.
    """

    path: str
    shape: tuple[int, ...]
    regularizer: Any
    acts_in: str
    saved: bool


@dataclasses.dataclass(frozen=True)
class RegularizerTable:
    """What `tf_reg.regularizers_of` found; print it for a table.

    Attributes:
        weights: The weights that have a regularizer, in the order of the model's layers.
        of: How many weights there are, with regularizer or without.
    """

    weights: list[RegularizedWeight]
    of: int

    def __str__(self) -> str:
        head = ["variable", "shape", "regularizer", "acts in", "saved"]
        body = [
            [one.path, str(one.shape), _words(one.regularizer), one.acts_in, "yes" if one.saved else "no"]
            for one in self.weights
        ]
        lines = aligned([head, *body], words=len(head))
        rule = "-" * max(map(len, lines))
        sizes = sum(math.prod(one.shape) for one in self.weights)
        total = f"{len(self.weights)} of {self.of} variables, {sizes:,} weights"
        return "\n".join([lines[0], rule, *lines[1:], rule, total])


def regularizers_of(model: keras.Layer) -> RegularizerTable:
    """List the regularizers of a model's weights: which, where they act, and whether a saved model has them.

    Use it to see what `tf_reg.regularize` did, and what a model brings from elsewhere. Penalties of activities
    (`activity_regularizer`) and those of `add_loss` belong to no weight and aren't in it.

    Args:
        model: A built Keras model or layer.

    Raises:
        ValueError: The model isn't built.

    Example:

    >>> dense = keras.layers.Dense(2, kernel_regularizer="l2", name="dense")
    >>> model = keras.Sequential([keras.Input((3,)), dense])
    >>> print(tf_reg.regularizers_of(model))
    variable      shape   regularizer  acts in  saved
    -------------------------------------------------
    dense/kernel  (3, 2)  L2(l2=0.01)  loss     yes
    -------------------------------------------------
    1 of 2 variables, 6 weights
    """
    weights = weights_of(model)
    found = [(weight, unwrapped(weight.variable.regularizer)) for weight in weights]
    found = [(weight, regularizer) for weight, regularizer in found if regularizer is not None]
    lost = losses(model, found, {})
    trained = {id(variable) for variable in model.trainable_variables}
    rows = [
        RegularizedWeight(
            weight.path,
            tuple(weight.variable.shape),
            regularizer,
            _acts_in(weight.variable, trained, model),
            lost is not None and not lost[number],
        )
        for number, (weight, regularizer) in enumerate(found)
    ]
    return RegularizerTable(rows, len(weights))


def _acts_in(variable: Any, trained: set[int], model: keras.Layer) -> str:
    if id(variable) not in trained:
        return "nothing (frozen)"
    regularizer = variable.regularizer
    return "proximal step" if isinstance(regularizer, OutOfGradient) and regularizer.held(model) else "loss"


def _words(regularizer: Any) -> str:
    """A regularizer as its class and its arguments; the part of a weight as the penalty of its channels."""
    if isinstance(regularizer, ChannelMember):
        regularizer = regularizer.rule
    name = getattr(regularizer, "__name__", type(regularizer).__name__)
    config = regularizer.get_config() if isinstance(regularizer, keras.Regularizer) else {}
    values = [f"{key}={value:g}" if isinstance(value, float) else f"{key}={value!r}" for key, value in config.items()]
    return f"{name}({', '.join(values)})" if values else name
