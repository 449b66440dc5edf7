"""Keras objects anew from their configs, with the functions and classes that only exist in memory."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import keras

from tf_reg import _keras

Remade = TypeVar("Remade")


def remade(thing: Remade, change: Callable[[dict[str, Any]], None] = lambda config: None) -> Remade:
    """Return a new object of the class of a Keras object: a layer, an operation, an optimizer or a metric.

    Functions and classes that it holds need not be registered with Keras.

    Args:
        thing: The object.
        change: Changes the config of the object in place.

    Raises:
        ValueError: A class that can't be made from its own config.
    """
    kind: Any = type(thing)
    try:
        with _keras.trusted(), keras.saving.custom_object_scope(_held(thing)):
            config = config_of(thing)
            change(config)
            return kind(**config) if isinstance(thing, keras.layers.Lambda) else kind.from_config(config)
    except Exception as error:  # a class of a user's own can raise anything
        name = f"{kind.__name__} {getattr(thing, 'name', '')!r}"
        raise ValueError(
            f"tf_reg makes each layer, metric and optimizer anew from its own config. {name} can't be made so. Let its "
            "get_config return all arguments of its __init__. "
            f"Received: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error


def config_of(thing: Any) -> dict[str, Any]:
    """Return the config of a Keras object, with the functions themselves where it has their names or code.

    Args:
        thing: A layer, an operation, an optimizer or a metric.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")  # it isn't written
        config = thing.get_config()
    config.update({name: value for name, value in _functions(thing).items() if name in config})
    return config


def _functions(thing: Any) -> dict[str, Any]:
    """The functions that an object has as attributes. A config has their names, or code without what it refers to."""
    found = {name: value for name, value in vars(thing).items() if isinstance(value, types.FunctionType)}
    if isinstance(thing, keras.layers.Lambda):
        found.update(output_shape=_keras.lambda_output_shape(thing), arguments=thing.arguments, mask=thing.mask)
    return found


def _held(thing: Any) -> dict[str, Any]:
    """The functions and the classes of the objects that an object holds, and those inside it, by their names."""
    found: dict[str, Any] = {}
    seen, waiting = {id(thing)}, list(vars(thing).values())
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        named = value if hasattr(value, "__name__") else type(value)
        if callable(value) and not named.__module__.startswith(("keras.", "builtins")):
            found[named.__name__] = named
        if isinstance(value, (list, tuple)):
            waiting.extend(value)  # a tuple that TensorFlow tracks can't be added to a list
        elif hasattr(value, "get_config") and not isinstance(value, type) and hasattr(value, "__dict__"):
            waiting.extend(vars(value).values())
    return found
