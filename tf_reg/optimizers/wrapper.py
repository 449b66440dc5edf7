"""A Keras optimizer around a Keras optimizer, with everything forwarded that Keras asks an optimizer for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from tf_reg._backend import Tensor
from tf_reg.optimizers.averaging import MovingAverage


class OptimizerWrapper(keras.optimizers.Optimizer):
    """An optimizer that lets another one make the step, and may change the weights after it.

    Learning rate, iterations and loss scale are those of the inner optimizer. So are the settings of its moving
    average. The subclass takes the average with `moving_average.update` at the end of its `apply`.

    Abstract: a subclass defines `apply`.

    Args:
        inner_optimizer: The optimizer that makes the step.
        name: The name of the optimizer.
    """

    def __init__(self, inner_optimizer: keras.optimizers.Optimizer, name: str | None = None):
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer
        self.moving_average = MovingAverage(inner_optimizer)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the inner optimizer's variables.

        Args:
            variables: The model's trainable variables.
        """
        self.inner_optimizer.build(variables)
        self.inner_optimizer.use_ema = False
        super().build(variables)

    @property
    def variables(self) -> list[keras.Variable]:
        """Its own variables, then the inner optimizer's."""
        return self._variables + self.inner_optimizer.variables

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's learning rate. It can be set."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self) -> Any:
        """The number of the inner optimizer's updates."""
        return self.inner_optimizer.iterations

    @property
    def loss_scale_factor(self) -> float | None:
        """The inner optimizer's loss scale. It can be set."""
        return self.inner_optimizer.loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor: float | None) -> None:
        if hasattr(self, "inner_optimizer"):  # Keras' constructor sets it before the inner optimizer is there
            self.inner_optimizer.loss_scale_factor = factor

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Return the inner optimizer's scaled loss."""
        return self.inner_optimizer.scale_loss(loss)

    @property
    def calls(self) -> Any:
        """The number of calls of the inner optimizer's `apply`. It exceeds the updates if gradients are accumulated."""
        return self.inner_optimizer._iterations

    @property
    def calls_per_update(self) -> int:
        """The number of calls over which the inner optimizer accumulates gradients; 1 if it doesn't."""
        return self.inner_optimizer.gradient_accumulation_steps or 1

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Set the weights to their averages, if the inner optimizer has `use_ema`."""
        self.moving_average.overwrite(var_list)

    def inner_config(self) -> dict[str, Any]:
        """Return the inner optimizer, serialised with the settings that it was given."""
        config = keras.saving.serialize_keras_object(self.inner_optimizer)
        config["config"]["use_ema"] = self.moving_average.used
        return config


def variables_of(model: keras.Layer) -> list[keras.Variable]:
    """Return the trainable variables of a model that has its variables.

    Args:
        model: A built Keras model or layer.

    Raises:
        ValueError: A model that isn't built.
    """
    if not model.built:
        raise ValueError(
            f"build expects a model that has its variables. Received: {model.name!r}, which isn't built. Call it on a "
            "batch of data, or call its build, before optimizer.build(model)."
        )
    return model.trainable_variables
