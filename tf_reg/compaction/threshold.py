"""A model in which small numbers are zero."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from tf_reg import _walk
from tf_reg._checks import number, require
from tf_reg.compaction.copies import copied
from tf_reg.compaction.coupled import ChannelGroup, Slice, channels, set_to_zero
from tf_reg.compaction.plan import analysed

OF = ("weights", "channels")


def threshold(model: keras.Model, value: float, of: Literal["weights", "channels"] = "weights") -> keras.Model:
    r"""Return a copy of a model in which small numbers are exactly zero. The model itself stays as it is.

    This changes the function of the model; `tf_reg.compact` then cuts out what has no effect any more, without a
    further change. Measure the copy on your validation data before you use it.

    With `of="weights"` each number `w` of a kernel or an embedding becomes zero if `|w| <= value`. Biases and batch
    normalizations stay.

    With `of="channels"` whole channels become zero, as `tf_reg.channels` finds them. The size of channel `c` in a layer
    that makes it is the root mean square of its column `k_c` of the kernel, of `n` numbers, times the scale of the
    batch normalization that follows directly, if one does:

    `size_c = sqrt(sum(k_c**2) / n) * |gamma_c| / sqrt(variance_c + epsilon)`

    If all layers that make the channel have a size of `value` or less, all of its numbers become zero: columns of
    kernels, biases, gamma and beta, depthwise kernels, and the rows that read it. Channels that something holds, such
    as the outputs of the model, stay.

    Args:
        model: A built functional or sequential model.
        value: What is still small: zero or above.
        of: `"weights"` or `"channels"`.

    Returns:
        A new model, with the names, regularizers, frozen layers and settings of `compile` of the model. Its optimizer
        starts anew.

    Raises:
        ValueError: A model that isn't built, or isn't functional or sequential; a `value` that is no number of zero or
            above; another `of`.

    Example:

    >>> first = keras.layers.Dense(3, name="first")
    >>> model = keras.Sequential([keras.Input((2,)), first, keras.layers.Dense(1, name="last")])
    >>> first.set_weights([np.array([[0.1, 0.0, 3.0], [0.1, 0.2, 4.0]]), np.ones(3)])
    >>> tf_reg.threshold(model, 0.15).layers[0].get_weights()[0].tolist()
    [[0.0, 0.0, 3.0], [0.0, 0.20000000298023224, 4.0]]
    >>> tf_reg.compact(tf_reg.threshold(model, 0.15, of="channels")).layers[0].units
    1
    """
    limit = number(value)
    require(0 <= limit < np.inf, "value is a number of zero or above", "value", value)
    require(isinstance(of, str) and of in OF, "of is 'weights' or 'channels'", "of", of)
    copy = copied(model)
    if of == "weights":
        _cut_weights(copy, limit)
    else:
        _cut_channels(copy, limit)
    return copy


def _cut_weights(model: keras.Model, limit: float) -> None:
    for weight in _walk.weights(model):
        if weight.is_kernel and weight.quantized is None:
            array = ops.convert_to_numpy(weight.variable.value)
            weight.variable.assign(np.where(np.abs(array) <= limit, np.zeros_like(array), array))


def _cut_channels(model: keras.Model, limit: float) -> None:
    scales = _scales(model)
    small = [(group, sizes(group, scales) <= limit) for group in channels(model).free]
    set_to_zero((one, chosen) for group, chosen in small for one in group.slices if one.role == "read" or one.trains)


def sizes(group: ChannelGroup, scales: dict[int, np.ndarray]) -> np.ndarray:
    """Return the size of each channel in the layer where it is largest: float64 of shape `(channels,)`.

    Args:
        group: Channels.
        scales: What multiplies the outputs of layers, by the layers' ids.
    """
    found = [_size(one, scales) for one in _kernels(group)]
    return np.maximum.reduce(found) if found else np.full(group.size, np.inf)


def _kernels(group: ChannelGroup) -> Iterator[Slice]:
    """The kernels and embeddings that make channels from others."""
    for one in group.with_role("made"):
        if one.layer.name in group.producers and one.trains and len(one.variable.shape) > 1:
            yield one


def _size(one: Slice, scales: dict[int, np.ndarray]) -> np.ndarray:
    size = np.sqrt(np.square(one.numbers().astype("float64")).mean(axis=1))
    scale = scales.get(id(one.layer), np.ones(1))
    return size * (scale[one.places].max(axis=1) if len(scale) == one.variable.shape[one.axis] else scale.max())


def _scales(model: keras.Model) -> dict[int, np.ndarray]:
    """What batch normalizations multiply the outputs of the layers right before them with, by the layers' ids."""
    analysis, found = analysed(model), dict[int, np.ndarray]()
    for graph in (analysis.graph, *analysis.graphs.values()):
        readers = defaultdict(list)
        for call in graph.calls:
            for tensor in call.inputs:
                readers[id(tensor)].append(call.operation)
        for tensor in graph.model.outputs:
            readers[id(tensor)].append(None)
        for call in graph.calls:
            layer = call.operation
            if getattr(layer, "activation", None) is keras.activations.linear:
                factors = [_scale(reader) for tensor in call.outputs for reader in readers[id(tensor)]]
                found[id(layer)] = functools.reduce(np.maximum, [*factors, found.get(id(layer), np.zeros(1))])
    return found


def _scale(reader: Any) -> np.ndarray:
    """What a layer multiplies its inputs with: 1 if it is no batch normalization."""
    if not isinstance(reader, keras.layers.BatchNormalization):
        return np.ones(1)
    gamma = ops.convert_to_numpy(reader.gamma).astype("float64") if reader.scale else 1.0
    variance = ops.convert_to_numpy(reader.moving_variance).astype("float64")
    return np.abs(gamma) / np.sqrt(variance + reader.epsilon)
