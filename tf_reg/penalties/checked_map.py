"""The proximal operator of a regularizer as people call it: with numbers of any kind, which are checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tf_reg._backend import Tensor
from tf_reg._checks import floats, is_array, number, require
from tf_reg.penalties.penalty import Penalty
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
    return lambda value, step: _checked(penalty, value, step)


def _checked(penalty: Penalty, value: Any, step: Any) -> Tensor:
    """The proximal operator of numbers and a step that are checked."""
    tensor = floats(value, "value")
    if not is_array(step):
        require(0 <= number(step) < math.inf, "step is a number, zero or above, or a tensor", "step", step)
        return penalty.prox(tensor, number(step))
    shapes = {(), tuple(tensor.shape), penalty.factor_shape(tensor.shape) or ()}
    expected = f"step is a number, or has one of the shapes {', '.join(map(str, sorted(shapes)))} for this value"
    require(tuple(step.shape) in shapes, expected, "step", step)
    steps = floats(step, "step")
    if isinstance(step, np.ndarray):  # a tensor may not be computed yet
        require(bool(np.all((step >= 0) & (step < math.inf))), "step is finite, and nowhere below zero", "step", step)
    return penalty.prox(tensor, steps)
