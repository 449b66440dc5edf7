"""What layers with kernels do with channels: dense layers, convolutions, batch normalization, embeddings."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import layers, ops

from tf_reg._keras import Call
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.channelwise import Rule, activated, array, channel_axis, own
from tf_reg.compaction.reads import Bias, Read


def _kernel(
    analysis: Analysis,
    call: Call,
    channels: Channels,
    kernel: Any,
    ends: tuple[int, int],
    bordered: bool,
    selects: bool = False,
) -> Channels:
    """A kernel that reads all channels and makes new ones: dense layers and convolutions.

    Args:
        analysis: What is known of the model so far.
        call: The call of the layer.
        channels: The channels that it reads.
        kernel: The variable.
        ends: The axes of the kernel along which the inputs and the outputs lie.
        bordered: Whether zeros are added around the input, or positions get different numbers of weights.
        selects: Whether a selection of the channels may stand before the layer.
    """
    layer = call.operation
    inputs, outputs = (end % len(kernel.shape) for end in ends)
    analysis.slice(kernel, inputs, channels.ids)
    made = analysis.slice(kernel, outputs)
    values = np.moveaxis(ops.convert_to_numpy(kernel.value), (inputs, outputs), (0, 1))
    values = values.reshape(len(channels.ids), len(made), -1)
    foldable = ~np.isnan(channels.constants) & ((channels.constants == 0) | (not bordered))
    analysis.reads.append(Read(layer, kernel, inputs, outputs, channels, foldable, Bias((outputs,)), selects))
    constants = channels.constants[foldable] @ values[foldable].sum(axis=2, dtype="float64")
    constants = np.where((values != 0).any(axis=2)[~foldable].any(axis=0), np.nan, constants)
    return activated(layer, _with_bias(analysis, call, Channels(channels.axis, made, constants)), analysis)


def _dense(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer = call.operation
    if layer.quantization_mode or layer.lora_enabled:
        return None
    channels = analysis.along(call, len(call.inputs[0].shape) - 1)
    if channels is None:
        return None
    made = _kernel(analysis, call, channels, layer.kernel, (0, 1), bordered=False, selects=True)
    analysis.widths[id(layer)] = {"units": made.ids}
    return [made]


def _bordered(layer: Any) -> bool:
    """Whether a convolution adds zeros around its input that some of its weights meet."""
    return layer.padding != "valid" and any(size > 1 for size in layer.kernel_size)


def _conv(analysis: Analysis, call: Call, transposed: bool = False) -> Sequence[Channels | None] | None:
    layer = call.operation
    if getattr(layer, "lora_enabled", False):
        return None
    channels = analysis.along(call, channel_axis(layer, call.inputs[0]))
    if channels is None:
        return None
    if getattr(layer, "groups", 1) != 1:
        return _grouped(analysis, call, channels)
    bordered = transposed or _bordered(layer)
    ends = (-1, -2) if transposed else (-2, -1)
    made = _kernel(analysis, call, channels, layer.kernel, ends, bordered)
    analysis.widths[id(layer)] = {"filters": made.ids}
    return [made]


def _through_depthwise(layer: Any, kernel: Any, channels: Channels) -> Channels:
    """The channels after a kernel that makes each channel from one, of the shape `(*sizes, channels, multiplier)`."""
    multiplier = math.prod(kernel.shape) // math.prod(kernel.shape[: len(layer.kernel_size)]) // len(channels.ids)
    values = array(kernel).reshape(-1, len(channels.ids) * multiplier)
    ids, before = np.repeat(channels.ids, multiplier), np.repeat(channels.constants, multiplier)
    known = ~np.isnan(before) & ((before == 0) | (not _bordered(layer)))
    constants = np.where(known, np.where(known, before, 0.0) * values.sum(axis=0), np.nan)
    return Channels(channels.axis, ids, np.where((values == 0).all(axis=0), 0.0, constants))


def _with_bias(analysis: Analysis, call: Call, made: Channels) -> Channels:
    bias = own(call.operation).get("bias")
    if bias is None:
        return made
    analysis.slice(bias, 0, made.ids)
    return made.with_constants(made.constants + array(bias))


def _depthwise(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer, channels = call.operation, analysis.along(call, channel_axis(call.operation, call.inputs[0]))
    if channels is None:
        return None
    analysis.slice(layer.kernel, -2, channels.ids)
    made = _with_bias(analysis, call, _through_depthwise(layer, layer.kernel, channels))
    return [activated(layer, made, analysis)]


def _grouped(analysis: Analysis, call: Call, channels: Channels) -> Sequence[Channels | None] | None:
    """A convolution with groups. All inputs and outputs of a group go together, so that groups stay of one size."""
    layer = call.operation
    if layer.groups == len(channels.ids):
        return _one_channel_a_group(analysis, call, channels)
    inputs = channels.ids.reshape(layer.groups, -1)
    analysis.labels.join(np.repeat(inputs[:, :1], inputs.shape[1], axis=1), inputs)
    ids = np.repeat(inputs[:, 0], layer.filters // layer.groups)
    analysis.slice(layer.kernel, -1, ids)
    analysis.widths[id(layer)] = {"filters": ids}
    analysis.setting(layer, "groups", None, inputs[:, 0])
    made = Channels(channels.axis, ids, _constants_of_groups(layer, channels.constants))
    return [activated(layer, _with_bias(analysis, call, made), analysis)]


def _constants_of_groups(layer: Any, constants: np.ndarray) -> np.ndarray:
    """What the kernel of a convolution with groups makes of constants, of the shape `(filters,)`."""
    values = array(layer.kernel).reshape(-1, layer.kernel.shape[-2], layer.groups, layer.filters // layer.groups)
    known = ~np.isnan(constants) & ((constants == 0) | (not _bordered(layer)))
    known, inputs = known.reshape(layer.groups, -1), np.where(known, constants, 0.0).reshape(layer.groups, -1)
    made = np.einsum("gi,pigo->go", inputs, values)
    unread = ((values == 0).all(axis=0) | known.T[:, :, None]).all(axis=0)
    return np.where(unread, made, np.nan).ravel()


def _one_channel_a_group(analysis: Analysis, call: Call, channels: Channels) -> Sequence[Channels | None] | None:
    """A convolution with as many groups as channels: a depthwise one."""
    layer = call.operation
    made = _through_depthwise(layer, layer.kernel, channels)
    analysis.slice(layer.kernel, -1, made.ids)
    analysis.widths[id(layer)] = {"filters": made.ids}
    analysis.setting(layer, "groups", None, channels.ids)
    return [activated(layer, _with_bias(analysis, call, made), analysis)]


def _separable(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer, channels = call.operation, analysis.along(call, channel_axis(call.operation, call.inputs[0]))
    if channels is None:
        return None
    analysis.slice(layer.depthwise_kernel, -2, channels.ids)
    middle = _through_depthwise(layer, layer.depthwise_kernel, channels)
    made = _kernel(analysis, call, middle, layer.pointwise_kernel, (-2, -1), bordered=False)
    analysis.widths[id(layer)] = {"filters": made.ids}
    return [made]


def _batch_normalization(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer = call.operation
    if len(call.inputs) != 1 or (channels := analysis.along(call, layer.axis % len(call.inputs[0].shape))) is None:
        return None
    weights = {name: array(variable) for name, variable in own(layer).items()}
    for variable in call.operation.variables:
        analysis.slice(variable, 0, channels.ids)
    scale = weights.get("gamma", 1.0) / np.sqrt(weights["moving_variance"] + layer.epsilon)
    constants = (channels.constants - weights["moving_mean"]) * scale
    if call.kwargs.get("training"):  # a constant is its own mean, but not to the last digit
        constants = np.full(len(channels.ids), np.nan)
    constants = np.where(scale == 0, 0.0, constants) + weights.get("beta", 0.0)
    return [channels.with_constants(constants)]


def _embedding(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer = call.operation
    if layer.quantization_mode or layer.lora_enabled:
        return None
    analysis.keep(analysis.of(call.inputs[0]), f"{layer.name} (Embedding)")
    table = layer.embeddings
    ids, values = analysis.slice(table, 1), array(table)
    analysis.widths[id(layer)] = {"output_dim": ids}
    constants = np.where((values == values[:1]).all(axis=0), values[0], np.nan)
    return [Channels(len(call.outputs[0].shape) - 1, ids, constants)]


RULES: dict[Any, Rule] = {
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
}
