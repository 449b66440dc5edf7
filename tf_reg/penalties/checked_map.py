"""The proximal operator of a regularizer as people call it: with numbers of any kind, which are checked."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import is_array, number, require, shown
from tf_reg.penalties.registry import ProximalMap, penalty_of


def proximal_map(regularizer: Any) -> ProximalMap | None:
    """The proximal operator of a regularizer as a function of a value and a step; None where it has none.

    Args:
        regularizer: A regularizer of a layer: `keras.regularizers.L1`, `L2`, `L1L2`, any of tf_reg's,
            or of a class given to `register_prox`. For anything else, None too, the answer is None.

    Returns:
        A function of a value (numbers, of any shape that the penalty takes; integers become floats) and a step, which
        is a number, zero or above, or a tensor. It raises `ValueError` for anything else.

    Example:

    >>> shrink = tf_reg.proximal_map(keras.regularizers.L1(0.5))
    >>> keras.ops.convert_to_numpy(shrink(keras.ops.array([3.0, -0.5]), 2.0)).tolist()
    [2.0, 0.0]
    >>> tf_reg.proximal_map(keras.regularizers.OrthogonalRegularizer()) is None
    True
    """
    penalty = penalty_of(regularizer)
    if penalty is None:
        return None
    return lambda value, step: penalty.prox(_floats("value", value), _step(step))


def _floats(name: str, given: Any) -> Tensor:
    """Numbers as a tensor of floats: integers as those of Keras' default type."""
    try:
        tensor = ops.convert_to_tensor(np.asarray(given) if isinstance(given, (list, tuple, float, int)) else given)
        dtype = keras.backend.standardize_dtype(tensor.dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is an array of numbers. Received: {name}={shown(given)}.") from error
    if keras.backend.is_float_dtype(dtype):
        return tensor
    require(keras.backend.is_int_dtype(dtype), f"{name} is an array of numbers", name, given)
    return ops.cast(tensor, keras.config.floatx())


def _step(step: Any) -> Any:
    """A step, which is checked where it is a plain number."""
    if is_array(step):
        return _floats("step", step)
    require(0 <= number(step) < math.inf, "step is a number, zero or above, or a tensor", "step", step)
    return number(step)
