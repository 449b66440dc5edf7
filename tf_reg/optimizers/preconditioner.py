"""The step size of a Keras optimizer and its preconditioner, which a proximal step must use as well.

A proximal operator must move the weights at the same rate at which the optimizer follows the gradient. Otherwise the
penalty and the data balance at the wrong weights. Keras' rules, with g the gradient and t the number of updates, from
1:

| optimizer | step size | preconditioner, per weight |
|---|---|---|
| SGD | `lr` | 1 |
| Adam, AdamW | `lr * sqrt(1 - beta_2^t)` | `1 / (sqrt(v) + epsilon)`; amsgrad: of its largest v |
| RMSprop | `lr` | `1 / sqrt(v + epsilon)`; centered: of `v - mean(g)^2 + epsilon` |
| Adagrad | `lr` | `1 / sqrt(sum(g^2) + epsilon)` |

Adam's factor `1 - beta_1^t` is missing on purpose: it turns a sum of gradients into an average. With momentum m, a
gradient contributes to many updates. The step size s then becomes `tau <- m * tau + s`, and with Nesterov's momentum
`m * tau + s`. Yun, Lozano & Yang 2021, "Adaptive proximal gradient methods for structured neural networks".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import require
from tf_reg._vectors import held, joined

_FAMILIES = (keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.RMSprop, keras.optimizers.Adagrad)
NEAR_ZERO = 1e-3  # of a sum of squared gradients
SUPPORTED = "SGD (plain, momentum, Nesterov), Adam, AdamW, RMSprop and Adagrad"


def optimizer_of(given: Any, name: str) -> keras.optimizers.Optimizer:
    """Return an optimizer whose step is known.

    Args:
        given: A Keras optimizer or its name.
        name: The argument.

    Raises:
        ValueError: Something else, or an optimizer that `check` refuses.
    """
    try:
        optimizer = keras.optimizers.get(given)
    except Exception:  # what it raises depends on what was given
        optimizer = None
    known = isinstance(optimizer, keras.optimizers.Optimizer)
    require(known, f"{name} is a Keras optimizer or the name of one", name, given)
    check(optimizer)
    return optimizer


def check(optimizer: Any) -> None:
    """Check that the step of an optimizer is known.

    Args:
        optimizer: A Keras optimizer.

    Raises:
        ValueError: Another optimizer than those of the table, or a subclass with an `update_step` of its own.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            "Proximal expects the optimizer that makes the steps. Received: a LossScaleOptimizer, which would see "
            "scaled gradients inside. Put it outside: LossScaleOptimizer(Proximal(optimizer)); "
            "compile() does so by itself under mixed_float16."
        )
    if _family(optimizer) is None:
        raise ValueError(
            f"Proximal knows the step of {SUPPORTED}. Received: {type(optimizer).__name__}. "
            "Use one of these, or leave the penalty in the loss with the optimizer as it is."
        )


def _family(optimizer: Any) -> type | None:
    for family in _FAMILIES:
        if isinstance(optimizer, family) and type(optimizer).update_step is family.update_step:
            return family
    return None


def step_size(optimizer: keras.optimizers.Optimizer, learning_rate: Tensor, updates: Tensor) -> Tensor:
    """Return the step size of the table. A scalar.

    Args:
        optimizer: A supported optimizer.
        learning_rate: The learning rate of an update. A scalar.
        updates: The number of that update, from 1. A scalar.
    """
    if _family(optimizer) is not keras.optimizers.Adam:
        return learning_rate
    beta = ops.cast(optimizer.beta_2, learning_rate.dtype)
    return learning_rate * ops.sqrt(1 - ops.power(beta, ops.cast(updates, learning_rate.dtype)))


def with_momentum(optimizer: keras.optimizers.Optimizer, tau: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next `tau` and the step size with momentum. Without momentum both are `new`.

    Args:
        optimizer: A supported optimizer.
        tau: The `tau` of the update before; 0 before the first update. A scalar.
        new: The step size of this update. A scalar.
    """
    momentum = getattr(optimizer, "momentum", 0.0)
    tau = tau * momentum + new
    return tau, tau * momentum + new if getattr(optimizer, "nesterov", False) else tau


def reach(optimizer: keras.optimizers.Optimizer, learning_rate: Tensor, tau: Tensor) -> Tensor | None:
    """Return the farthest that an adaptive optimizer moves a weight in one update, whatever the gradients were.

    It is a scalar, and None where `has_reach` is False.

    - Adam, with `r = beta_1^2 / beta_2`: `lr * (1 - beta_1) / sqrt((1 - beta_2) * (1 - r))`, by Cauchy and Schwarz.
    - RMSprop: `tau / sqrt(1 - rho)`.
    - Adagrad whose accumulator starts near zero: `tau`. (Elsewhere its step size has a bound of its own.)

    Where there is no such bound (centered RMSprop, Adam with `r >= 1`), `is_bounded` is False and this is 3 times `tau`
    or the learning rate.

    Args:
        optimizer: A supported optimizer.
        learning_rate: The learning rate of the update. A scalar.
        tau: The step size with momentum, as `with_momentum` returns it. A scalar.
    """
    if not has_reach(optimizer):
        return None
    usual = learning_rate if _family(optimizer) is keras.optimizers.Adam else tau
    return usual * (_largest_ratio(optimizer) or 3.0)


def has_reach(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the step size of a weight without a gradient has no bound. It has one in SGD.

    In Adagrad it has one too, unless the accumulator starts near zero.
    """
    family = _family(optimizer)
    if family is keras.optimizers.Adagrad:
        return optimizer.initial_accumulator_value < NEAR_ZERO
    return family is not keras.optimizers.SGD


def is_bounded(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether `reach` is a bound on the moves of an adaptive optimizer."""
    return _largest_ratio(optimizer) is not None


def _largest_ratio(optimizer: Any) -> float | None:
    """How large a preconditioned gradient can be, None where it has no bound."""
    family = _family(optimizer)
    if family is keras.optimizers.Adam:
        left = (1 - optimizer.beta_2) * (1 - optimizer.beta_1**2 / optimizer.beta_2)
        return max(1.0, (1 - optimizer.beta_1) / math.sqrt(left)) if left > 0 else None
    if family is keras.optimizers.RMSprop:
        return None if optimizer.centered else 1 / math.sqrt(1 - optimizer.rho)
    return 1.0


def factor(optimizer: keras.optimizers.Optimizer, *variables: Any) -> Tensor | None:
    """Return the preconditioner of a variable, just after an update; None if it is 1 for all weights.

    It has the variable's shape, and is in float32 or float64. That of several variables, on torch, is one vector.

    Args:
        optimizer: A supported optimizer.
        variables: One of the variables that it was built with, or several of one dtype.
    """
    if _family(optimizer) is keras.optimizers.SGD:
        return None
    squares = _squares(optimizer, variables)
    if _family(optimizer) is keras.optimizers.Adam:
        return 1 / (ops.sqrt(squares) + optimizer.epsilon)
    if getattr(optimizer, "centered", False):
        squares = squares - ops.square(_slots(optimizer, optimizer._average_gradients, variables))
    return ops.rsqrt(squares + optimizer.epsilon)


def had_gradient(optimizer: keras.optimizers.Optimizer, variable: Any) -> Tensor:
    """Where an adaptive optimizer has seen a gradient that wasn't zero, boolean of the variable's shape.

    Args:
        optimizer: A supported optimizer, not SGD.
        variable: One of the variables that it was built with.
    """
    return _squares(optimizer, [variable]) > 0


def _squares(optimizer: Any, variables: Sequence[Any]) -> Tensor:
    """The average or sum of squared gradients that the step size depends on."""
    family = _family(optimizer)
    if family is keras.optimizers.Adagrad:
        slots = optimizer._accumulators
    elif family is keras.optimizers.Adam and optimizer.amsgrad:
        slots = optimizer._velocity_hats
    else:
        slots = optimizer._velocities
    return _slots(optimizer, slots, variables)


def _slots(optimizer: Any, slots: Sequence[Any], variables: Sequence[Any]) -> Tensor:
    """What an optimizer keeps for variables, in float32 or float64."""
    chosen = [slots[optimizer._get_variable_index(variable)] for variable in variables]
    value = joined(held(chosen))
    return value if chosen[0].dtype in ("float32", "float64") else ops.cast(value, "float32")
