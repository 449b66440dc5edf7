"""What dense layers that are an Einstein summation do with channels."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from tf_reg._keras import Call
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.channelwise import ELEMENTWISE, Rule, activated, array
from tf_reg.compaction.probe import constants_after
from tf_reg.compaction.reads import Bias, Read


@dataclasses.dataclass(frozen=True)
class Sum:
    """An equation: the letters of the axes.

    Args:
        inputs: Of the input, with the batch axis.
        kernel: Of the kernel.
        outputs: Of the result, with the batch axis.
        bias: Of the bias; a dot where its axis has one place. Empty where there is no bias.
    """

    inputs: str
    kernel: str
    outputs: str
    bias: str

    @property
    def free(self) -> str:
        """The axes of the kernel that the result has too."""
        return "".join(letter for letter in self.kernel if letter in self.outputs)


def _parsed(layer: Any, tensor: keras.KerasTensor) -> Sum | None:
    """The equation of a layer; None for one that is no product of matrices, or where the batch isn't the first axis."""
    left, outputs = layer.equation.replace(" ", "").split("->")
    inputs, kernel = left.split(",")
    unused = [letter for letter in string.ascii_uppercase if letter not in layer.equation]
    between = "".join(unused[: len(tensor.shape) - len(inputs.replace("...", ""))])
    inputs, outputs = (part.replace("...", between) for part in (inputs, outputs))
    twice = any(len(set(part)) < len(part) for part in (inputs, kernel, outputs))
    if "." in kernel or twice or inputs[0] != outputs[0] or inputs[0] in kernel:
        return None
    if not set(inputs) <= set(kernel + outputs):  # a sum over an axis that the kernel doesn't have
        return None
    named = layer.bias_axes or ""
    first = min((outputs.index(letter) for letter in named), default=len(outputs))
    bias = "".join(letter if letter in named else "." for letter in outputs[first:])
    return Sum(inputs, kernel, outputs, bias)


def _einsum(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer, channels = call.operation, analysis.of(call.inputs[0])
    if layer.quantization_mode or layer.lora_enabled or channels is None or layer.activation not in ELEMENTWISE:
        return None
    parsed = _parsed(layer, call.inputs[0])
    if parsed is None:
        return None
    letter = parsed.inputs[channels.axis]
    made = [one for one in parsed.outputs if one not in parsed.inputs]
    if letter in parsed.outputs:
        return [_along(analysis, call, parsed, letter)]
    return [_product(analysis, call, parsed, letter, made[-1])] if made and letter in parsed.kernel else None


def _along(analysis: Analysis, call: Call, parsed: Sum, letter: str) -> Channels:
    """The channels where each of them is made from the channel of the same number."""
    layer, tensor = call.operation, call.inputs[0]
    channels = analysis.of(tensor)
    assert channels is not None
    if letter in parsed.kernel:
        axis = parsed.kernel.index(letter)
        analysis.slice(layer.kernel, axis, channels.ids)
        dead = (np.moveaxis(array(layer.kernel), axis, 0).reshape(len(channels.ids), -1) == 0).all(axis=1)
        channels = channels.with_constants(np.where(dead, 0.0, channels.constants))
    _along_outputs(analysis, layer, parsed, letter, channels.ids)
    axis = parsed.outputs.index(letter)
    return Channels(axis, channels.ids, constants_after(layer, channels, tensor.shape, axis, tensor.dtype))


def _product(analysis: Analysis, call: Call, parsed: Sum, letter: str, made: str) -> Channels:
    """The channels that a kernel makes, which reads those along one axis of the input."""
    layer, channels = call.operation, analysis.of(call.inputs[0])
    assert channels is not None
    inputs, outputs = parsed.kernel.index(letter), parsed.kernel.index(made)
    analysis.slice(layer.kernel, inputs, channels.ids)
    ids = analysis.slice(layer.kernel, outputs)
    _along_outputs(analysis, layer, parsed, made, ids)
    covered = not parsed.bias or set(parsed.free) <= set(parsed.bias)
    foldable = ~np.isnan(channels.constants) & ((channels.constants == 0) | covered)
    axes = parsed.bias or "".join(one for one in parsed.outputs if one in parsed.kernel)
    found = tuple(parsed.kernel.index(one) if one in parsed.kernel else None for one in axes)
    bias = Bias(found, settings={"bias_axes": axes}) if covered else None
    selects = parsed.inputs[-1] == letter
    analysis.reads.append(Read(layer, layer.kernel, inputs, outputs, channels, foldable, bias, selects))
    analysis.widths[id(layer)] = {"output_shape": ids}
    constants = _constants(layer, parsed, channels, inputs, made)
    return activated(layer, Channels(parsed.outputs.index(made), ids, constants), analysis)


def _along_outputs(analysis: Analysis, layer: Any, parsed: Sum, letter: str, ids: np.ndarray) -> None:
    """Say which labels lie along an axis of the result."""
    if letter in parsed.bias:
        analysis.slice(layer.bias, parsed.bias.index(letter), ids)
    place = parsed.outputs.index(letter) - len(parsed.outputs)
    if -place <= len(layer.partial_output_shape) and layer.partial_output_shape[place] is not None:
        analysis.setting(layer, "output_shape", place, ids)


def _constants(layer: Any, parsed: Sum, channels: Channels, inputs: int, made: str) -> np.ndarray:
    """What a layer makes of constants before its activation, where it is the same at all places, of shape `(made,)`."""
    kernel = np.moveaxis(array(layer.kernel), inputs, 0)
    letters = parsed.kernel[:inputs] + parsed.kernel[inputs + 1 :]
    known = ~np.isnan(channels.constants)
    result = np.tensordot(np.where(known, channels.constants, 0.0), kernel, 1)
    result = np.where((kernel[~known] == 0).all(axis=0), result, np.nan)
    result = result.sum(axis=tuple(place for place, letter in enumerate(letters) if letter not in parsed.outputs))
    axes = [letter if letter in parsed.free else "." for letter in parsed.outputs[1:]]
    left = [letter for letter in letters if letter in parsed.outputs]
    ordered = result.transpose([left.index(letter) for letter in axes if letter != "."])
    sizes = iter(ordered.shape)
    result = ordered.reshape([1 if letter == "." else next(sizes) for letter in axes])
    if parsed.bias:
        result = result + array(layer.bias)
    flat = np.moveaxis(result, parsed.outputs.index(made) - 1, 0)
    flat = flat.reshape(len(flat), -1)
    return np.where((flat == flat[:, :1]).all(axis=1), flat[:, 0], np.nan)


RULES: dict[Any, Rule] = {layers.EinsumDense: _einsum}
