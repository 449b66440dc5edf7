"""The step that a Keras optimizer takes in its own metric: a number, times a factor per weight where it adapts.

A penalty that is paid by a proximal step must be paid at the rate at which the optimizer follows the gradient, or the
two meet at the wrong weights. Keras' rules, with g the gradient and t the count of updates, from 1:

| optimizer | number | factor per weight |
|---|---|---|
| SGD | `lr` | 1 |
| Adam, AdamW | `lr * sqrt(1 - beta_2^t)` | `1 / (sqrt(v) + epsilon)`; amsgrad: of its largest v |
| RMSprop | `lr` | `1 / sqrt(v + epsilon)`; centered: of `v - mean(g)^2 + epsilon` |
| Adagrad | `lr` | `1 / sqrt(sum(g^2) + epsilon)` |

Adam's `1 - beta_1^t` isn't there, because it makes an average of gradients out of their sum. With momentum m a
gradient goes on working for many steps: the number n becomes `tau <- m * tau + n`, and with Nesterov's
`m * tau + n`. Yun, Lozano & Yang 2021, "Adaptive proximal gradient methods for structured neural networks".
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor

_FAMILIES = (keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.RMSprop, keras.optimizers.Adagrad)
SUPPORTED = "SGD (plain, momentum, Nesterov), Adam, AdamW, RMSprop and Adagrad"


def check(optimizer: Any) -> None:
    """Raise `ValueError` for an optimizer whose metric isn't known.

    A subclass that has its own `update_step` isn't known either.
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


def number(optimizer: keras.optimizers.Optimizer, learning_rate: Tensor) -> Tensor:
    """The number of the table, just after the optimizer has made its update.

    Args:
        optimizer: A supported optimizer.
        learning_rate: The learning rate of that update, a scalar.
    """
    if _family(optimizer) is not keras.optimizers.Adam:
        return learning_rate
    beta = ops.cast(optimizer.beta_2, learning_rate.dtype)
    return learning_rate * ops.sqrt(1 - ops.power(beta, ops.cast(optimizer.iterations, learning_rate.dtype)))


def with_momentum(optimizer: keras.optimizers.Optimizer, tau: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """The next `tau` and the number in effect; both are `new` without momentum.

    Args:
        optimizer: A supported optimizer.
        tau: The `tau` of the update before, a scalar; 0 before the first.
        new: The number of this update, a scalar.
    """
    momentum = getattr(optimizer, "momentum", 0.0)
    tau = tau * momentum + new
    return tau, tau * momentum + new if getattr(optimizer, "nesterov", False) else tau


def factor(optimizer: keras.optimizers.Optimizer, variable: Any) -> Tensor | None:
    """The factor per weight, just after an update, in float32 or float64; None where it is 1 for all.

    Args:
        optimizer: A supported optimizer.
        variable: One of the variables that it was built with.
    """
    family = _family(optimizer)
    if family is keras.optimizers.SGD:
        return None
    index = optimizer._get_variable_index(variable)
    if family is keras.optimizers.Adam:
        slots = optimizer._velocity_hats if optimizer.amsgrad else optimizer._velocities
        return 1 / (ops.sqrt(_wide(slots[index])) + optimizer.epsilon)
    if family is keras.optimizers.Adagrad:
        return ops.rsqrt(_wide(optimizer._accumulators[index]) + optimizer.epsilon)
    squares = _wide(optimizer._velocities[index])
    if optimizer.centered:
        squares = squares - ops.square(_wide(optimizer._average_gradients[index]))
    return ops.rsqrt(squares + optimizer.epsilon)


def _wide(slot: Any) -> Tensor:
    return ops.cast(slot, "float64" if slot.dtype == "float64" else "float32")
