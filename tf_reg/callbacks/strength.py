"""What the callbacks that set the strength of a `tf_reg.Proximal` have in common."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tf_reg.optimizers.proximal import Proximal


def proximal_of(optimizer: Any) -> Proximal | None:
    """The `Proximal` that an optimizer is, or that it wraps; None where there is none.

    With mixed precision Keras wraps a model's optimizer in a `LossScaleOptimizer`, which has no strength. This finds
    the one that has, wrapped or not.

    Args:
        optimizer: A Keras optimizer: `model.optimizer`.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(1, kernel_regularizer="l1", dtype="mixed_float16")])
        >>> model.compile(tf_reg.Proximal("sgd"), "mse")
        >>> tf_reg.proximal_of(model.optimizer).strength = 0.5
    """
    while optimizer is not None and not isinstance(optimizer, Proximal):
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer


def strength_of(optimizer: Proximal) -> float:
    """The multiplier of all penalties that a `Proximal` has now."""
    return float(ops.convert_to_numpy(optimizer.strength))


class StrengthCallback(keras.callbacks.Callback):
    """What the callbacks have in common: the optimizer whose strength they move."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that the model's optimizer has a strength that can be set."""
        if not isinstance(self.optimizer().strength, keras.Variable):
            raise ValueError(
                f"{type(self).__name__} moves a strength that is a number. Received a tf_reg.Proximal whose strength "
                "is a schedule. Construct it with a number, or train without this callback."
            )

    def optimizer(self) -> Proximal:
        """The `Proximal` of the model in training."""
        outermost = self.model.optimizer  # on JAX, reading `self.model` brings the variables up to date
        optimizer = proximal_of(outermost)
        if optimizer is None:
            raise ValueError(
                f"{type(self).__name__} moves the strength of a tf_reg.Proximal. Received a model whose optimizer is "
                f"{type(outermost).__name__}. Compile it with tf_reg.Proximal(optimizer)."
            )
        return optimizer


def require(condition: bool, expected: str, name: str, received: Any) -> None:
    """Raise a `ValueError` that says what was expected, and what was received as `name`."""
    if not condition:
        raise ValueError(f"{expected}. Received: {name}={received!r}")
