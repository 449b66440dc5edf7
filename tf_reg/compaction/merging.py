"""What layers and operations that combine several tensors do with channels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import layers, tree

from tf_reg._backend import Tensor
from tf_reg._keras import Call, application_layers
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.probe import constants_after

Numbers = Callable[[Sequence[np.ndarray]], np.ndarray]


def total(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the sum of constants."""
    return functools.reduce(np.add, values)


def average(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of constants."""
    return np.mean(values, axis=0)


def product(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the product of constants: zero where a factor is, whatever the others are."""
    result = functools.reduce(np.multiply, values)
    return np.where(functools.reduce(np.logical_or, [value == 0 for value in values]), 0.0, result)


def elementwise(combine: Numbers, analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Join the channels of the same number of all inputs. A single channel that all others meet must stay.

    Args:
        combine: What the operation does with constants.
        analysis: What is known of the model so far.
        call: The call of the layer or operation.
    """
    rank = len(call.outputs[0].shape)
    found = [(tensor, analysis.of(tensor)) for tensor in call.inputs]
    inputs = [(tensor, channels) for tensor, channels in found if channels is not None]
    axes = {channels.axis + rank - len(tensor.shape) for tensor, channels in inputs}
    if len(axes) != 1 or len(inputs) < len(found):
        return None
    axis = axes.pop()
    size = call.outputs[0].shape[axis]
    whole = [channels for _, channels in inputs if len(channels.ids) == size]
    values = []
    for _, channels in inputs:
        if len(channels.ids) == size:
            analysis.labels.join(whole[0].ids, channels.ids)
        else:
            analysis.keep(channels, f"{call.operation.name} (one channel beside {size})")
        values.append(np.broadcast_to(channels.constants, (size,)))
    return [Channels(axis, whole[0].ids, combine(values))]


def _scaled(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """The residual addition of InceptionResNetV2: `x + scale * y`, with one number as the scale."""
    return elementwise(lambda values: values[0] + call.operation.scale * values[1], analysis, call)


def operation(combine: Numbers, analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """An operation of `keras.ops` on two tensors, or on a tensor and a number.

    Args:
        combine: What the operation does with constants.
        analysis: What is known of the model so far.
        call: The call of the operation.
    """
    if len(call.inputs) == 2:
        return elementwise(combine, analysis, call)
    [tensor], channels = call.inputs, analysis.of(call.inputs[0])
    others = [value for value in tree.flatten((call.args, call.kwargs)) if value is not tensor]
    if channels is None or any(np.ndim(value) for value in others):
        return None

    def apply(value: Tensor) -> Tensor:
        args, kwargs = tree.map_structure(lambda x: value if x is tensor else x, (call.args, call.kwargs))
        return call.operation(*args, **kwargs)

    return [channels.with_constants(constants_after(apply, channels, tensor.shape, channels.axis, tensor.dtype))]


def concatenated(parts: Sequence[Channels]) -> Channels:
    """Return the channels of all parts, one after the other."""
    ids, constants = ([getattr(part, name) for part in parts] for name in ("ids", "constants"))
    return Channels(parts[0].axis, np.concatenate(ids), np.concatenate(constants))


def concatenate(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Put the channels of all inputs one after the other, or join them where another axis is put together.

    Args:
        analysis: What is known of the model so far.
        call: The call of the layer.
    """
    found = [analysis.of(tensor) for tensor in call.inputs]
    parts = [channels for channels in found if channels is not None]
    axes = {channels.axis for channels in parts}
    if len(parts) != len(found) or len(axes) != 1:
        return None
    axis = call.operation.axis % len(call.outputs[0].shape)
    if axes == {axis}:
        return [concatenated(parts)]
    for part in parts[1:]:
        analysis.labels.join(parts[0].ids, part.ids)
    equal = functools.reduce(np.logical_and, [part.constants == parts[0].constants for part in parts])
    return [parts[0].with_constants(np.where(equal, parts[0].constants, np.nan))]


MERGES: dict[type, Numbers] = {
    layers.Add: total,
    layers.Subtract: functools.partial(functools.reduce, np.subtract),
    layers.Multiply: product,
    layers.Average: average,
    layers.Maximum: functools.partial(functools.reduce, np.maximum),
    layers.Minimum: functools.partial(functools.reduce, np.minimum),
}
OPERATIONS = (layers.Add, layers.Subtract, layers.Multiply, layers.Maximum, layers.Minimum)  # in `keras.ops` too
RULES: dict[Any, Any] = {
    **dict.fromkeys(application_layers("inception_resnet_v2", "CustomScaleLayer"), _scaled),
    **{kind: functools.partial(elementwise, numbers) for kind, numbers in MERGES.items()},
    **{kind.__name__: functools.partial(operation, MERGES[kind]) for kind in OPERATIONS},
    **dict.fromkeys((layers.Concatenate, "Concatenate"), concatenate),
}
