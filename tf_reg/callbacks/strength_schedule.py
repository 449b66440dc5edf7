"""A callback that sets the strength of all penalties at the start of each epoch, by a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_reg._checks import shown
from tf_reg.callbacks.strength import StrengthCallback, strength_of


class StrengthSchedule(StrengthCallback):
    """Set the strength of all penalties at the start of each epoch, by a plan.

    `strength = schedule(epoch)`, the epochs counted from 0. It joins the `logs` as `strength`.

    Use it to let a model learn before it is penalised, or to relax the penalty in the end. For a strength that follows
    the steps within an epoch, give `tf_reg.Proximal` a `LearningRateSchedule` instead.

    Args:
        schedule: A function of the epoch's number, or a `keras.optimizers.schedules.LearningRateSchedule`, whose steps
            are then epochs. It returns a number, zero or above.

    Raises:
        ValueError: A `schedule` that can't be called; in training, a strength below zero, an optimizer that isn't a
            `tf_reg.Proximal`, or one whose strength is a schedule already.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(1, kernel_regularizer="l1")])
        >>> model.compile(tf_reg.Proximal("sgd"), "mse")
        >>> x, y = keras.random.normal((8, 3)), keras.random.normal((8, 1))
        >>> schedule = tf_reg.StrengthSchedule(lambda epoch: min(1.0, epoch / 4))
        >>> model.fit(x, y, epochs=3, verbose=0, callbacks=[schedule]).history["strength"]
        [0.0, 0.25, 0.5]
    """

    def __init__(self, schedule: Callable[[int], Any]) -> None:
        super().__init__()
        if not callable(schedule):
            raise ValueError(
                "schedule is a function of the epoch, or a keras LearningRateSchedule. "
                f"Received: schedule={shown(schedule)}. For a constant strength: tf_reg.Proximal(optimizer, strength)."
            )
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the epoch's strength."""
        self.optimizer().strength = self.schedule(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add `strength` to `logs`."""
        if logs is not None:
            logs["strength"] = strength_of(self.optimizer())
