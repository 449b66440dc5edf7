"""The activation that makes an output of a model, and what it is given: the logits, for a classifier."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras import layers

from tf_reg import _keras
from tf_reg._graph import as_graph

PROBABILITIES = (keras.activations.softmax, keras.activations.sigmoid)
_SATURATING = (*PROBABILITIES, keras.activations.tanh, keras.activations.hard_sigmoid, keras.activations.softsign)
_ACTIVATED = (layers.Activation, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Dense, layers.EinsumDense)
_HAND_ON = (layers.Dropout, layers.Flatten, layers.Identity, layers.Permute, layers.Reshape)
_OPERATIONS = {
    "Softmax": keras.activations.softmax,
    "Sigmoid": keras.activations.sigmoid,
    "Tanh": keras.activations.tanh,
}


def activation_of(operation: Any) -> Callable[..., Any] | None:
    """Return the saturating activation that a layer or operation ends in, a function of Keras; None for anything else.

    Args:
        operation: A layer or an operation.
    """
    if isinstance(operation, layers.Softmax):
        return keras.activations.softmax
    if isinstance(operation, _ACTIVATED):
        return operation.activation if operation.activation in _SATURATING else None
    return _OPERATIONS.get(_keras.operation_name(operation))


def endings(model: keras.Function) -> list[Any]:
    """Find what makes each output of a functional model: an operation that ends in a saturating activation, or None.

    It is found through models within the model, and through layers that hand numbers on.

    Args:
        model: A functional model.
    """
    made = {id(tensor): (call, place) for call in _keras.calls(model) for place, tensor in enumerate(call.outputs)}
    return [_ending(made, tensor) for tensor in model.outputs]


def _ending(made: dict[int, tuple[_keras.Call, int]], tensor: keras.KerasTensor) -> Any:
    while id(tensor) in made:
        call, place = made[id(tensor)]
        inner = as_graph(call.operation) if isinstance(call.operation, keras.Model) else None
        if inner is not None:
            return endings(inner)[place]
        if activation_of(call.operation) is not None:
            return call.operation
        if not isinstance(call.operation, _HAND_ON):
            return None
        tensor = call.inputs[0]
    return None


@contextlib.contextmanager
def recording(operations: Sequence[Any]) -> Iterator[dict[int, list[Any]]]:
    """Within a `with` block, record what activations are given while models are called. The results stay the same.

    Args:
        operations: Layers and operations that `activation_of` knows.

    Yields:
        For each operation, by its id, the inputs of its activation, one for each call so far.
    """
    seen: dict[int, list[Any]] = {id(operation): [] for operation in operations}

    def record(key: int, function: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
        seen[key].append(x)
        return function(x, *args, **kwargs)

    with contextlib.ExitStack() as stack:
        for operation in {id(operation): operation for operation in operations}.values():
            name = "activation" if isinstance(operation, _ACTIVATED) else "call"
            stack.enter_context(
                _replaced(operation, name, functools.partial(record, id(operation), getattr(operation, name)))
            )
        yield seen


@contextlib.contextmanager
def _replaced(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Give an object another attribute, past what Keras does when one is set."""
    before = {name: vars(thing)[name]} if name in vars(thing) else {}
    vars(thing)[name] = value
    try:
        yield
    finally:
        del vars(thing)[name]
        vars(thing).update(before)
