"""A Keras optimizer around a Keras optimizer: what must be forwarded, and the moving average that must come last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor


class OptimizerWrapper(keras.optimizers.Optimizer):
    """An optimizer that lets another one make the step, and may change the weights after it.

    Learning rate, iterations and loss scale are the inner optimizer's. So are `use_ema` and its settings, but the
    average is taken by `average`, which the subclass calls at the end of its `apply`: the inner optimizer would take
    it too early. Abstract: a subclass brings `apply`.

    Args:
        inner_optimizer: The optimizer that makes the step.
        name: The name of the optimizer.
    """

    def __init__(self, inner_optimizer: keras.optimizers.Optimizer, name: str | None = None):
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer
        self._averages = inner_optimizer.use_ema

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
        """The inner optimizer's learning rate; can be set."""
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
        """The inner optimizer's loss scale; can be set."""
        return self.inner_optimizer.loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor: float | None) -> None:
        if hasattr(self, "inner_optimizer"):  # Keras' constructor sets it before there is one
            self.inner_optimizer.loss_scale_factor = factor

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The inner optimizer's scaled loss."""
        return self.inner_optimizer.scale_loss(loss)

    @property
    def calls(self) -> Any:
        """The number of calls of the inner optimizer's `apply`: more than its updates if it accumulates gradients."""
        return self.inner_optimizer._iterations

    @property
    def calls_per_update(self) -> int:
        """How many calls the inner optimizer accumulates gradients over, 1 if it doesn't."""
        return self.inner_optimizer.gradient_accumulation_steps or 1

    def average(self, keeps_zeros: Callable[[keras.Variable], bool]) -> None:
        """Take Keras' moving average of the weights after a step, if the inner optimizer has `use_ema`.

        Args:
            keeps_zeros: Whether the average of a variable is made zero where the variable is zero.
        """
        inner = self.inner_optimizer
        before = ops.floor_divide(self.calls - 1, self.calls_per_update)
        for variable, average in self._averaged(inner._trainable_variables):
            momentum = ops.cast(ops.not_equal(before, 0), variable.dtype) * inner.ema_momentum
            value = momentum * average + (1 - momentum) * variable
            if keeps_zeros(variable):
                value = ops.where(ops.equal(variable, 0), ops.zeros_like(value), value)
            average.assign(value)
            if inner.ema_overwrite_frequency:
                overwrite = (before + 1) % inner.ema_overwrite_frequency == 0
                variable.assign(ops.where(overwrite, average.value, variable.value))

    def zero_averages(self, variables: Sequence[keras.Variable]) -> None:
        """Make the averages of variables zero where the variables are.

        Args:
            variables: Some of those that the optimizer was built for.
        """
        wanted = {id(variable) for variable in variables}
        for variable, average in self._averaged(self.inner_optimizer._trainable_variables):
            if id(variable) in wanted:
                average.assign(ops.where(ops.equal(variable, 0), ops.zeros_like(average.value), average.value))

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """The inner optimizer's last word: with `use_ema`, the averages become the weights."""
        for variable, average in self._averaged(var_list):
            variable.assign(ops.copy(average.value))  # with one buffer for both, JAX loses it at the next step

    def _averaged(self, variables: Sequence[keras.Variable]) -> list[tuple[keras.Variable, keras.Variable]]:
        if not self._averages:
            return []
        averages = self.inner_optimizer._model_variables_moving_average
        return [pair for pair in zip(variables, averages, strict=True) if pair[1] is not None]

    def inner_config(self) -> dict[str, Any]:
        """The inner optimizer, serialised as it was given."""
        config = keras.saving.serialize_keras_object(self.inner_optimizer)
        config["config"]["use_ema"] = self._averages
        return config
