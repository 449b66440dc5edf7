"""What layers around other layers do with channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras import layers

from tf_reg._keras import Call
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.channelwise import CHANNELWISE, RANDOM, Rule

INSIDE = (  # layers whose channels aren't those of the axis of time, and that a mask doesn't change
    *(layers.Dense, layers.EinsumDense, layers.BatchNormalization),
    *(layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D, layers.DepthwiseConv2D),
    *(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose),
    *(layers.SeparableConv1D, layers.SeparableConv2D, layers.Flatten),
    *CHANNELWISE,
    *RANDOM,
    layers.Activation,
)


def _time_distributed(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """The inner layer sees each step by itself: a tensor without the axis of time."""
    layer, tensor = call.operation, call.inputs[0]
    channels = analysis.of(tensor)
    if type(layer.layer) not in INSIDE or channels is None or channels.axis < 2 or len(call.inputs) != 1:
        return None
    step = analysis.made_up(_without_time(tensor.shape), tensor.dtype, _moved(channels, -1))
    output = call.outputs[0]
    result = analysis.made_up(_without_time(output.shape), output.dtype, None)
    made = _inside(analysis, layer, Call(layer.layer, (step,), {}, [step], [result]))
    return None if made is None else [_moved(made, 1)]


def _drop_connect(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """In inference, the wrapper is its layer."""
    made = _inside(analysis, call.operation, call._replace(operation=call.operation.layer))
    return None if made is None else [made]


def _inside(analysis: Analysis, wrapper: Any, call: Call) -> Channels | None:
    """The channels that the layer in a wrapper makes; None where nothing is known."""
    [made] = analysis.apply(call) or [None]
    if made is None:
        return None
    analysis.inside[id(wrapper)] = {"layer": call.operation}
    for place, read in enumerate(analysis.reads):
        if read.layer is call.operation:  # nothing can stand between a wrapper and its layer
            analysis.reads[place] = dataclasses.replace(read, selects=False)
    return made


def _without_time(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    return (shape[0], *shape[2:])


def _moved(channels: Channels, by: int) -> Channels:
    return dataclasses.replace(channels, axis=channels.axis + by)


RULES: dict[Any, Rule] = {layers.TimeDistributed: _time_distributed, "tf_reg>DropConnect": _drop_connect}
