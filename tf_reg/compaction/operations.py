"""What operations of `keras.ops` in a functional model do with channels, beside those that layers do too."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import tree

from tf_reg._backend import Tensor
from tf_reg._keras import Call
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.channelwise import Rule
from tf_reg.compaction.merging import operation
from tf_reg.compaction.moves import moving
from tf_reg.compaction.probe import constants_after

SINGLE = (  # of one tensor and numbers
    *("Relu", "Relu6", "Sigmoid", "SparseSigmoid", "Softplus", "Softsign", "SoftShrink", "SparsePlus", "Silu"),
    *("Squareplus", "LogSigmoid", "LeakyRelu", "HardSigmoid", "HardSilu", "Elu", "Selu", "Gelu", "Celu", "TanhShrink"),
    *("HardTanh", "HardShrink", "Threshold", "Tanh", "Exp", "Expm1", "Log1p", "Absolute", "Sqrt"),
    *("Square", "Negative", "Clip", "Sign", "Sin", "Cos", "Erf", "Round", "Floor", "Ceil"),
    *("Cast", "StopGradient", "Copy"),
)
REDUCTIONS = ("Mean", "Max", "Min", "Amax", "Amin", "Sum")


def _single(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """An operation on one tensor that makes each number from the number at the same place."""
    own = [getattr(call.operation, name, None) for name in ("x_min", "x_max")]  # bounds that may be arrays
    others = [value for value in tree.flatten((call.args, call.kwargs)) if value is not call.inputs[0]]
    channels = analysis.of(call.inputs[0])
    if channels is None or len(call.inputs) != 1 or any(np.ndim(value) for value in others + own):
        return None
    return [_probed(call, channels, channels.axis)]


def _probed(call: Call, channels: Channels, axis: int) -> Channels:
    """The channels after a call that makes each from the channel of the same number."""
    [tensor] = call.inputs

    def apply(value: Tensor) -> Tensor:
        args, kwargs = tree.map_structure(lambda x: value if x is tensor else x, (call.args, call.kwargs))
        return call.operation(*args, **kwargs)

    return Channels(axis, channels.ids, constants_after(apply, channels, tensor.shape, axis, tensor.dtype))


def _undefined_at_zero(rule: Rule, analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """An operation that isn't finite where some of its numbers are zero."""
    for tensor in call.inputs:
        analysis.keep_from_zero(analysis.of(tensor))
    return rule(analysis, call)


def _softmax(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Softmax along another axis than that of the channels."""
    axis, channels = call.operation.axis, analysis.of(call.inputs[0])
    if axis is None or channels is None or channels.axis in _positive(axis, len(call.inputs[0].shape)):
        return None
    return _single(analysis, call)


def _positive(axis: Any, rank: int) -> list[int]:
    """The numbers of axes, from 0."""
    return [int(number) % rank for number in (axis if isinstance(axis, (list, tuple)) else [axis])]


def _reduction(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """A mean, a sum or an extreme over axes that aren't those of the examples and the channels."""
    reduced, shape = call.operation.axis, call.inputs[0].shape
    channels = analysis.of(call.inputs[0])
    if channels is None or len(call.inputs) != 1 or reduced is None:
        return None
    axes = _positive(reduced, len(shape))
    if {0, channels.axis} & set(axes):
        return None
    axis = channels.axis - (0 if call.operation.keepdims else sum(number < channels.axis for number in axes))
    return [_probed(call, channels, axis)]


def _get_item(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Indices and slices of other axes than those of the examples and the channels."""
    channels = analysis.of(call.inputs[0])
    key = call.args[1] if len(call.args) > 1 else call.kwargs["key"]
    key = key if isinstance(key, tuple) else (key,)
    if channels is None or len(call.inputs) != 1 or not all(_plain(part) for part in key):
        return None
    rank = len(call.inputs[0].shape)
    missing = (slice(None),) * (rank - sum(part is not None and part is not Ellipsis for part in key))
    place = next((number for number, part in enumerate(key) if part is Ellipsis), len(key))
    key = (*key[:place], *missing, *key[place + 1 :])
    axis = made = 0
    for part in key:
        if axis in (0, channels.axis) and part is not None and part != slice(None):
            return None
        if axis == channels.axis and part is not None:
            return [Channels(made, channels.ids, channels.constants)] if key[0] is not None else None
        axis += part is not None
        made += not isinstance(part, int)
    return None


def _plain(part: Any) -> bool:
    return part is None or part is Ellipsis or (isinstance(part, (int, slice)) and not isinstance(part, bool))


def _stack(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Tensors of the same channels, one beside the other along a new axis."""
    found = [analysis.of(tensor) for tensor in call.inputs]
    parts = [channels for channels in found if channels is not None]
    new = call.operation.axis % len(call.outputs[0].shape)
    if len(parts) != len(found) or len({channels.axis for channels in parts}) != 1 or new == 0:
        return None
    for part in parts[1:]:
        analysis.labels.join(parts[0].ids, part.ids)
    equal = functools.reduce(np.logical_and, [part.constants == parts[0].constants for part in parts])
    axis = parts[0].axis + (new <= parts[0].axis)
    return [Channels(axis, parts[0].ids, np.where(equal, parts[0].constants, np.nan))]


def _reshape(call: Call) -> Any:
    before, after = call.inputs[0].shape, call.outputs[0].shape
    shape = call.operation.newshape
    if None in before[1:] or None in after[1:] or isinstance(shape, int) or shape[0] not in (-1, None, before[0]):
        return None
    whole = math.prod(before[1:]) == math.prod(after[1:])  # the first axis is still that of the examples
    return (lambda places: places.reshape(after[1:])) if whole else None


def _transpose(call: Call) -> Any:
    axes = call.operation.axes
    if axes is None or axes[0] != 0:
        return None
    return lambda places: places.transpose([axis % len(axes) - 1 for axis in axes[1:]])


def _moveaxis(call: Call) -> Any:
    rank = len(call.inputs[0].shape)
    pair = [_positive(axis, rank) for axis in (call.operation.source, call.operation.destination)]
    if 0 in pair[0] + pair[1]:
        return None
    source, destination = ([axis - 1 for axis in axes] for axes in pair)
    return lambda places: np.moveaxis(places, source, destination)


def _swapaxes(call: Call) -> Any:
    rank = len(call.inputs[0].shape)
    one, other = call.operation.axis1 % rank, call.operation.axis2 % rank
    return None if 0 in (one, other) else lambda places: np.swapaxes(places, one - 1, other - 1)


def _expand_dims(call: Call) -> Any:
    axes = _positive(call.operation.axis, len(call.outputs[0].shape))
    return None if 0 in axes else lambda places: np.expand_dims(places, [axis - 1 for axis in axes])


def _squeeze(call: Call) -> Any:
    if call.operation.axis is None:
        return None
    axes = _positive(call.operation.axis, len(call.inputs[0].shape))
    return None if 0 in axes else lambda places: np.squeeze(places, tuple(axis - 1 for axis in axes))


def _divided(values: Sequence[np.ndarray]) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        result = values[0] / values[1]
    return np.where(np.isfinite(result), result, np.nan)


def _unknown(values: Sequence[np.ndarray]) -> np.ndarray:
    return np.full(len(values[0]), np.nan)


_MOVES = {
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Moveaxis": _moveaxis,
    "Swapaxes": _swapaxes,
    "ExpandDims": _expand_dims,
    "Squeeze": _squeeze,
}
RULES: dict[str, Rule] = {
    **dict.fromkeys(SINGLE, _single),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(("Log", "Rsqrt", "Reciprocal"), functools.partial(_undefined_at_zero, _single)),
    **dict.fromkeys(
        ("Divide", "TrueDivide"), functools.partial(_undefined_at_zero, functools.partial(operation, _divided))
    ),
    "Power": functools.partial(_undefined_at_zero, functools.partial(operation, _unknown)),
    "GetItem": _get_item,
    "Stack": _stack,
    **{name: functools.partial(moving, move) for name, move in _MOVES.items()},
}
