"""Callbacks that move the strength of `tf_reg.Proximal` while a model trains: by a plan, to a sparsity, by the gap."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tf_reg._trainer import optimizers_of, parts_of
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


class StrengthCallback(keras.callbacks.Callback):
    """What the callbacks have in common: the optimizer whose strength they move."""

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
                f"Received: schedule={schedule!r}. For a constant strength: tf_reg.Proximal(optimizer, strength)."
            )
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the epoch's strength."""
        self.optimizer().strength = float(ops.convert_to_numpy(self.schedule(epoch)))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add `strength` to `logs`."""
        if logs is not None:
            logs["strength"] = strength_of(self.optimizer())


class Refit(StrengthCallback):
    """In the last epochs of a training keep the zeros and fit the other weights without penalty: the relaxed lasso.

    A penalty does two things: it chooses weights, and it shrinks those that it has chosen. From the first of the last
    epochs on the zeros are frozen and the strength is 0, so only the choice remains. `refit` (1 then, before 0) and
    `strength` join the `logs`.

    Use it after a constant strength; `tf_reg.TargetSparsity` brings its own refit.

    Meinshausen 2007, "Relaxed lasso".

    Args:
        epochs: How many of the last epochs, 1 or above.

    Raises:
        ValueError: `epochs` that isn't such a number; in training, one that leaves no epoch before, an optimizer that
            isn't a `tf_reg.Proximal`, or one whose strength is a schedule, or 0 as an earlier refit leaves it.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(1, kernel_regularizer="l1")])
        >>> model.compile(tf_reg.Proximal("sgd"), "mse")
        >>> x, y = keras.random.normal((8, 3)), keras.random.normal((8, 1))
        >>> model.fit(x, y, epochs=3, verbose=0, callbacks=[tf_reg.Refit(2)]).history["strength"]
        [1.0, 0.0, 0.0]
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        whole = isinstance(epochs, int) and not isinstance(epochs, bool) and epochs >= 1
        require(whole, "epochs is a number of epochs, 1 or above", "epochs", epochs)
        self.epochs = epochs

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that there are epochs before the refit."""
        super().on_train_begin(logs)
        total = self.params["epochs"]
        require(self.epochs < total, f"epochs must be below the {total} of fit", "epochs", self.epochs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Freeze the zeros and drop the penalty when the time has come."""
        optimizer = self.optimizer()
        if self._refits(epoch):
            optimizer.freeze()
            optimizer.strength = 0.0
        elif optimizer.frozen and strength_of(optimizer) == 0:
            raise ValueError(
                f"Refit({self.epochs}) needs epochs with a penalty before. Received a tf_reg.Proximal that is frozen "
                "and has the strength 0, as an earlier refit leaves it. Call its unfreeze() and set its strength."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add `refit` and `strength` to `logs`."""
        if logs is not None:
            logs.update(refit=float(self._refits(epoch)), strength=strength_of(self.optimizer()))

    def _refits(self, epoch: int) -> bool:
        return epoch >= self.params["epochs"] - self.epochs


class GapController(StrengthCallback):
    """Raise the strength while the gap between training and validation grows, lower it when validation suffers.

    At the end of each epoch, gap = validation loss - training loss. A gap above its recent average multiplies the
    strength by `factor`: the model overfits. If the gap doesn't grow and the validation loss is above its recent
    average, the strength is divided by `factor`: the model is held back. Else it stays. (The averages are exponential.)

    `data_loss` and `val_data_loss` are compared where both are in the `logs`, else `loss` and `val_loss`. Those contain
    the same penalty, which falls out of the gap. `gap` and `strength` join the `logs`.

    Use it where no good strength is known and there is no time for a search. It follows the epochs' noise, and doesn't
    replace a validation of the result on other data.

    Args:
        factor: By how much to change the strength, a number above 1.
        metric: The name of a metric to compare instead, lower being better: one that equals the loss without the
            penalty, such as `"mse"`.
        smoothing: The weight of the past in the averages, from 0 (the epoch before alone) to below 1.
        min_delta: How far above its average counts as above it, in units of the loss.
        bounds: The lowest and the highest strength, above zero.

    Raises:
        ValueError: Arguments out of their ranges; in training, an optimizer that isn't a `tf_reg.Proximal` with a
            number above zero as its strength, or an epoch without these losses.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(1, kernel_regularizer="l1")])
        >>> model.compile(tf_reg.Proximal("sgd"), "mse")
        >>> x, y = keras.random.normal((8, 3)), keras.random.normal((8, 1))
        >>> options = {"validation_data": (x, y), "callbacks": [tf_reg.GapController()], "verbose": 0}
        >>> sorted(model.fit(x, y, **options).history)
        ['gap', 'loss', 'strength', 'val_loss']
    """

    def __init__(
        self,
        factor: float = 1.5,
        metric: str | None = None,
        smoothing: float = 0.7,
        min_delta: float = 0.0,
        bounds: tuple[float, float] = (1e-4, 1e4),
    ) -> None:
        super().__init__()
        require(factor > 1, "factor is a number above 1", "factor", factor)
        require(0 <= smoothing < 1, "smoothing is a number from 0 to below 1", "smoothing", smoothing)
        require(min_delta >= 0, "min_delta is a difference of losses, zero or above", "min_delta", min_delta)
        require(0 < bounds[0] <= bounds[1] < math.inf, "bounds are two strengths above 0, in order", "bounds", bounds)
        self.factor = factor
        self.metric = metric
        self.smoothing = smoothing
        self.min_delta = min_delta
        self.bounds = bounds
        self._averages: tuple[float, float] | None = None  # of the gap and of the validation loss

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start anew, from the optimizer's strength."""
        super().on_train_begin(logs)
        self._averages = None
        if not strength_of(self.optimizer()) > 0:
            raise ValueError(
                "GapController multiplies the strength, which must be above zero. Received a tf_reg.Proximal whose "
                "strength is 0. Start with a small one."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the strength, and add `gap` and `strength` to `logs`."""
        logs = {} if logs is None else logs
        training, validation = self._losses(logs)
        gap = validation - training
        optimizer = self.optimizer()
        strength = strength_of(optimizer) * self._change(gap, validation)
        strength = min(max(strength, self.bounds[0]), self.bounds[1])
        optimizer.strength = strength
        logs.update(gap=gap, strength=strength)

    def _change(self, gap: float, validation: float) -> float:
        """What to multiply the strength by."""
        usual_gap, usual_loss = self._averages or (gap, validation)
        new = 1 - self.smoothing if self._averages else 1.0
        self._averages = usual_gap + new * (gap - usual_gap), usual_loss + new * (validation - usual_loss)
        if gap > usual_gap + self.min_delta:
            return self.factor
        return 1 / self.factor if validation > usual_loss + self.min_delta else 1.0

    def _losses(self, logs: dict[str, Any]) -> tuple[float, float]:
        for name in (self.metric,) if self.metric else ("data_loss", "loss"):
            if name in logs and f"val_{name}" in logs:
                return float(logs[name]), float(logs[f"val_{name}"])
        wanted = self.metric or "loss"
        raise ValueError(
            f"GapController compares {wanted!r} with 'val_{wanted}'. Received the logs {sorted(logs)}. "
            "Give fit() validation data, and validate in every epoch."
        )


def require(condition: bool, expected: str, name: str, received: Any) -> None:
    """Raise a `ValueError` that says what was expected, and what was received as `name`."""
    if not condition:
        raise ValueError(f"{expected}. Received: {name}={received!r}")
