"""Convolutions in groups, as several plain ones: TensorFlow has no kernel for them on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

_CALLS = [kind.call for kind in (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)]


def is_grouped(layer: keras.Layer) -> bool:
    """Whether a layer does what a convolution of Keras does, and in more than one group."""
    return type(layer).call in _CALLS and getattr(layer, "groups", 1) > 1


def called(layer: Any) -> Callable[[Any], Any]:
    """Return a `call` for the layer that computes the same without XLA.

    Args:
        layer: A convolution with several groups.
    """

    def call(inputs: Any) -> Any:
        before = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
        if layer.padding == "causal":
            inputs = ops.pad(inputs, [[before if axis == _steps(layer) else 0, 0] for axis in range(3)])
        outputs = _convolved(layer, inputs, layer.kernel)
        if layer.use_bias:
            shape = [1] * (layer.rank + 2)
            shape[_channels(layer)] = layer.filters
            outputs = ops.add(outputs, ops.reshape(layer.bias, shape))
        return outputs if layer.activation is None else layer.activation(outputs)

    return call


def _convolved(layer: Any, inputs: Any, kernel: Any) -> Any:
    """Convolve each part of the channels with its own filters; a depthwise convolution where a part is one channel."""
    padding = "valid" if layer.padding == "causal" else layer.padding
    options = {"padding": padding, "data_format": layer.data_format, "dilation_rate": layer.dilation_rate}
    if _is_depthwise(layer, kernel):
        shape = (*kernel.shape[:-2], layer.groups, kernel.shape[-1] // layer.groups)
        return ops.depthwise_conv(inputs, ops.reshape(kernel, shape), layer.strides, **options)
    parts = zip(ops.split(inputs, layer.groups, _channels(layer)), ops.split(kernel, layer.groups, -1), strict=True)
    return ops.concatenate([ops.conv(part, own, layer.strides, **options) for part, own in parts], _channels(layer))


def _is_depthwise(layer: Any, kernel: Any) -> bool:
    """Whether each group is one channel, and TensorFlow's depthwise convolution takes the layer's options."""
    plain = layer.rank == 2 and len(set(layer.strides)) == 1 and layer.data_format == "channels_last"
    dilated = max(layer.dilation_rate) > 1
    return kernel.shape[-2] == 1 and plain and not (dilated and max(layer.strides) > 1)


def _channels(layer: Any) -> int:
    return -1 if layer.data_format == "channels_last" else 1


def _steps(layer: Any) -> int:
    return 1 if layer.data_format == "channels_last" else 2
