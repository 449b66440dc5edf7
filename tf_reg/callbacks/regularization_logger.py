"""A Keras callback that logs what regularisation does: penalty, sparsity and the loss without the penalty."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any, Literal

import keras

from tf_reg._checks import is_integer, number, require, shown
from tf_reg.callbacks.batches import batches_done, steps_at_once
from tf_reg.callbacks.output_watcher import OutputWatcher, listed_with
from tf_reg.callbacks.strength import proximal_of, strength_of
from tf_reg.measure.dead_channels import DeadChannels, free_channels
from tf_reg.measure.meter import Measurement, Meter
from tf_reg.penalties.registry import penalty_of
from tf_reg.penalties.stand_in import unwrapped

_READERS = tuple(
    getattr(keras.callbacks, name)
    for name in (
        "CSVLogger",
        "EarlyStopping",
        "ModelCheckpoint",
        "OrbaxCheckpoint",
        "ReduceLROnPlateau",
        "RemoteMonitor",
        "TensorBoard",
    )
    if hasattr(keras.callbacks, name)  # OrbaxCheckpoint came after Keras 3.10
)


class RegularizationLogger(OutputWatcher):
    """Log the penalty and the sparsity of a model, and the validation loss without the penalty.

    At the end of each epoch these keys join Keras' own in `logs`, where `History`, `CSVLogger`, `TensorBoard` and
    `EarlyStopping(monitor=...)` find them (for a name that it doesn't know, `EarlyStopping` needs `mode`):

    - `penalty`: the sum of `variable.regularizer(variable)` over the trainable variables, in units of the loss.
    - `sparsity`: the share of the model's weights that are exactly zero, from 0 to 1. It is the number that
      `tf_reg.sparsity` gives, which says what counts.
    - `near_sparsity`: the share whose absolute value is below `near_zero`; of a quantized kernel, exact zeros.
    - `dead_groups`: how many groups are all zeros, in kernels whose regularizer has groups, such as
      `tf_reg.GroupLasso`. Only where there is one.
    - `dead_channels`: how many of the channels that nothing holds are dead, as `tf_reg.channels` finds them. Only where
      a regularizer has groups or is a `tf_reg.ChannelPenalty`, and `tf_reg.channels` takes the model.
    - `strength`: the multiplier of all penalties, where the optimizer is a `tf_reg.Proximal` (or wraps one). The
      penalty doesn't contain it.
    - `val_data_loss`: `val_loss` without the weights' penalty, in epochs that validate. Activity regularizers and
      `add_loss` terms stay in. It takes the penalty of the very weights that were validated, averaged ones with
      `keras.callbacks.SwapEMAWeights`. It is a difference of float32 numbers, so its error is that of `val_loss`. Where
      the model has a metric of its own named `data_loss`, Keras' value stays. A model whose `test_step` reports a
      loss without the regularizers needs no such key; compile it with a metric named `data_loss`.
    - with `per_layer=True` also `penalty/<layer path>`, `sparsity/<layer path>`, `weight_norm/<layer path>` (the
      Euclidean norm of the weights that pay a penalty) and, where there are groups, `dead_groups/<layer path>`, of
      every layer that pays a penalty. The path is made of the layers' names from the model down: `"encoder/dense"`.

    A model without regularised weights has `penalty` 0, one without weights no `sparsity`.

    Put it before the callbacks that read `logs`; it warns at the start of training where it stands behind one. For
    the training loss without penalty, compile the model with a metric equal to its loss: weights move during
    an epoch, so that no subtraction at its end gives the average.

    Args:
        per_layer: Whether to log each layer too. Off by default, for a progress bar that stays readable.
        near_zero: The threshold of `near_sparsity`, a float above 0, in units of the weights.
        update_freq: `"epoch"`, or an integer n: then every n batches as well, for callbacks that read the `logs`
            of a batch. (Each of those costs a pass over the weights and a transfer from the device.)

    Warns:
        UserWarning: At the start of training, where it stands behind a callback that reads `logs`; at the end, where an
            output doesn't depend on the input any more because of weights that are zero.

    Raises:
        ValueError: If `near_zero` isn't above 0, or `update_freq` isn't `"epoch"` or a positive integer.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(1, kernel_regularizer="l1")])
        >>> model.compile("sgd", "mse")
        >>> x, y = keras.random.normal((8, 3)), keras.random.normal((8, 1))
        >>> history = model.fit(x, y, verbose=0, callbacks=[tf_reg.RegularizationLogger()])
        >>> sorted(history.history)
        ['loss', 'near_sparsity', 'penalty', 'sparsity']
    """

    def __init__(
        self, per_layer: bool = False, near_zero: float = 1e-3, update_freq: int | Literal["epoch"] = "epoch"
    ) -> None:
        super().__init__()
        threshold = number(near_zero)
        if not 0 < threshold < math.inf:
            raise ValueError(
                f"`near_zero` must be above 0: it is a threshold on |weight|. Received: {shown(near_zero)}."
            )
        every = int(update_freq) if is_integer(update_freq) else 0
        by_epoch = isinstance(update_freq, str) and update_freq == "epoch"
        if not by_epoch and every < 1:
            raise ValueError(
                f'`update_freq` must be "epoch" or a positive number of batches. Received: {shown(update_freq)}.'
            )
        require(isinstance(per_layer, bool), "per_layer is True or False", "per_layer", per_layer)
        self.per_layer = per_layer
        self.near_zero = threshold
        self.update_freq = every or update_freq
        self._meter: Meter | None = None
        self._channels: DeadChannels | None = None
        self._validated: float | None = None  # the penalty of the weights that were validated last
        self._has_data_loss = False  # whether Keras logged a `val_data_loss` of the model's own
        self._updates = 0
        self._at_once = 1
        if not by_epoch:
            # Keras waits for the device after every batch as soon as one callback has this hook.
            self.__dict__["on_train_batch_end"] = functools.partial(self._log_batch, every)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start anew, and warn of callbacks that stand before this one but read what it logs."""
        self._reset()
        self._at_once = steps_at_once(self.model)
        readers = [type(callback).__name__ for callback in _preceding(self) if isinstance(callback, _READERS)]
        if readers:
            warnings.warn(
                f"RegularizationLogger stands behind {', '.join(readers)} in `callbacks`, which will not see "
                "what it logs. Put it first.",
                stacklevel=2,
            )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Warn of outputs that are the same for all inputs, and let go of the model's variables."""
        super().on_train_end(logs)
        self._reset()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the epoch's batches anew."""
        self._updates = 0

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Expect new weights to be validated."""
        self._validated = None

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Take the penalty of the weights that are validated, whatever `on_test_begin` of others put in place."""
        if self._validated is None and not self._has_data_loss:
            # At first the whole measurement, whose function the end of the epoch needs anyway.
            self._validated = self._measure().total.penalty if self._meter is None else self._metered().penalty()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add this callback's keys to `logs`."""
        if logs is None:
            return
        logs.update(self._summary())
        self._has_data_loss = "val_data_loss" in logs
        if "val_loss" in logs and not self._has_data_loss and self._validated is not None:
            logs["val_data_loss"] = logs["val_loss"] - self._validated

    def _reset(self) -> None:
        self._meter = None
        self._channels = None
        self._validated = None
        self._has_data_loss = False
        self._updates = 0

    def _log_batch(self, freq: int, batch: int, logs: dict[str, Any] | None = None) -> None:
        updates = batches_done(batch, self.params, self._at_once) // freq
        if updates > self._updates and logs is not None:
            self._updates = updates
            logs.update(self._summary())
        type(self).on_train_batch_end(self, batch, logs)  # a subclass may have its own

    def _measure(self) -> Measurement:
        return self._metered().measure()

    def _metered(self) -> Meter:
        model = self.model  # on JAX, reading this attribute brings the weights up to date
        if self._meter is None:
            self._meter = Meter(model, self.near_zero, whole=True)
        return self._meter

    def _summary(self) -> dict[str, float]:
        measured = self._measure()
        penalized, weights = measured.total, measured.model
        summary = {"penalty": penalized.penalty}
        if weights.count:
            summary |= {"sparsity": weights.zero_share, "near_sparsity": weights.near_zero_share}
        if penalized.groups:
            summary["dead_groups"] = penalized.dead_groups
        if penalized.groups or self._has_channels():
            summary |= self._dead_channels()
        optimizer = proximal_of(self.model)
        if optimizer is not None:
            summary["strength"] = strength_of(optimizer)
        if self.per_layer:
            for path, layer in measured.layers.items():
                summary |= {
                    f"penalty/{path}": layer.penalty,
                    f"sparsity/{path}": measured.zero_shares[path],
                    f"weight_norm/{path}": layer.norm,
                }
                if layer.groups:
                    summary[f"dead_groups/{path}"] = layer.dead_groups
        return summary

    def _has_channels(self) -> bool:
        """Whether a weight has a part in a penalty of channels."""
        found = (penalty_of(unwrapped(getattr(one, "regularizer", None))) for one in self.model.trainable_variables)
        return any(penalty is not None and penalty.coupled for penalty in found)

    def _dead_channels(self) -> dict[str, int]:
        if self._channels is None:
            self._channels = DeadChannels(free_channels(self.model))
        return {"dead_channels": self._channels.measure()} if self._channels.count else {}


def _preceding(callback: keras.callbacks.Callback) -> list[keras.callbacks.Callback]:
    """Return the callbacks that Keras calls before this one."""
    listed = listed_with(callback, "on_train_begin")
    return listed[: listed.index(callback)]
