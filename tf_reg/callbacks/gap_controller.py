"""A callback that sets the strength by the gap between the training and the validation loss."""

from __future__ import annotations

import math
from typing import Any

from tf_reg._checks import number, require
from tf_reg.callbacks.strength import StrengthCallback, strength_of


class GapController(StrengthCallback):
    """Raise the strength while the gap between training and validation grows, lower it when validation suffers.

    At the end of each epoch the gap is the validation loss minus the training loss. If the gap is above its moving
    average, the model overfits, and the strength is multiplied by `factor`. Otherwise, if the validation loss is above
    its moving average, the penalty is too strong, and the strength is divided by `factor`. Otherwise it stays.

    `data_loss` and `val_data_loss` are compared where both are in the `logs`, else `loss` and `val_loss`. Both of these
    contain the same penalty, so the gap doesn't. `gap` and `strength` join the `logs`.

    Use it where no good strength is known and there is no time for a search. It reacts to the noise of the epochs, and
    doesn't replace a validation of the result on other data.

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
        self.factor, self.smoothing, self.min_delta = number(factor), number(smoothing), number(min_delta)
        require(1 < self.factor < math.inf, "factor is a number above 1", "factor", factor)
        require(metric is None or isinstance(metric, str), "metric is the name of a metric, or None", "metric", metric)
        require(0 <= self.smoothing < 1, "smoothing is a number from 0 to below 1", "smoothing", smoothing)
        is_gap = 0 <= self.min_delta < math.inf
        require(is_gap, "min_delta is a difference of losses, zero or above", "min_delta", min_delta)
        both = [number(bound) for bound in bounds] if isinstance(bounds, (tuple, list)) else []
        in_order = len(both) == 2 and 0 < both[0] <= both[1] < math.inf
        require(in_order, "bounds are two strengths above 0, in order", "bounds", bounds)
        self.metric = metric
        self.bounds = (both[0], both[1])
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
