"""What each class of layers does with channels: one rule a class."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import activations, layers, ops

from tf_reg._keras import Call
from tf_reg.compaction.analysis import Analysis, Read
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.probe import constants_after

RANDOM = (
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
)
CHANNELWISE = (
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Identity,
    layers.ActivityRegularization,
    *(
        getattr(layers, name + rank)
        for rank in ("1D", "2D", "3D")
        for name in ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling")
    ),
    *(
        getattr(layers, name + rank)
        for rank in ("1D", "2D", "3D")
        for name in ("UpSampling", "ZeroPadding", "Cropping")
    ),
)
Rule = Callable[[Analysis, Call], Sequence[Channels | None] | None]  # None: nothing is known, all channels stay

_NAMES = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "softplus", "softsign", "tanh", "sigmoid"),
    *("hard_sigmoid", "hard_silu", "exponential", "linear", "mish", "log_sigmoid", "tanh_shrink", "soft_shrink"),
    *("hard_shrink", "hard_tanh", "squareplus", "threshold", "sparse_plus", "sparse_sigmoid"),
)
ELEMENTWISE = {getattr(activations, name) for name in _NAMES if hasattr(activations, name)}  # not all in every Keras


def _array(variable: Any) -> np.ndarray:
    return ops.convert_to_numpy(variable.value).astype("float64")


def _own(call: Call) -> dict[str, Any]:
    """The variables of a layer by their names."""
    return {variable.name: variable for variable in call.operation.variables}


def _activated(layer: Any, made: Channels, analysis: Analysis) -> Channels:
    """The channels after the activation that a layer has within it."""
    function = layer.activation
    if function not in ELEMENTWISE:
        analysis.keep_ids(made.ids, f"{layer.name} (activation {getattr(function, '__name__', function)})")
        return made.with_constants(np.full(len(made.ids), np.nan))
    flat = Channels(1, made.ids, made.constants)
    return made.with_constants(constants_after(function, flat, (None, len(made.ids)), 1, layer.compute_dtype))


def _kernel(
    analysis: Analysis, call: Call, channels: Channels, kernel: Any, ends: tuple[int, int], bordered: bool
) -> Channels:
    """A kernel that reads all channels and makes new ones: dense layers and convolutions.

    Args:
        analysis: What is known of the model so far.
        call: The call of the layer.
        channels: The channels that it reads.
        kernel: The variable.
        ends: The axes of the kernel along which the inputs and the outputs lie.
        bordered: Whether zeros are added around the input, or positions get different numbers of weights.
    """
    layer = call.operation
    inputs, outputs = (end % len(kernel.shape) for end in ends)
    analysis.slice(kernel, inputs, channels.ids)
    made = analysis.slice(kernel, outputs)
    values = np.moveaxis(ops.convert_to_numpy(kernel.value), (inputs, outputs), (0, 1))
    values = values.reshape(len(channels.ids), len(made), -1)
    foldable = ~np.isnan(channels.constants) & ((channels.constants == 0) | (not bordered))
    analysis.reads.append(Read(layer, kernel, inputs, outputs, channels, foldable))
    constants = channels.constants[foldable] @ values[foldable].sum(axis=2, dtype="float64")
    constants = np.where((values != 0).any(axis=2)[~foldable].any(axis=0), np.nan, constants)
    return _activated(layer, _with_bias(analysis, call, Channels(channels.axis, made, constants)), analysis)


def _dense(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer = call.operation
    if layer.quantization_mode or layer.lora_enabled:
        return None
    channels = analysis.of(call.inputs[0])
    if channels is None or channels.axis != len(call.inputs[0].shape) - 1:
        return None
    made = _kernel(analysis, call, channels, layer.kernel, (0, 1), bordered=False)
    analysis.widths[id(layer)] = {"units": made.ids}
    return [made]


def _axis(layer: Any, tensor: keras.KerasTensor) -> int:
    return len(tensor.shape) - 1 if layer.data_format == "channels_last" else 1


def _bordered(layer: Any) -> bool:
    """Whether a convolution adds zeros around its input that some of its weights meet."""
    return layer.padding != "valid" and any(size > 1 for size in layer.kernel_size)


def _conv(analysis: Analysis, call: Call, transposed: bool = False) -> Sequence[Channels | None] | None:
    layer = call.operation
    channels = analysis.of(call.inputs[0])
    if getattr(layer, "lora_enabled", False) or channels is None or channels.axis != _axis(layer, call.inputs[0]):
        return None
    if getattr(layer, "groups", 1) != 1:
        return _one_channel_a_group(analysis, call)
    bordered = transposed or _bordered(layer)
    ends = (-1, -2) if transposed else (-2, -1)
    made = _kernel(analysis, call, channels, layer.kernel, ends, bordered)
    analysis.widths[id(layer)] = {"filters": made.ids}
    return [made]


def _through_depthwise(layer: Any, kernel: Any, channels: Channels) -> Channels:
    """The channels after a kernel that makes each channel from one, of the shape `(*sizes, channels, multiplier)`."""
    multiplier = math.prod(kernel.shape) // math.prod(kernel.shape[: len(layer.kernel_size)]) // len(channels.ids)
    values = _array(kernel).reshape(-1, len(channels.ids) * multiplier)
    ids, before = np.repeat(channels.ids, multiplier), np.repeat(channels.constants, multiplier)
    known = ~np.isnan(before) & ((before == 0) | (not _bordered(layer)))
    constants = np.where(known, np.where(known, before, 0.0) * values.sum(axis=0), np.nan)
    return Channels(channels.axis, ids, np.where((values == 0).all(axis=0), 0.0, constants))


def _with_bias(analysis: Analysis, call: Call, made: Channels) -> Channels:
    bias = _own(call).get("bias")
    if bias is None:
        return made
    analysis.slice(bias, 0, made.ids)
    return made.with_constants(made.constants + _array(bias))


def _depthwise(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer, channels = call.operation, analysis.of(call.inputs[0])
    if channels is None or channels.axis != _axis(layer, call.inputs[0]):
        return None
    analysis.slice(layer.kernel, -2, channels.ids)
    made = _with_bias(analysis, call, _through_depthwise(layer, layer.kernel, channels))
    return [_activated(layer, made, analysis)]


def _one_channel_a_group(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """A convolution with as many groups as channels: a depthwise one."""
    layer, channels = call.operation, analysis.of(call.inputs[0])
    if channels is None or channels.axis != _axis(layer, call.inputs[0]) or layer.groups != len(channels.ids):
        return None
    made = _through_depthwise(layer, layer.kernel, channels)
    analysis.slice(layer.kernel, -1, made.ids)
    analysis.widths[id(layer)] = {"filters": made.ids, "groups": channels.ids}
    return [_activated(layer, _with_bias(analysis, call, made), analysis)]


def _separable(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer, channels = call.operation, analysis.of(call.inputs[0])
    if channels is None or channels.axis != _axis(layer, call.inputs[0]):
        return None
    analysis.slice(layer.depthwise_kernel, -2, channels.ids)
    middle = _through_depthwise(layer, layer.depthwise_kernel, channels)
    made = _kernel(analysis, call, middle, layer.pointwise_kernel, (-2, -1), bordered=False)
    analysis.widths[id(layer)] = {"filters": made.ids}
    return [made]


def _batch_normalization(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer, channels = call.operation, analysis.of(call.inputs[0])
    axis = layer.axis % len(call.inputs[0].shape)
    if channels is None or channels.axis != axis or len(call.inputs) != 1:
        return None
    own = {name: _array(variable) for name, variable in _own(call).items()}
    for variable in call.operation.variables:
        analysis.slice(variable, 0, channels.ids)
    scale = own.get("gamma", 1.0) / np.sqrt(own["moving_variance"] + layer.epsilon)
    constants = (channels.constants - own["moving_mean"]) * scale
    constants = np.where(scale == 0, 0.0, constants) + own.get("beta", 0.0)
    return [channels.with_constants(constants)]


def _channelwise(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Each channel of the result is made from the channel of the same number, without weights."""
    layer, tensor = call.operation, call.inputs[0]
    channels = analysis.of(tensor)
    if channels is None or len(call.inputs) != 1:
        return None
    if hasattr(layer, "data_format") and channels.axis != _axis(layer, tensor):
        return None
    axis = channels.axis if len(call.outputs[0].shape) == len(tensor.shape) else 1
    infer = functools.partial(layer, training=False) if _takes_training(layer) else layer
    return [Channels(axis, channels.ids, constants_after(infer, channels, tensor.shape, axis, tensor.dtype))]


def _takes_training(layer: Any) -> bool:
    return isinstance(layer, RANDOM)


def _activation(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    return _channelwise(analysis, call) if call.operation.activation in ELEMENTWISE else None


def _prelu(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    results = _channelwise(analysis, call)
    if results is not None and results[0] is not None:
        alpha, place = call.operation.alpha, results[0].axis - 1
        if alpha.shape[place] != 1:
            analysis.slice(alpha, place, results[0].ids)
    return results


def _embedding(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer = call.operation
    if layer.quantization_mode or layer.lora_enabled or layer.mask_zero:
        return None
    table = layer.embeddings
    ids, values = analysis.slice(table, 1), _array(table)
    analysis.widths[id(layer)] = {"output_dim": ids}
    constants = np.where((values == values[:1]).all(axis=0), values[0], np.nan)
    return [Channels(len(call.outputs[0].shape) - 1, ids, constants)]


RULES: dict[type, Rule] = {
    layers.Dense: _dense,
    layers.Conv1D: _conv,
    layers.Conv2D: _conv,
    layers.Conv3D: _conv,
    layers.Conv1DTranspose: functools.partial(_conv, transposed=True),
    layers.Conv2DTranspose: functools.partial(_conv, transposed=True),
    layers.Conv3DTranspose: functools.partial(_conv, transposed=True),
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
    layers.BatchNormalization: _batch_normalization,
    layers.Embedding: _embedding,
    layers.Activation: _activation,
    layers.PReLU: _prelu,
    **dict.fromkeys(CHANNELWISE, _channelwise),
    **dict.fromkeys(RANDOM, _channelwise),
}
