"""What layers that only move numbers do with channels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from keras import layers

from tf_reg._keras import Call, operation_name
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.channels import Channels, moved
from tf_reg.compaction.select import SelectFeatures

Move = Callable[[np.ndarray], np.ndarray]


def moving(move_of: Callable[[Call], Move | None], analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Follow the channels through a call that only moves numbers.

    Args:
        move_of: What the call does to an array of the shape of one example; None where that isn't known.
        analysis: What is known of the model so far.
        call: The call of the layer.
    """
    channels, move = analysis.of(call.inputs[0]), move_of(call)
    result = None if channels is None or move is None else moved(channels, call.inputs[0].shape, move)
    if result is None:
        return None
    if isinstance(call.operation, layers.Reshape):
        analysis.setting(call.operation, "target_shape", result.axis - 1, result.ids)
    elif operation_name(call.operation) == "Reshape" and call.operation.newshape[result.axis] != -1:
        analysis.setting(call.operation, "newshape", result.axis, result.ids)
    return [result]


def _flatten(call: Call) -> Move | None:
    if None in call.inputs[0].shape[1:]:
        return None
    if call.operation.data_format == "channels_first":
        return lambda places: np.moveaxis(places, 0, -1).reshape(-1)
    return lambda places: places.reshape(-1)


def _reshape(call: Call) -> Move | None:
    target = call.outputs[0].shape[1:]
    if None in call.inputs[0].shape[1:] or None in target:
        return None
    return lambda places: places.reshape(target)


def _permute(call: Call) -> Move:
    return lambda places: np.transpose(places, [dimension - 1 for dimension in call.operation.dims])


def _select(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """The features with some numbers, which are other numbers when features before them are removed."""
    channels = analysis.of(call.inputs[0])
    if channels is None or channels.axis != len(call.inputs[0].shape) - 1:
        return None
    analysis.selections[id(call.operation)] = channels
    chosen = call.operation.indices
    return [Channels(channels.axis, channels.ids[chosen], channels.constants[chosen])]


RULES = {
    SelectFeatures: _select,
    layers.Flatten: functools.partial(moving, _flatten),
    layers.Reshape: functools.partial(moving, _reshape),
    layers.Permute: functools.partial(moving, _permute),
}
