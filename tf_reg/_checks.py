"""What the checks of arguments have in common: one number out of what people give, and the sentence of an error."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np
from keras import ops

Made = TypeVar("Made")
MOST = 2**31 - 1  # of what is counted; the largest seed of scikit-learn too


def number(value: Any) -> float:
    """Return one real number as a float, and NaN for anything else.

    Args:
        value: A number of Python or NumPy, or a tensor, array or Keras variable without axes. A boolean isn't a number,
            and neither is a word or an integer that no float holds.
    """
    if is_array(value):
        if tuple(value.shape) != ():
            return math.nan
        value = _scalar(value)
    if isinstance(value, bool) or not (isinstance(value, (numbers.Real, np.number)) or is_short_float(value)):
        return math.nan
    try:
        return math.nan if np.iscomplexobj(value) else float(value)
    except (OverflowError, TypeError):
        return math.nan


def _scalar(value: Any) -> Any:
    """The scalar of an array or tensor without axes; None for one that isn't computed yet."""
    if isinstance(value, np.ndarray):
        return value[()]
    short = keras.backend.standardize_dtype(value.dtype) == "bfloat16"
    try:  # NumPy reads no scalar tensor of TensorFlow's in bfloat16
        return ops.convert_to_numpy(ops.cast(value, "float32") if short else value)[()]
    except (NotImplementedError, TypeError):
        return None


def is_short_float(value: Any) -> bool:
    """Whether a number or an array is of bfloat16, or of a shorter type that NumPy itself doesn't know."""
    return isinstance(value, (np.generic, np.ndarray)) and "float" in value.dtype.name and value.dtype.kind == "V"


def count(value: Any, name: str, least: int = 1, most: int = MOST) -> int:
    """Return a whole number, checked.

    Args:
        value: What was given.
        name: The argument.
        least: The smallest that it may be.
        most: The largest.

    Raises:
        ValueError: Something else.
    """
    right = is_integer(value) and least <= value <= most
    require(right, f"{name} is a whole number from {least} to {most}", name, value)
    return int(value)


def is_array(value: Any) -> bool:
    """Return whether a value is a NumPy array, a tensor of the backend or a Keras variable."""
    return isinstance(value, (np.ndarray, keras.Variable)) or ops.is_tensor(value)


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer, Python's or NumPy's, and no boolean."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def floats(value: Any, name: str) -> Any:
    """Return numbers as a tensor of floats: integers as those of Keras' default type.

    Args:
        value: An array, a tensor, a Keras variable, or what makes an array: a list or a number.
        name: The argument.

    Raises:
        ValueError: Something else, such as words or complex numbers.
    """
    expected = f"{name} is an array of numbers"
    require(not isinstance(value, keras.KerasTensor), expected, name, value)  # it has none yet
    listed = isinstance(value, (list, tuple, float, int, np.generic))
    try:
        tensor = ops.convert_to_tensor(np.asarray(value) if listed else value)
        dtype = keras.backend.standardize_dtype(tensor.dtype)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{expected}. Received: {name}={shown(value)}.") from error
    if keras.backend.is_float_dtype(dtype):
        return tensor
    require(keras.backend.is_int_dtype(dtype), expected, name, value)
    return ops.cast(tensor, keras.config.floatx())


def from_config(name: str, config: Any, make: Callable[[dict[str, Any]], Made]) -> Made:
    """Return what a configuration describes.

    Args:
        name: The class.
        config: What its `get_config` returned.
        make: Makes an object of a copy of it.

    Raises:
        ValueError: A configuration of something else.
    """
    expected = f"config is what get_config() of a {name} returns"
    require(isinstance(config, dict), expected, "config", config)
    try:
        return make(dict(config))
    except Exception as error:  # a broken file raises anything
        raise ValueError(f"{expected}. Received: config={shown(config)}. {error}") from error


def checked_path(value: Any, name: str) -> Path:
    """Return a path, checked: a text that isn't empty, or a `pathlib.Path`.

    Args:
        value: What was given.
        name: The argument.

    Raises:
        ValueError: Something else.
    """
    named = isinstance(value, (str, os.PathLike)) and os.fspath(value) and "\0" not in str(value)
    require(bool(named), f"{name} is a path", name, value)
    return Path(value)


def flag(value: Any, name: str) -> bool:
    """Return a boolean, checked.

    Args:
        value: What was given.
        name: The argument.

    Raises:
        ValueError: Something else.
    """
    require(isinstance(value, bool), f"{name} is True or False", name, value)
    return bool(value)


def require(condition: bool, expected: str, name: str, received: Any) -> None:
    """Raise a `ValueError` that says what was expected, and what was received as `name`."""
    if not condition:
        raise ValueError(f"{expected}. Received: {name}={shown(received)}")


def shown(value: Any) -> str:
    """Return a value as an error shows it: in one line, and not longer than that."""
    try:
        words = " ".join(repr(value).split())
    except ValueError:  # Python writes no integer of more than 4,300 digits
        words = f"an integer of {value.bit_length()} bits"
    return words if len(words) <= 200 else f"{words[:200]}..."
