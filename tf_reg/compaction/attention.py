"""What attention with several heads does with channels: a head is its part of every projection."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from tf_reg._keras import Call, direct_sublayers
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.channelwise import Rule, array
from tf_reg.compaction.reads import Bias, Read
from tf_reg.penalties.penalty import Penalty
from tf_reg.penalties.registry import group_penalty_of


def _multi_head(analysis: Analysis, call: Call) -> Sequence[Channels | None] | None:
    """Heads go as wholes, and numbers of the values that no head's output reads. The size of the keys stays."""
    layer, dense = call.operation, _projections(call.operation)
    sources = _sources(call)
    found = {name: analysis.of(sources[name]) for name in sources}
    if not _known(layer, dense) or any(c is None or c.axis != len(sources[n].shape) - 1 for n, c in found.items()):
        return None
    if len(call.outputs) != 1 or len(dense["attention_output"].kernel.shape) != 3:
        return None
    output = dense["attention_output"]
    heads, values = analysis.slice(output.kernel, 0), analysis.slice(output.kernel, 1)
    readers = {name: channels for name, channels in found.items() if channels is not None}
    for name, channels in readers.items():
        _projection(analysis, dense[name], channels, heads, values if name in ("value", "gate") else None)
    for tensor in call.inputs:
        if not any(tensor is source for source in sources.values()):
            analysis.keep(analysis.of(tensor), f"{layer.name} (mask)")
    if _shape_of_mask(call)[1:2] not in ([], [1]):
        analysis.keep_ids(heads, f"{layer.name} (a mask for each head)")
    if any(_sized_heads(one.kernel_regularizer) for one in dense.values()):
        reason = f"{layer.name} (size weights of a penalty on heads)"
        for source in found.values():
            analysis.keep(source, reason)
        analysis.keep_ids(values, reason)
        analysis.keep_ids(analysis.slice(output.kernel, 2), reason)
    if keras.backend.backend() == "jax":
        analysis.keep_ids(values, f"{layer.name} (Keras on JAX needs value_dim equal to key_dim)")
    zero = _zero_heads(dense["value"])
    for axis, ids, constants in ((0, heads, zero), (1, values, np.full(len(values), np.nan))):
        analysis.reads.append(Read(output, output.kernel, axis, 2, Channels(2, ids, constants), constants == 0))
    made = analysis.slice(output.kernel, 2)
    analysis.widths[id(layer)] = {"num_heads": heads, "value_dim": values}
    analysis.setting(layer, "output_shape", None, made)
    dead = (array(output.kernel)[np.isnan(zero)] == 0).all(axis=(0, 1))
    bias = np.zeros(len(made)) if output.bias is None else array(output.bias)
    if output.bias is not None:
        analysis.slice(output.bias, 0, made)
    return [Channels(len(call.outputs[0].shape) - 1, made, np.where(dead, bias, np.nan))]


def _projections(layer: Any) -> dict[str, Any]:
    """The projections of an attention layer by their names."""
    return {inner.name: inner for inner in direct_sublayers(layer) if isinstance(inner, layers.EinsumDense)}


def _sources(call: Call) -> dict[str, keras.KerasTensor]:
    """The tensors that the projections read, by the names of these."""
    given = inspect.signature(call.operation.call).bind(*call.args, **call.kwargs).arguments
    sources = {"query": given["query"], "value": given["value"], "key": given.get("key")}
    if sources["key"] is None:
        sources["key"] = sources["value"]
    return {**sources, "gate": sources["query"]} if "gate" in _projections(call.operation) else sources


def _shape_of_mask(call: Call) -> list[int | None]:
    given = inspect.signature(call.operation.call).bind(*call.args, **call.kwargs).arguments
    mask = given.get("attention_mask")
    return [] if mask is None or len(mask.shape) < 4 else list(mask.shape)


def _known(layer: Any, dense: dict[str, Any]) -> bool:
    """Whether all of a layer is plain: one penalty can't keep its strength in projections of several shapes.

    A group of heads keeps its size as long as only heads go.
    """
    sized = any(_sized(of) for one in dense.values() for of in (one.kernel_regularizer, one.bias_regularizer))
    active = any(one.activity_regularizer is not None for one in dense.values())
    special = any(one.quantization_mode or one.lora_enabled for one in dense.values())
    return bool(dense) and not (sized or active or special)


def _sized(regularizer: Any) -> bool:
    """Whether a penalty's strength depends on the sizes of groups that change."""
    penalty = _with_size_weights(regularizer)
    return penalty is not None and not penalty.takes_heads


def _sized_heads(regularizer: Any) -> bool:
    penalty = _with_size_weights(regularizer)
    return penalty is not None and penalty.takes_heads


def _with_size_weights(regularizer: Any) -> Penalty | None:
    penalty = group_penalty_of(regularizer)
    sized = penalty is not None and not penalty.elementwise and getattr(penalty, "size_weights", False)
    return penalty if sized else None


def _projection(
    analysis: Analysis, dense: Any, channels: Channels, heads: np.ndarray, numbers: np.ndarray | None
) -> None:
    """A projection to the heads, with a kernel `(inputs, heads, numbers)` and a bias `(heads, numbers)`."""
    analysis.slice(dense.kernel, 0, channels.ids)
    for variable, axis in ((dense.kernel, 1), (dense.bias, 0)):
        if variable is not None:
            analysis.slice(variable, axis, heads)
            if numbers is not None:
                analysis.slice(variable, axis + 1, numbers)
    foldable = ~np.isnan(channels.constants) & ((channels.constants == 0) | (dense.bias is not None))
    analysis.reads.append(Read(dense, dense.kernel, 0, 1, channels, foldable, Bias((1, 2))))


def _zero_heads(dense: Any) -> np.ndarray:
    """Zero for each head of which all values are zero, NaN for the others."""
    zero = (array(dense.kernel) == 0).all(axis=(0, 2))
    if dense.bias is not None:
        zero &= (array(dense.bias) == 0).all(axis=1)
    return np.where(zero, 0.0, np.nan)


RULES: dict[Any, Rule] = {layers.MultiHeadAttention: _multi_head}
