"""The squared error in units of the target's variance: a loss for targets of any scale."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor


@keras.saving.register_keras_serializable(package="tf_reg")
class RelativeSquaredError(keras.losses.Loss):
    """The mean of `(y - prediction)^2 / variance`.

    It is the squared error of a target that was divided by its standard deviation. So a strength of a penalty, and a
    learning rate, don't depend on the target's unit.

    Args:
        variance: The variance of the training targets, above 0.
        **more: What a loss of Keras takes, such as `name`.
    """

    def __init__(self, variance: float, **more: Any):
        super().__init__(**more)
        self.variance = float(variance)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The error of each row, `(rows,)`."""
        y_true = ops.cast(y_true, y_pred.dtype)
        return ops.mean(ops.square(y_true - y_pred), axis=-1) / ops.cast(self.variance, y_pred.dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {**super().get_config(), "variance": self.variance}


@keras.saving.register_keras_serializable(package="tf_reg")
class MeanRelativeSquaredError(keras.metrics.Mean):
    """The same as a metric, over all rows.

    Args:
        variance: As in `RelativeSquaredError`.
        name: The name of the metric.
        **more: What a metric of Keras takes.
    """

    def __init__(self, variance: float, name: str = "data_loss", **more: Any):
        super().__init__(name=name, **more)
        self.variance = float(variance)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Count the rows of a batch.

        Args:
            y_true: The targets, `(rows, 1)`.
            y_pred: The predictions, `(rows, 1)`.
            sample_weight: The weight of each row, `(rows,)`.
        """
        super().update_state(RelativeSquaredError(self.variance, reduction=None)(y_true, y_pred), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {**super().get_config(), "variance": self.variance}
