"""What recurrent layers do with channels: a unit is its gates, its state and its output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import layers

from tf_reg._keras import Call
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.channelwise import ELEMENTWISE, Rule, apply_activation, array, own
from tf_reg.compaction.merging import average, concatenated, product, total
from tf_reg.compaction.reads import Bias, Read

# How many gates a unit has, one block of a weight's last axis after the other, and which block makes its new value.
GATES = {layers.SimpleRNN: (1, 0), layers.LSTM: (4, 2), layers.GRU: (3, 2)}
_MERGES = {"sum": total, "mul": product, "ave": average}


def _recurrent(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    layer, (sequence, *states) = call.operation, call.inputs
    channels, given = analysis.of(sequence), [analysis.of(state) for state in states]
    if channels is None or not _known(layer, sequence, channels) or any(one is None or one.axis != 1 for one in given):
        return None
    units = analysis.slice(layer.cell.recurrent_kernel, 0)
    for one in given:
        if one is not None:
            analysis.labels.join(units, one.ids)
    masked = analysis.depth > 0 or call.kwargs.get("mask") is not None
    return _through(analysis, layer, channels, (bool(given), masked), selects=True)


def _known(layer: Any, sequence: Any, channels: Channels) -> bool:
    """Whether the units of a layer can be told apart."""
    functions = {layer.cell.activation, getattr(layer.cell, "recurrent_activation", layer.cell.activation)}
    return len(sequence.shape) == 3 and channels.axis == 2 and not layer.stateful and functions <= ELEMENTWISE


def _through(
    analysis: Analysis, layer: Any, channels: Channels, started: tuple[bool, bool], selects: bool
) -> list[Channels]:
    """The channels of the results of a recurrent layer.

    Args:
        analysis: What is known of the model so far.
        layer: The layer.
        channels: The channels of its sequence.
        started: Whether the call gives the states that it starts from, and whether it has a mask.
        selects: Whether a selection of the channels may stand before the layer.
    """
    cell, (gates, _) = layer.cell, GATES[type(layer)]
    units = analysis.slice(cell.recurrent_kernel, 0)
    along = np.tile(units, gates)
    analysis.slice(cell.kernel, 0, channels.ids)
    for variable in own(cell).values():
        if variable.name in ("kernel", "recurrent_kernel", "bias"):
            analysis.slice(variable, -1, along)
    split = isinstance(layer, layers.GRU) and cell.reset_after
    known = ~np.isnan(channels.constants)
    bias = Bias((1,), parts=2 if split else 0)
    analysis.reads.append(Read(layer, cell.kernel, 0, 1, channels, known, bias, selects))
    made = Channels(2 if layer.return_sequences else 1, units, _constants(layer, channels, *started))
    state = Channels(1, units, made.constants)
    analysis.reads.append(Read(layer, cell.recurrent_kernel, 0, 1, state, made.constants == 0))
    analysis.widths[id(layer)] = {"units": units}
    return [made, *([state] * len(layer.state_size) if layer.return_state else [])]


def _constants(layer: Any, channels: Channels, given: bool, masked: bool) -> np.ndarray:
    """The value that each unit has after every step.

    A unit of an LSTM or GRU starts from 0 and stays there if its new value is 0, whatever its other gates are. A unit
    of a simple layer takes its new value at the first step, unless a mask leaves this step out.
    """
    cell, (gates, number) = layer.cell, GATES[type(layer)]
    block = slice(number * cell.units, (number + 1) * cell.units)
    known = ~np.isnan(channels.constants)
    kernel, recurrent = (array(variable)[:, block] for variable in (cell.kernel, cell.recurrent_kernel))
    new = np.where(known, channels.constants, 0.0) @ kernel
    variable = own(cell).get("bias")
    bias = np.zeros((1, cell.units)) if variable is None else array(variable).reshape(-1, gates * cell.units)[:, block]
    still = (kernel[~known] == 0).all(axis=0) & (recurrent == 0).all(axis=0) & (bias[1:] == 0).all(axis=0)
    before = np.where(still & (not given), new + bias[0], np.nan)
    values = apply_activation(cell.activation, before, layer.compute_dtype)
    if isinstance(layer, layers.LSTM) and apply_activation(cell.activation, np.zeros(1), layer.compute_dtype) != 0:
        return np.full(len(values), np.nan)  # the state passes the activation once more
    return values if isinstance(layer, layers.SimpleRNN) and not masked else np.where(values == 0, 0.0, np.nan)


def _bidirectional(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Unit i of one direction goes with unit i of the other one: both layers need the same number of units."""
    layer, channels = call.operation, analysis.of(call.inputs[0])
    both = (layer.forward_layer, layer.backward_layer)
    if len(call.inputs) != 1 or channels is None or layer.return_state:
        return None
    for one in both:
        if type(one) not in GATES or not _known(one, call.inputs[0], channels) or one.activity_regularizer:
            return None
    if both[0].units != both[1].units:
        return None
    masked = analysis.depth > 0 or call.kwargs.get("mask") is not None
    [ahead], [back] = (_through(analysis, one, channels, (False, masked), selects=False) for one in both)
    analysis.labels.join(ahead.ids, back.ids)
    analysis.inside[id(layer)] = {"layer": both[0], "backward_layer": both[1]}
    if layer.merge_mode is None:
        return [ahead, back]
    if layer.merge_mode == "concat":
        return [concatenated([ahead, back])]
    return [ahead.with_constants(_MERGES[layer.merge_mode]([ahead.constants, back.constants]))]


RULES: dict[Any, Rule] = {**dict.fromkeys(GATES, _recurrent), layers.Bidirectional: _bidirectional}
