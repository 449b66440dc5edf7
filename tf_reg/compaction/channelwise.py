"""What layers do that make each channel from the channel of the same number: activations, pooling, noise."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import activations, layers, ops

from tf_reg._keras import Call, application_layers
from tf_reg.compaction.analysis import Analysis
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
    *application_layers("convnext", "StochasticDepth"),
)
_POOLING = (
    *("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling"),
    *("AdaptiveMaxPooling", "AdaptiveAveragePooling"),  # not in every Keras
    *("UpSampling", "ZeroPadding", "Cropping"),
)
CHANNELWISE = (
    *(layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Identity, layers.ActivityRegularization, layers.RepeatVector),
    *(getattr(layers, name + rank) for name in _POOLING for rank in ("1D", "2D", "3D") if hasattr(layers, name + rank)),
)
Rule = Callable[[Analysis, Call], Sequence[Channels | None] | None]  # None: nothing is known, all channels stay

_NAMES = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "softplus", "softsign", "tanh", "sigmoid"),
    *("hard_sigmoid", "hard_silu", "exponential", "linear", "mish", "log_sigmoid", "tanh_shrink", "soft_shrink"),
    *("hard_shrink", "hard_tanh", "squareplus", "threshold", "sparse_plus", "sparse_sigmoid"),
)
ELEMENTWISE = {getattr(activations, name) for name in _NAMES if hasattr(activations, name)}  # not all in every Keras
ACROSS = {activations.softmax, activations.log_softmax}  # along the last axis


def array(variable: Any) -> np.ndarray:
    """Return the numbers of a variable in float64."""
    return ops.convert_to_numpy(variable.value).astype("float64")


def own(layer: Any) -> dict[str, Any]:
    """Return the variables of a layer by their names."""
    return {variable.name: variable for variable in layer.variables}


def channel_axis(layer: Any, tensor: keras.KerasTensor) -> int:
    """Return the axis of the channels for a layer with a data format."""
    return len(tensor.shape) - 1 if layer.data_format == "channels_last" else 1


def apply_activation(function: Any, constants: np.ndarray, dtype: str) -> np.ndarray:
    """Return constants after an activation of single numbers, of the shape of `constants`."""
    flat = Channels(1, np.arange(len(constants)), constants)
    return constants_after(function, flat, (None, len(constants)), 1, dtype)


def activated(layer: Any, made: Channels, analysis: Analysis) -> Channels:
    """Return the channels after the activation that a layer has within it.

    Args:
        layer: The layer.
        made: The channels before the activation, along the last axis or another one.
        analysis: What is known of the model so far.
    """
    function = layer.activation
    if function not in ELEMENTWISE:
        analysis.keep_ids(made.ids, f"{layer.name} (activation {getattr(function, '__name__', function)})")
        return made.with_constants(np.full(len(made.ids), np.nan))
    return made.with_constants(apply_activation(function, made.constants, layer.compute_dtype))


def channelwise(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Each channel of the result is made from the channel of the same number, without weights.

    Args:
        analysis: What is known of the model so far.
        call: The call of the layer.
    """
    layer, tensor = call.operation, call.inputs[0]
    channels = analysis.of(tensor)
    if channels is None or len(call.inputs) != 1:
        return None
    if hasattr(layer, "data_format") and channels.axis != channel_axis(layer, tensor):
        return None
    noise = getattr(layer, "noise_shape", None)
    if noise is not None and noise[channels.axis] not in (None, 1):
        return None
    axis = _axis_after(layer, channels.axis, len(call.outputs[0].shape) - len(tensor.shape))
    infer = functools.partial(layer, training=False) if type(layer) in RANDOM else layer
    return [Channels(axis, channels.ids, constants_after(infer, channels, tensor.shape, axis, tensor.dtype))]


def _axis_after(layer: Any, axis: int, more: int) -> int:
    """Where the channels lie after a layer that adds an axis, or takes all axes but that of the channels away."""
    if isinstance(layer, layers.RepeatVector):
        return 2
    return 1 if more else axis


def _activation(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    function, tensor = call.operation.activation, call.inputs[0]
    channels = analysis.of(tensor)
    if function in ACROSS and channels is not None and channels.axis == len(tensor.shape) - 1:
        return None
    return channelwise(analysis, call) if function in ELEMENTWISE | ACROSS else None


def _softmax(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """A softmax along other axes than that of the channels. What it makes of constants depends on a mask."""
    channels, rank = analysis.of(call.inputs[0]), len(call.inputs[0].shape)
    axis = call.operation.axis
    axes = {number % rank for number in (axis if isinstance(axis, (list, tuple)) else [axis])}
    if channels is None or channels.axis in axes or len(call.inputs) != 1:
        return None
    return [channels.with_constants(np.full(len(channels.ids), np.nan))]


def _prelu(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    results = channelwise(analysis, call)
    if results is not None and results[0] is not None:
        alpha, place = call.operation.alpha, results[0].axis - 1
        if alpha.shape[place] != 1:
            analysis.slice(alpha, place, results[0].ids)
    return results


def _rescaling(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer = call.operation
    return None if np.ndim(layer.scale) or np.ndim(layer.offset) else channelwise(analysis, call)


def _layer_scale(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """ConvNeXt's product with a number for each channel, along the last axis."""
    layer, channels = call.operation, analysis.of(call.inputs[0])
    if channels is None or channels.axis != len(call.inputs[0].shape) - 1:
        return None
    analysis.slice(layer.gamma, 0, channels.ids)
    analysis.setting(layer, "projection_dim", None, channels.ids)
    gamma = array(layer.gamma)
    return [channels.with_constants(np.where(gamma == 0, 0.0, gamma * channels.constants))]


RULES: dict[Any, Rule] = {
    layers.Activation: _activation,
    layers.Softmax: _softmax,
    layers.PReLU: _prelu,
    layers.Rescaling: _rescaling,
    **dict.fromkeys(application_layers("convnext", "LayerScale"), _layer_scale),
    **dict.fromkeys(CHANNELWISE, channelwise),
    **dict.fromkeys((*RANDOM, "tf_reg>StochasticDepth", "tf_reg>DropBlock2D"), channelwise),
}
