"""The examples that a model is verified with: a user's own, or made-up ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tf_reg.serving import saved_graph
from tf_reg.serving.saved_graph import Tensor
from tf_reg.serving.verify import replay
from tf_reg.serving.write.signatures import Arrays, Interface

WORDS = (b"", b"word", "Öl".encode())  # as many as there are examples of numbers


def made_up(interface: Interface) -> dict[str, np.ndarray]:
    """Return random numbers, or words, for every input of a model, by input name."""
    numbers = {name: tensor for name, tensor in interface.tensors.items() if tensor.dtype != "string"}
    made = replay.random_inputs(saved_graph.Signature(numbers, {}))
    for name, tensor in interface.tensors.items():
        if tensor.dtype == "string":
            shape = (len(WORDS), *(1 if size is None else size for size in tensor.shape[1:]))
            words = np.empty(shape, object)
            words[...] = np.reshape(np.array(WORDS, object), (len(WORDS), *(1 for _ in shape[1:])))
            made[name] = words
    return {name: made[name] for name in interface.tensors}


def named(interface: Interface, examples: Any) -> dict[str, np.ndarray]:
    """Return a user's examples as arrays by input name, in the dtypes of the signature.

    Args:
        interface: The model's interface.
        examples: An array, `(batch, ...)`; for several inputs a list or a dictionary of these.

    Raises:
        ValueError: If a name, a shape or the number of examples doesn't fit, or a value is no array of numbers.
    """
    names = list(interface.tensors)
    if not isinstance(examples, Mapping):
        arrays = [examples] if len(names) == 1 else examples
        if not isinstance(arrays, list | tuple):
            raise ValueError(
                f"`examples` must be a list or a dictionary of arrays for the inputs {', '.join(names)}. Received: "
                f"{type(examples).__name__}."
            )
        if len(arrays) != len(names):
            raise ValueError(f"`examples` must be for the inputs {', '.join(names)}. Received {len(arrays)} of them.")
        examples = dict(zip(names, arrays, strict=True))
    if set(examples) != set(names):
        received = ", ".join(map(str, examples))
        raise ValueError(f"`examples` must be for the inputs {', '.join(names)}. Received: {received}.")
    named = {name: _array(name, tensor, examples[name]) for name, tensor in interface.tensors.items()}
    sizes = {array.shape[:1] for array in named.values()}
    if len(sizes) != 1 or min(sizes) < (1,):
        raise ValueError(f"`examples` must be as many for each input, at least 1. Received: {sorted(sizes)}.")
    return named


def of_other_lengths(interface: Interface, inputs: dict[str, np.ndarray]) -> tuple[Arrays, Arrays] | None:
    """Return examples whose free axes have another length, and what the model makes of them.

    Axes of equal length stay equal: half as long, or twice where they have one step.

    Args:
        interface: The model's interface.
        inputs: The examples that it is verified with.

    Returns:
        The inputs and the outputs; None where no axis but the batch is free, or the model can't take that length.
    """
    made = {name: _of_another_length(array, interface.tensors[name].shape) for name, array in inputs.items()}
    if all(made[name].shape == array.shape for name, array in inputs.items()):
        return None
    try:
        return made, interface.expected(made)
    except Exception:  # shorter than a kernel, longer than a table of positions: the model's own limit
        return None


def _of_another_length(array: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    for axis, size in enumerate(shape):
        if axis and size is None:
            length = array.shape[axis]
            steps = [0, 0] if length == 1 else range((length + 1) // 2)
            array = array.take(steps, axis)
    return array


def _array(name: str, tensor: Tensor, value: Any) -> np.ndarray:
    """Return the examples for one input in the dtype of the signature."""
    if tensor.dtype == "string":
        return _strings(name, tensor, value)
    try:
        array = keras.ops.convert_to_numpy(value)
    except (TypeError, ValueError):  # a list of lists of several lengths
        array = np.asarray(None)
    numbers = array.dtype.kind not in "OSU"
    if not numbers or not _fits(tensor, array):
        received = f"the shape {array.shape}" if numbers else f"{type(value).__name__}, which is no array of numbers"
        raise ValueError(
            f"`examples` for the input {name} must be an array of the shape {tensor.shape}, None for their number. "
            f"Received: {received}."
        )
    return array.astype(tensor.dtype)


def _strings(name: str, tensor: Tensor, value: Any) -> np.ndarray:
    """Return strings as an array of bytes objects, in UTF-8."""
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value, object)
    words = [one.encode() if isinstance(one, str) else one for one in array.ravel().tolist()]
    if not _fits(tensor, array) or not all(isinstance(one, bytes) for one in words):
        raise ValueError(
            f"`examples` for the input {name} must be an array of strings of the shape {tensor.shape}, None for their "
            f"number; a missing one is an empty string. Received: {type(value).__name__} of the shape {array.shape}."
        )
    made = np.empty(array.shape, object)
    made.ravel()[:] = words
    return made


def _fits(tensor: Tensor, array: np.ndarray) -> bool:
    return len(array.shape) == len(tensor.shape) and all(
        want in (None, have) for want, have in zip(tensor.shape, array.shape, strict=True)
    )
