"""What the callbacks that set the strength of a `tf_reg.Proximal` have in common."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tf_reg._trainer import optimizers_of, parts_of
from tf_reg.callbacks.output_watcher import OutputWatcher
from tf_reg.optimizers.proximal import Proximal


def proximal_of(optimizer: Any) -> Proximal | None:
    """Find the one `Proximal` that an optimizer or a model has.

    With mixed precision Keras wraps a model's optimizer in a `LossScaleOptimizer`, which has no strength. A
    `keras.optimizers.MultiOptimizer` has none either. This finds the optimizer inside that has one.

    Args:
        optimizer: A Keras optimizer (`model.optimizer`), or a model. Of a model, its attributes are searched too.

    Returns:
        The `Proximal`, or None where there is none or more than one.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(1, kernel_regularizer="l1", dtype="mixed_float16")])
        >>> model.compile(tf_reg.Proximal("sgd"), "mse")
        >>> tf_reg.proximal_of(model.optimizer).strength = 0.5
    """
    found = proximals_of(optimizer)
    return found[0] if len(found) == 1 else None


def proximals_of(optimizer: Any) -> list[Proximal]:
    """Find every `Proximal` that an optimizer or a model has.

    Args:
        optimizer: A Keras optimizer, a model, or None.
    """
    parts = optimizers_of(optimizer) if isinstance(optimizer, keras.layers.Layer) else parts_of(optimizer)
    return list({id(part): part for part in parts if isinstance(part, Proximal)}.values())


def strength_of(optimizer: Proximal) -> float:
    """The multiplier of all penalties that a `Proximal` has now."""
    return float(ops.convert_to_numpy(optimizer.strength))


class StrengthCallback(OutputWatcher):
    """What the callbacks have in common: the optimizer whose strength they move, and a look at what came out."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that the model's optimizer has a strength that can be set."""
        if self.optimizer().scheduled:
            raise ValueError(
                f"{type(self).__name__} moves a strength that is a number. Received a tf_reg.Proximal whose strength "
                "is a schedule. Construct it with a number, or train without this callback."
            )

    def optimizer(self) -> Proximal:
        """The `Proximal` of the model in training."""
        model = self.model  # on JAX, reading it brings the variables up to date
        found = proximals_of(model)
        if not found:
            raise ValueError(
                f"{type(self).__name__} moves the strength of a tf_reg.Proximal. Received a model whose optimizer is "
                f"{type(model.optimizer).__name__}. Compile it with tf_reg.Proximal(optimizer)."
            )
        if len(found) > 1:
            raise ValueError(
                f"{type(self).__name__} moves the strength of one tf_reg.Proximal. Received a model with "
                f"{len(found)}: {', '.join(one.name for one in found)}. Set the strength of each one yourself."
            )
        return found[0]
