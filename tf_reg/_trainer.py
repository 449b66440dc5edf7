"""The model that is trained now, and the optimizers that it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from tf_reg._callers import callers

_METHODS = {"fit", "evaluate", "train_on_batch", "test_on_batch", "train_step", "test_step"}  # of keras.Model


def trainer() -> keras.Model | None:
    """Return the compiled model that Keras trains or evaluates now; None in a training loop of your own."""
    for caller in callers(_METHODS):
        if isinstance(caller, keras.Model) and getattr(caller, "optimizer", None) is not None:
            return caller
    return None


def model_in_train_step() -> keras.Model | None:
    """Return the model whose `train_step` is running; None if there is none."""
    return next((caller for caller in callers({"train_step"}) if isinstance(caller, keras.Model)), None)


def model_with(optimizer: keras.optimizers.Optimizer) -> keras.Model | None:
    """Return the model among the callers that was compiled with an optimizer; None if there is none.

    Args:
        optimizer: The model's optimizer, or a part of it.
    """
    models = (caller for caller in callers() if isinstance(caller, keras.Model))
    return next((model for model in models if _is_compiled_with(model, optimizer)), None)


def in_apply() -> bool:
    """Return whether an optimizer's `apply` is running. Its gradients were computed before."""
    return any(isinstance(caller, keras.optimizers.Optimizer) for caller in callers({"apply"}))


def trains_with(model: keras.Layer, optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether the training of a model calls an optimizer, as far as the model shows it.

    Keras' own `train_step` calls the optimizer of `compile`, with all its parts. A `train_step` of the user's may call
    any optimizer that the model keeps in an attribute.

    Args:
        model: A Keras model.
        optimizer: A Keras optimizer.
    """
    if _is_compiled_with(model, optimizer):
        return True
    return has_own_step(model) and any(one is optimizer for one in optimizers_of(model))


def optimizers_of(model: keras.Layer) -> list[keras.optimizers.Optimizer]:
    """Return all optimizers of a model: that of `compile` and those in its attributes, each with its parts.

    Args:
        model: A Keras model. Lists, tuples and dictionaries among its attributes are searched too.

    Example:

    >>> model = keras.Sequential()
    >>> model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()))
    >>> [type(optimizer).__name__ for optimizer in optimizers_of(model)]
    ['LossScaleOptimizer', 'SGD']
    """
    kept = [optimizer for value in list(vars(model).values()) for optimizer in _optimizers_in(value)]
    found = {id(part): part for whole in (getattr(model, "optimizer", None), *kept) for part in parts_of(whole)}
    return list(found.values())


def parts_of(optimizer: keras.optimizers.Optimizer | None) -> Iterator[keras.optimizers.Optimizer]:
    """Yield an optimizer and all optimizers that it wraps, such as those of `keras.optimizers.MultiOptimizer`.

    Args:
        optimizer: A Keras optimizer. None has no parts.
    """
    if optimizer is None:
        return
    yield optimizer
    inner = getattr(optimizer, "inner_optimizer", None)
    for part in (*getattr(optimizer, "optimizers", ()), *([] if inner is None else [inner])):
        yield from parts_of(part)


def _is_compiled_with(model: keras.Layer, optimizer: keras.optimizers.Optimizer) -> bool:
    outermost = getattr(model, "optimizer", None)
    return outermost is optimizer or any(part is optimizer for part in parts_of(outermost))


def has_own_step(model: keras.Layer) -> bool:
    """Return whether the user wrote how the model is trained."""
    methods = (getattr(model, name, None) for name in ("train_step", "make_train_function", "train_on_batch"))
    return any(not str(getattr(method, "__module__", "")).startswith("keras.") for method in methods)


def _optimizers_in(value: Any, depth: int = 3) -> Iterator[keras.optimizers.Optimizer]:
    if isinstance(value, keras.optimizers.Optimizer):
        yield value
    elif depth and isinstance(value, (list, tuple, dict)):
        for element in value.values() if isinstance(value, dict) else value:
            yield from _optimizers_in(element, depth - 1)
