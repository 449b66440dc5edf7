"""A subclassed model as a functional one: what it takes is said by a signature, or by examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tf_reg.serving.saved_graph import Signature
from tf_reg.serving.write.options import check_model
from tf_reg.serving.write.watch import RefusedError, Watch, reason


def is_subclassed(model: Any) -> bool:
    """Whether a model is one of Keras that doesn't know its inputs and outputs, as functional ones do."""
    return isinstance(model, keras.Model) and not isinstance(model, keras.Sequential) and not _knows(model)


def as_functional(model: keras.Model, input_signature: Any, examples: Any) -> keras.Model:
    """Return a functional model that calls a subclassed one. Call this where the model's state is kept.

    Args:
        model: A subclassed model, built.
        input_signature: What it takes: `keras.InputSpec` or `keras.Input`, `(batch, ...)`, or a list or dictionary of
            these; None to take the shapes and dtypes of the examples.
        examples: Arrays in the same structure.

    Raises:
        RefusedError: If the model isn't built, what it takes isn't known or can't be read, or it can't be called.
    """
    if not model.built:
        raise RefusedError(
            f"The model must be built. Received: {model.name!r}, which has no weights yet. Call it on a batch, or fit "
            "it."
        )
    inputs = _inputs(model, input_signature if input_signature is not None else examples)
    watch = Watch(model, itself=True)
    try:
        with watch.watching():
            outputs = model(inputs, training=False)
        return keras.Model(inputs, outputs, name=model.name)
    except Exception as error:  # a user's `call` can raise anything
        raise RefusedError(
            f"The model {model.name!r} can't be called on the inputs that `input_signature` or the examples say"
            f"{watch.where}: {reason(error)} Say what it takes by `input_signature`, and let every `call` return "
            "tensors that keras.ops or TensorFlow made of its inputs."
        ) from error


def check(model: Any, input_signature: Any = None) -> None:
    """Refuse a model that no signature can be made of, and a signature for a model that has its own.

    Raises:
        ValueError: If it is such a one.
    """
    if is_subclassed(model):
        return
    check_model(model)
    if input_signature is not None:
        raise ValueError(
            "`input_signature` is for a subclassed model; a functional or sequential one has its own. Received: "
            f"{input_signature!r}."
        )


def specs(signature: Signature, examples: Any) -> Any:
    """Return what a subclassed model takes, as its SavedModel says it.

    Raises:
        RefusedError: If the order of several inputs can't be known.
    """
    made = {
        name: keras.InputSpec(shape=tensor.shape, dtype=tensor.dtype, name=name)
        for name, tensor in signature.inputs.items()
    }
    if len(made) == 1:
        return next(iter(made.values()))
    if isinstance(examples, list | tuple):
        raise RefusedError(
            f"Several inputs of a subclassed model are compared by their names. Received a list for {', '.join(made)}. "
            "Pass a dictionary, or a functional model that calls yours."
        )
    return made


def _knows(model: keras.Model) -> bool:
    return bool(getattr(model, "inputs", None)) and bool(getattr(model, "outputs", None))


def _inputs(model: keras.Model, given: Any) -> Any:
    """Return symbolic inputs in the structure of a signature or of examples."""
    if given is None:
        raise RefusedError(
            f"A subclassed model doesn't know what it takes. Received: {model.name!r}. Pass `examples`, or an "
            "`input_signature` such as keras.InputSpec(shape=(None, 28, 28), dtype='float32')."
        )
    if isinstance(given, Mapping):
        return {str(name): _input(model, one, str(name)) for name, one in given.items()}
    if isinstance(given, list | tuple) and all(hasattr(one, "shape") and hasattr(one, "dtype") for one in given):
        return [_input(model, one, getattr(one, "name", None)) for one in given]
    return _input(model, given, None)


def _input(model: keras.Model, given: Any, name: str | None) -> Any:
    try:
        array = given if hasattr(given, "shape") and hasattr(given, "dtype") else np.asarray(given)
        shape = tuple(None if size is None else int(size) for size in array.shape)
        if not shape:
            raise ValueError
        made = keras.Input(shape[1:], dtype=_dtype(array), name=name)
    except (TypeError, ValueError) as error:
        raise RefusedError(
            f"What the model {model.name!r} takes must be said by arrays, or as keras.InputSpec(shape=(None, ...), "
            f"dtype=...) with the batch first. Received: {given!r:.200}."
        ) from error
    return made


def _dtype(given: Any) -> str:
    """The dtype of a spec or an array; arrays of strings are objects, or of NumPy's own kinds."""
    kind = getattr(given.dtype, "kind", "")
    if kind in ("O", "U", "S"):
        return "string"
    dtype = keras.backend.standardize_dtype(given.dtype)
    is_array = hasattr(given, "__array__") and not keras.ops.is_tensor(given) and not keras.utils.is_keras_tensor(given)
    return "float32" if dtype == "float64" and is_array else dtype  # NumPy's floats, which Keras takes so too
