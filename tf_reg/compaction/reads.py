"""Who reads channels: the kernels, with the biases that can take constants over, and the calls that they are in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import tree

from tf_reg._keras import Call, operation_name
from tf_reg.compaction.channels import Channels


@dataclasses.dataclass(frozen=True)
class Bias:
    """How a layer's bias takes over constants that its kernel doesn't read any more.

    Args:
        axes: For each axis of the bias, the axis of the kernel that lies along it; None where each place of the bias
            gets the same.
        parts: Into how many parts the bias falls, along one more axis before these; the first part takes constants
            over. 0 for a bias without parts.
        settings: The settings of the layer that make a bias where there is none.
    """

    axes: tuple[int | None, ...]
    parts: int = 0
    settings: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"use_bias": True})


@dataclasses.dataclass(frozen=True)
class Read:
    """A kernel reads the channels of a tensor.

    Args:
        layer: The layer whose settings make the kernel and its bias.
        kernel: Its variable.
        inputs: The axis of the kernel along which the channels of the tensor lie.
        outputs: The axis along which the channels lie that it makes.
        channels: The channels of the tensor.
        foldable: Where a constant of the tensor is the same number at each position of the result, so that the bias can
            take it over. Boolean, a value for each channel.
        bias: How the bias takes it over; None where all constants that are foldable are 0.
        selects: Whether a selection of the channels may stand before the layer.
    """

    layer: keras.Layer
    kernel: keras.Variable
    inputs: int
    outputs: int
    channels: Channels
    foldable: np.ndarray
    bias: Bias | None = None
    selects: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """The kernel and its axis: the same for all calls of the layer."""
        return id(self.kernel), self.inputs


@dataclasses.dataclass(frozen=True)
class Graph:
    """A functional model: the whole one, or one within it.

    Args:
        model: The model.
        calls: Its calls, in an order in which each has what it needs.
        inputs: The channels of its inputs in the first call of the model.
    """

    model: keras.Function
    calls: list[Call]
    inputs: list[Channels | None]


def without_masks(call: Call) -> tuple[Call, list[keras.KerasTensor]]:
    """Return a call without the symbolic masks among its inputs, and these masks."""
    masks = [mask for mask in tree.flatten(call.kwargs.get("mask")) if isinstance(mask, keras.KerasTensor)]
    others = {id(value) for value in tree.flatten((call.args, {**call.kwargs, "mask": None}))}
    hidden = {id(mask) for mask in masks} - others
    return call._replace(inputs=[tensor for tensor in call.inputs if id(tensor) not in hidden]), masks


def takes_arrays(call: Call) -> bool:
    """Return whether a call has numbers along axes that no rule looks at. Indices are no such numbers."""
    if operation_name(call.operation) == "GetItem":
        return False
    given = [value for value in tree.flatten((call.args, call.kwargs)) if not isinstance(value, keras.KerasTensor)]
    return any(getattr(value, "shape", ()) != () for value in given)
