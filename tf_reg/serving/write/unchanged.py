"""Call a model and leave it as it was: its variables, and what its layers keep in attributes."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from tf_reg import _keras
from tf_reg.serving.write.attributes import is_of_tensorflow, kept_by


@contextlib.contextmanager
def unchanged(model: keras.Model) -> Iterator[None]:
    """Give a model back the state that it had before the `with` block, whatever was called in the block or raised.

    State is the value of every variable that the model or a layer in it holds: weights, states of recurrent layers and
    of random generators, counters, metrics, variables of TensorFlow's own. It is also what their attributes are: a
    number that a layer counts in, a tensor that it remembers, the losses that it has added.

    Args:
        model: A built model.
    """
    layers = _keras.sublayers(model)
    variables = [(variable, _value(variable)) for variable in _variables(layers)]
    attributes = [(vars(layer), dict(vars(layer))) for layer in layers]
    containers = [
        (value, _contents(value))
        for layer in layers
        for value in kept_by(layer)
        if isinstance(value, list | dict | set)
    ]
    try:
        yield
    finally:
        for container, contents in containers:
            _refill(container, contents)
        for now, before in attributes:
            for name in now.keys() - before.keys():
                del now[name]
            now.update(before)
        for variable, value in variables:
            if _bytes(_value(variable)) != _bytes(value):
                variable.assign(value)


def _variables(layers: list[keras.Layer]) -> list[Any]:
    """All variables of layers, each once: those that Keras lists, and those in attributes and metrics."""
    found: dict[int, Any] = {}
    for layer in layers:
        for thing in (*layer.variables, *kept_by(layer)):
            if isinstance(thing, keras.Metric):
                found |= {id(variable): variable for variable in thing.variables}
            elif isinstance(thing, keras.random.SeedGenerator):
                found[id(thing.state)] = thing.state
            elif isinstance(thing, keras.Variable) or is_of_tensorflow(thing):
                found[id(thing)] = thing
    return list(found.values())


def _value(variable: Any) -> Any:
    """The value of a variable as a tensor that no later assignment changes; TensorFlow copies it only then."""
    return ops.copy(ops.convert_to_tensor(variable))


def _bytes(value: Any) -> bytes:
    return ops.convert_to_numpy(value).tobytes()


def _contents(container: Any) -> Any:
    return list(container.items()) if isinstance(container, dict) else list(container)


def _refill(container: Any, contents: Any) -> None:
    """Put the contents back by Python's own methods: those of Keras would refuse what a built layer tracks."""
    now = _contents(container)
    if isinstance(container, dict):
        if [key for key, _ in now] != [key for key, _ in contents] or any(
            a is not b for (_, a), (_, b) in zip(now, contents, strict=True)
        ):
            kind = collections.OrderedDict if isinstance(container, collections.OrderedDict) else dict
            kind.clear(container)
            kind.update(container, contents)
    elif len(now) != len(contents) or any(a is not b for a, b in zip(now, contents, strict=True)):
        if isinstance(container, list):
            list.__setitem__(container, slice(None), contents)
        else:
            set.clear(container)
            set.update(container, contents)
