"""Where in a model the first numbers appear that aren't finite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_reg import _keras, _walk
from tf_reg._graph import as_graph

ADVICE = "Lower the learning rate or the strength of the penalty, or clip the gradients (clipnorm)."


def first_not_finite(model: keras.Model, batch: Any, before: Sequence[np.ndarray], loss: float) -> str:
    """Return what is the first that isn't finite in a step of a model, and how to mend it, in two sentences.

    It looks at the data, the weights, the outputs of the layers in the order of their calls, the penalties, the loss
    and the updates. The model has the weights from before the step afterwards.

    Args:
        model: A model after the step.
        batch: Inputs, targets and sample weights, as Keras' `train_step` takes them.
        before: The model's variables before the step.
        loss: What the step returned.
    """
    after = layers_not_finite(model)
    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)
    inputs, *others = keras.utils.unpack_x_y_sample_weight(batch)
    for what, arrays in (("inputs", inputs), ("targets or sample weights", others)):
        if not is_finite(arrays):
            return f"The {what} of the batch have NaN or infinite numbers. Take them out of the data."
    return f"{_first_made(model, inputs, after, loss)} {ADVICE}"


def layers_not_finite(model: keras.Model) -> list[str]:
    """Return the paths of the layers whose weights aren't finite.

    Args:
        model: A built model.
    """
    return [path for path, layer in _walk.layer_paths(model) if not is_finite(_keras.own_variables(layer))]


def _first_made(model: keras.Model, inputs: Any, after: list[str], loss: float) -> str:
    weights = layers_not_finite(model)
    if weights:
        return f"The weights of {', '.join(weights)} have NaN or infinity before the batch."
    path, largest = _first_layer(model, inputs)
    if path is not None:
        return f"The output of {path} is the first that has NaN or infinity. What it takes goes up to {largest:.3g}."
    penalty: Any = 0.0
    for weight in _walk.regularized(model):
        penalty += ops.cast(weight.variable.regularizer(weight.variable), "float32")
        if not is_finite(penalty):
            return f"The penalty is the first that is NaN or infinite, by that of {weight.path}."
    if not math.isfinite(loss):
        return f"The outputs are finite, up to {largest:.3g}: the loss of them is the first that is NaN or infinite."
    # A gradient comes from the back, so the last of these layers had it first.
    return f"The loss is finite: the update of the weights of {after[-1]} is the first that has NaN or infinity."


def _first_layer(model: keras.Model, inputs: Any, around: str = "") -> tuple[str | None, float]:
    """Return the path of the layer whose output is the first that isn't finite, and the largest number that it takes.

    The path is None where all are finite; then the number is the largest of the model's outputs.
    """
    graph = as_graph(model)
    if graph is None:
        made = model(inputs, training=True)
        return (None, _largest(made)) if is_finite(made) else (around.rstrip("/") or "the model", _largest(inputs))
    calls = _keras.calls(graph)
    values = keras.Model(graph.input, [call.outputs for call in calls])(inputs, training=True)
    known = dict(zip(map(id, tree.flatten(graph.inputs)), tree.flatten(inputs), strict=False))
    for call, outputs in zip(calls, values, strict=True):
        taken = [known[id(one)] for one in call.inputs if id(one) in known]
        if not is_finite(outputs):
            name = f"{around}{call.operation.name}"
            if isinstance(call.operation, keras.Model) and as_graph(call.operation) is not None and len(taken) == 1:
                inner, largest = _first_layer(call.operation, taken[0], f"{name}/")
                return inner or name, largest
            return name, _largest(taken)
        known |= dict(zip(map(id, call.outputs), tree.flatten(outputs), strict=True))
    return None, max(_largest(known.get(id(one))) for one in graph.outputs)


def is_finite(arrays: Any) -> bool:
    """Return whether all numbers are finite.

    Args:
        arrays: Arrays, tensors or variables, in any structure. Those that aren't floats are.
    """
    return all(bool(ops.convert_to_numpy(ops.all(ops.isfinite(one)))) for one in _floats(arrays))


def _largest(arrays: Any) -> float:
    sizes = [float(ops.convert_to_numpy(ops.max(ops.abs(one)))) for one in _floats(arrays) if 0 not in one.shape]
    return max(sizes, default=0.0)


def _floats(arrays: Any) -> Iterator[Any]:
    """The tensors that can have NaN, in a type that all operations take; strings and integers have none."""
    for one in tree.flatten(arrays):
        if one is not None and keras.backend.is_float_dtype(dtype := keras.backend.standardize_dtype(one.dtype)):
            tensor = ops.convert_to_tensor(one)
            yield tensor if dtype in ("float32", "float64") else ops.cast(tensor, "float32")
