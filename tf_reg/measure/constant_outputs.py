"""Which outputs of a model don't depend on its inputs, because zeros cut every path between them."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from tf_reg._keras import Call, call_that_made
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.plan import NotCompactableError, analysed
from tf_reg.compaction.reads import without_masks

# What they make of constants is constant, along whatever axis they look at the numbers.
_FROM_CONSTANTS = (layers.Dense, layers.Activation, layers.Softmax)
# With a kernel of zeros they make the bias of whatever they are given.
_BY_A_KERNEL = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)


def constant_outputs(model: keras.Model) -> list[str]:
    """Return the names of the layers that make outputs which are the same for all inputs, in inference.

    No output is named that depends on an input. Not all of the others are sure to depend on one: what a layer of an
    unknown class makes of constants isn't known.

    Args:
        model: A built model. One that `tf_reg.compact` doesn't take has no outputs that are known to be constant.
    """
    try:
        analysis = analysed(model)
    except NotCompactableError:
        return []
    constant: set[int] = set()
    for call in analysis.graph.calls:
        always = _always_constant(call, constant)
        constant |= {id(tensor) for tensor in call.outputs if always or _has_constants(analysis, tensor)}
    outputs = [tensor for tensor in analysis.graph.model.outputs if id(tensor) in constant]
    return [call_that_made(tensor)[0].name for tensor in outputs]


def _has_constants(analysis: Analysis, tensor: keras.KerasTensor) -> bool:
    channels = analysis.of(tensor)
    return channels is not None and bool(np.isfinite(channels.constants).all())


def _always_constant(call: Call, constant: set[int]) -> bool:
    operation, (data, masks) = call.operation, without_masks(call)
    if masks or not data.inputs:
        return False
    if type(operation) in _BY_A_KERNEL and not np.any(keras.ops.convert_to_numpy(operation.kernel)):
        return True
    return type(operation) in _FROM_CONSTANTS and all(id(tensor) in constant for tensor in data.inputs)
