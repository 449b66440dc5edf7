"""Fewer passes over memory: on TensorFlow, many small operations on the weights compiled into one kernel, in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor, in_a_graph
from tf_reg._vectors import assign_all

WORTH_COMPILING = 2**16  # weights; below that a compilation costs more than it saves


def compiles(weights: int) -> bool:
    """Whether a function of so many weights should be `fused`: it is part of a TensorFlow graph, and they are many.

    On JAX the whole training step is compiled anyway. On torch, in eager TensorFlow and under a distribution strategy
    nothing is.

    Args:
        weights: How many numbers the function works on.
    """
    return _runs_one_by_one() and weights >= WORTH_COMPILING


def fused(function: Callable[[], Any]) -> Any:
    """The result of a function, computed by XLA as one kernel. Call it where `compiles` says so.

    Args:
        function: Takes nothing, and returns tensors or nothing.
    """
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)()


def update(
    variables: Sequence[keras.Variable], function: Callable[[], Sequence[Tensor]], due: Tensor | bool = True
) -> None:
    """Assign what a function returns to variables, if it is due.

    A TensorFlow graph runs its operations one by one, each a pass over memory, and every result in memory of its own.
    There the function and the assignments are fused, and where it isn't due nothing is touched.

    Args:
        variables: The variables.
        function: Takes nothing, and returns a tensor for each variable. It has no side effects.
        due: Whether to call it; True where that is known beforehand.
    """
    if _runs_one_by_one():
        _update_in_graph(variables, function, due)
        return
    values = function() if due is True else ops.cond(due, function, lambda: [ops.stop_gradient(v) for v in variables])
    assign_all(variables, values)


def _runs_one_by_one() -> bool:
    if not in_a_graph():
        return False
    import tensorflow as tf

    return not tf.distribute.has_strategy()


def _update_in_graph(
    variables: Sequence[keras.Variable], function: Callable[[], Sequence[Tensor]], due: Tensor | bool
) -> None:
    import tensorflow as tf

    def assign() -> None:
        for variable, value in zip(variables, function(), strict=True):
            variable.assign(value)

    def run() -> None:
        if compiles(sum(math.prod(variable.shape) for variable in variables)):
            fused(assign)
        else:
            assign()

    if due is True:
        run()
    else:
        tf.cond(due, run, lambda: None)
