"""Keras' moving average of the weights (`use_ema`), taken after the proximal step so that it keeps zeros."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
from keras import ops

from tf_reg._backend import Tensor


class Average(NamedTuple):
    """What the moving average of one step needs.

    Args:
        started: Whether there is an average of an update before. A boolean scalar.
        overwrites: Whether the weights are set to their averages. A boolean scalar; None if they never are.
    """

    started: Tensor
    overwrites: Tensor | None


class MovingAverage:
    """The moving average of an optimizer, taken later than the optimizer itself would take it.

    Keras' optimizers take it at the end of their own step, which is before the proximal step.

    Args:
        optimizer: An optimizer. Its settings `use_ema`, `ema_momentum` and `ema_overwrite_frequency` are read when they
            are needed.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        self._optimizer = optimizer
        self._steps = 0  # how many steps are in `postponed`: each replica of a MirroredStrategy may be there
        self._use_ema: Any = False  # the optimizer's setting while a step is in `postponed`

    @property
    def used(self) -> bool:
        """Whether there is a moving average."""
        return bool(self._use_ema if self._steps else self._optimizer.use_ema)

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Let the optimizer make steps without an average within a `with` block."""
        if not self._steps:
            self._use_ema = self._optimizer.use_ema
        self._steps += 1
        if self._use_ema:
            self._optimizer.use_ema = False
        try:
            yield
        finally:
            self._steps -= 1
            if self._use_ema and not self._steps:
                self._optimizer.use_ema = self._use_ema

    def next(self, before: Tensor) -> Average | None:
        """Return what the next average needs; None if there is no moving average.

        Args:
            before: How many updates the optimizer has made. A scalar.
        """
        if not self.used:
            return None
        frequency = self._optimizer.ema_overwrite_frequency
        return Average(ops.not_equal(before, 0), (before + 1) % frequency == 0 if frequency else None)

    def update(
        self, step: Average | None, variables: Sequence[keras.Variable], keeps_zeros: Sequence[keras.Variable]
    ) -> None:
        """Take the average after a step.

        Args:
            step: What `next` returned before it.
            variables: Some of the optimizer's variables.
            keeps_zeros: The variables whose average becomes zero where the variable is zero.
        """
        if step is None:
            return
        chosen, zeros = _ids(variables), _ids(keeps_zeros)
        for variable, average in self._pairs(self._optimizer._trainable_variables):
            if id(variable) not in chosen:
                continue
            momentum = ops.cast(step.started, variable.dtype) * self._optimizer.ema_momentum
            value = momentum * average + (1 - momentum) * variable
            if id(variable) in zeros:
                value = ops.where(ops.equal(variable, 0), ops.zeros_like(value), value)
            average.assign(value)
            if step.overwrites is not None:
                variable.assign(ops.where(step.overwrites, average.value, variable.value))

    def overwrite(self, variables: Sequence[keras.Variable]) -> None:
        """Set the weights to their averages.

        Args:
            variables: The variables that the optimizer was built with, in their order.
        """
        for variable, average in self._pairs(variables) if self.used else ():
            variable.assign(ops.copy(average.value))  # JAX would lose a buffer that both share at the next step

    def _pairs(self, variables: Sequence[keras.Variable]) -> list[tuple[keras.Variable, keras.Variable]]:
        averages = getattr(self._optimizer, "_model_variables_moving_average", None)
        if averages is None:
            raise ValueError(
                "use_ema must be set before an optimizer is built. Received: use_ema=True on one that was built "
                "without it, and so has no moving averages. Compile the model with a new optimizer."
            )
        return [pair for pair in zip(variables, averages, strict=True) if pair[1] is not None]


def _ids(variables: Sequence[keras.Variable]) -> set[int]:
    return {id(variable) for variable in variables}
