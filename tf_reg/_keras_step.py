"""The parts of the step of Keras' optimizers, which have no public name: `apply` makes a step of all variables only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_reg._backend import Tensor
from tf_reg._keras import private

_STEP = (  # the methods of Keras' optimizers that the functions here stand for or call
    "apply",
    "_backend_apply_gradients",
    "_backend_update_step",
    "_backend_increment_gradient_accumulators",
    "_apply_weight_decay",
    "_clip_gradients",
)


def makes_parted_steps(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> bool:
    """Return whether a step of an optimizer is a step for each variable by itself: it has Keras' own `apply`.

    Args:
        optimizer: An optimizer.
        variables: What it is going to update.
    """
    base = keras.optimizers.Optimizer
    plain = all(private(type(optimizer), name) is private(base, name) for name in _STEP)
    return plain and not any(getattr(variable, "overwrite_with_gradient", False) for variable in variables)


def with_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[Any], variables: Sequence[keras.Variable]
) -> list[tuple[Any, keras.Variable]]:
    """Return the gradients that there are, each with its variable, after Keras' checks.

    Args:
        optimizer: A built optimizer.
        gradients: The gradients; None where there is none.
        variables: Their variables.

    Raises:
        ValueError: Variables that the optimizer wasn't built with, or no gradient at all.
    """
    private(optimizer, "_check_variables_are_known")(variables)
    return list(zip(*private(optimizer, "_filter_empty_gradients")(gradients, variables), strict=True))


def clips_together(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether the clipping of a gradient needs all gradients.

    Args:
        optimizer: An optimizer.
    """
    return bool(optimizer.global_clipnorm) and not optimizer.clipnorm


def final_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[Any], variables: Sequence[keras.Variable]
) -> list[Any]:
    """Return the gradients of an update: without the loss scale, the mean of those accumulated, and clipped.

    Args:
        optimizer: A built optimizer.
        gradients: The gradients of the last call of `apply`.
        variables: Their variables. If `clips_together`, they are all.
    """
    scale, steps = optimizer.loss_scale_factor, optimizer.gradient_accumulation_steps
    if scale is not None:
        gradients = [gradient / scale for gradient in gradients]
    if steps:
        sums = accumulators(optimizer, variables)
        gradients = [(gradient + one) / steps for gradient, one in zip(gradients, sums, strict=True)]
    return list(private(optimizer, "_clip_gradients")(gradients))


def accumulators(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    """Return the sums of gradients of variables.

    Args:
        optimizer: A built optimizer with `gradient_accumulation_steps`.
        variables: Some of its variables.
    """
    sums, index = private(optimizer, "_accumulated_gradients"), private(optimizer, "_get_variable_index")
    return [sums[index(variable)] for variable in variables]


def accumulate(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[Any], variables: Sequence[keras.Variable]
) -> None:
    """Do what `apply` does in a call that makes no update, without its moving average and its count.

    Args:
        optimizer: A built optimizer with `gradient_accumulation_steps`.
        gradients: The gradients.
        variables: Their variables.
    """
    scale = optimizer.loss_scale_factor
    if scale is not None:
        gradients = [gradient / scale for gradient in gradients]
    sums = accumulators(optimizer, variables)
    private(optimizer, "_backend_increment_gradient_accumulators")(gradients, sums)
    _constrain(variables)


def update(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Any],
    variables: Sequence[keras.Variable],
    learning_rate: Tensor,
) -> None:
    """Do what `apply` does to some variables, without its moving average and its count.

    Args:
        optimizer: A built optimizer that `makes_parted_steps`.
        gradients: Their `final_gradients`.
        variables: Some of its variables.
        learning_rate: Its learning rate, a scalar.
    """
    decay = optimizer.weight_decay
    for variable in variables if decay is not None else ():
        if decays(optimizer, variable):
            rate, share = (keras.ops.cast(one, variable.dtype) for one in (learning_rate, decay))
            variable.assign(variable - variable * share * rate)
    private(optimizer, "_backend_update_step")(gradients, variables, learning_rate)
    _constrain(variables)
    for one in accumulators(optimizer, variables) if optimizer.gradient_accumulation_steps else ():
        one.assign(keras.ops.zeros_like(one))


def owned(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    """Return each variable, followed by all that an optimizer keeps for it, in one order for all variables.

    Args:
        optimizer: A built optimizer.
        variables: Some of its variables.
    """
    trained = private(optimizer, "_trainable_variables")
    kept = [value for value in vars(optimizer).values() if isinstance(value, list) and len(value) == len(trained)]
    found = []
    for variable in variables:
        place = private(optimizer, "_get_variable_index")(variable)
        slots = [slot[place] for slot in kept if isinstance(slot[place], keras.Variable)]
        found += [variable, *(slot for slot in slots if slot is not variable and slot.shape == variable.shape)]
    return found


def scalars(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return what an optimizer keeps for all variables together, such as its count of steps.

    Args:
        optimizer: A built optimizer.
    """
    found = [value for value in vars(optimizer).values() if isinstance(value, keras.Variable)]
    return [variable for variable in found if len(variable.shape) == 0]


def settings(optimizer: keras.optimizers.Optimizer) -> tuple[tuple[str, Any], ...]:
    """Return the attributes of an optimizer that are plain values, which are constants in a compiled step.

    Args:
        optimizer: An optimizer.
    """
    plain = (bool, int, float, str, np.generic, type(None))
    return tuple(sorted(pair for pair in vars(optimizer).items() if isinstance(pair[1], plain)))


def decays(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> bool:
    """Return whether the weight decay of an optimizer is for a variable too.

    Args:
        optimizer: An optimizer.
        variable: One of its variables.
    """
    return bool(private(optimizer, "_use_weight_decay")(variable))


def _constrain(variables: Sequence[keras.Variable]) -> None:
    for variable in variables:
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
