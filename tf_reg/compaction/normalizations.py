"""What normalizations over several channels do with them: these stay, but a scale of zero makes constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import layers

from tf_reg._keras import Call
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.channelwise import Rule, array, channelwise, own


def _axes(layer: Any, rank: int) -> set[int]:
    axis = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    return {number % rank for number in axis}


def _across(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Layer and RMS normalization: each channel has a part in the statistics of all, so that all of them stay.

    A result is a constant where its scale is zero, and the layers that read it can take the constant over.
    """
    layer, tensor, rank = call.operation, call.inputs[0], len(call.inputs[0].shape)
    channels, axes = analysis.of(tensor), _axes(call.operation, len(call.inputs[0].shape))
    if channels is not None and channels.axis not in axes and 0 not in axes:
        return channelwise(analysis, call)
    if axes != {rank - 1}:
        return None
    reason = f"{layer.name} ({type(layer).__name__})"
    analysis.keep(channels, reason)
    made, weights = analysis.barrier_output(call.outputs[0], reason), own(layer)
    scale = weights.get("gamma", weights.get("scale"))
    if made is None or scale is None:
        return [made]
    shift = array(weights["beta"]) if "beta" in weights else 0.0
    return [made.with_constants(np.where(array(scale) == 0, shift, np.nan))]


def _unit(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Division by the norm of all channels, which zeros have no part in."""
    channels, axes = analysis.of(call.inputs[0]), _axes(call.operation, len(call.inputs[0].shape))
    if channels is None or 0 in axes:
        return None
    if channels.axis not in axes:
        return channelwise(analysis, call)
    analysis.keep_from_zero(channels)  # a zero at the source need not be one here
    zero = channels.constants == 0
    analysis.keep_ids(channels.ids[~zero], f"{call.operation.name} (UnitNormalization)")
    return [channels.with_constants(np.where(zero, 0.0, np.nan))]


def _groups(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Group normalization: all channels of a group go together, so that the others keep their statistics."""
    layer, tensor = call.operation, call.inputs[0]
    channels = analysis.of(tensor)
    if channels is None or channels.axis != layer.axis % len(tensor.shape):
        return None
    groups = channels.ids.reshape(layer.groups, -1)
    analysis.labels.join(np.repeat(groups[:, :1], groups.shape[1], axis=1), groups)
    weights = own(layer)
    for variable in weights.values():
        analysis.slice(variable, 0, channels.ids)
    analysis.setting(layer, "groups", None, groups[:, 0])
    shift = array(weights["beta"]) if "beta" in weights else 0.0
    dead = array(weights["gamma"]) == 0 if "gamma" in weights else np.zeros(len(channels.ids), bool)
    return [dataclasses.replace(channels, constants=np.where(dead, shift, np.nan))]


RULES: dict[Any, Rule] = {
    layers.LayerNormalization: _across,
    layers.UnitNormalization: _unit,
    layers.GroupNormalization: _groups,
}
if hasattr(layers, "RMSNormalization"):  # not in every Keras
    RULES[layers.RMSNormalization] = _across
