"""What the checks of arguments have in common: one number out of what people give, and the sentence of an error."""

from __future__ import annotations

import math
import numbers
from typing import Any

import keras
import numpy as np
from keras import ops

MOST = 2**31 - 1  # of what is counted; the largest seed of scikit-learn too


def number(value: Any) -> float:
    """Return one real number as a float, and NaN for anything else.

    Args:
        value: A number of Python or NumPy, or a tensor, array or Keras variable without axes. A boolean isn't a number,
            and neither is a word or an integer that no float holds.
    """
    if isinstance(value, (numbers.Real, np.number)) and not isinstance(value, bool):
        try:
            return float(value)
        except (OverflowError, TypeError):
            return math.nan
    if not is_array(value) or tuple(value.shape) != ():
        return math.nan
    array = ops.convert_to_numpy(value)
    return float(array) if np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array) else math.nan


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
