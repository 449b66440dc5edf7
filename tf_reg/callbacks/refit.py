"""A callback that keeps the zeros and drops the penalty in the last epochs of a training."""

from __future__ import annotations

import warnings
from typing import Any

from tf_reg._checks import is_integer, require
from tf_reg.callbacks.strength import StrengthCallback, strength_of


class Refit(StrengthCallback):
    """In the last epochs of a training keep the zeros and fit the other weights without penalty: the relaxed lasso.

    A penalty does two things: it selects weights, and it shrinks the selected ones. In the last epochs the zeros are
    frozen and the strength is 0, so only the selection remains. `refit` (1 in these epochs, 0 before) and `strength`
    join the `logs`.

    Use it after a constant strength; `tf_reg.TargetSparsity` brings its own refit.

    Meinshausen 2007, "Relaxed lasso".

    Args:
        epochs: How many of the last epochs, 1 or above.

    Raises:
        ValueError: `epochs` that isn't such a number; in training, one that leaves no epoch before, an optimizer that
            isn't a `tf_reg.Proximal`, or one whose strength is a schedule, or 0 as an earlier refit leaves it.

    Warns:
        UserWarning: At the end of training, where it ended before the refit, and where an output doesn't depend on the
            input any more.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(1, kernel_regularizer="l1")])
        >>> model.compile(tf_reg.Proximal("sgd"), "mse")
        >>> x, y = keras.random.normal((8, 3)), keras.random.normal((8, 1))
        >>> model.fit(x, y, epochs=3, verbose=0, callbacks=[tf_reg.Refit(2)]).history["strength"]
        [1.0, 0.0, 0.0]
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        require(is_integer(epochs) and epochs >= 1, "epochs is a number of epochs, 1 or above", "epochs", epochs)
        self.epochs = int(epochs)
        self._began = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that there are epochs before the refit."""
        super().on_train_begin(logs)
        self._began = False
        total = self.params["epochs"]
        require(self.epochs < total, f"epochs must be below the {total} of fit", "epochs", self.epochs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Freeze the zeros and drop the penalty when the time has come."""
        optimizer = self.optimizer()
        if self._refits(epoch):
            self._began = True
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

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Warn where the training ended before the refit, and of outputs that are the same for all inputs."""
        super().on_train_end(logs)
        if not self._began:
            warnings.warn(
                f"Refit({self.epochs}) never refitted: the training ended before the last {self.epochs} of the "
                f"{self.params['epochs']} epochs of fit, perhaps by EarlyStopping. The penalty has shrunk the weights. "
                "Leave out what ends the training, or refit after it: optimizer.freeze(), optimizer.strength = 0, fit.",
                stacklevel=2,
            )

    def _refits(self, epoch: int) -> bool:
        return epoch >= self.params["epochs"] - self.epochs
