"""A callback that stops a training that diverges, and says in one line what goes wrong in one."""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras
from keras import ops

from tf_reg import _backend, _walk
from tf_reg._checks import require
from tf_reg.callbacks.batches import batches_done, steps_at_once
from tf_reg.callbacks.output_watcher import OutputWatcher, constant_output_words
from tf_reg.callbacks.strength import proximal_of, strength_of
from tf_reg.measure.not_finite import ADVICE, first_not_finite, is_finite

MOST_PENALTY = 1000  # times the loss without it
EXPLODED = 10  # times the loss of the first batch


class TrainingGuard(OutputWatcher):
    """Stop a training whose loss or weights are NaN or infinite, and warn of what else goes wrong in one.

    It looks at the loss after each batch, and at the weights after each epoch: a ReLU can hide NaN from the loss. It
    raises, so that no callback writes the broken weights over good ones at the end of the epoch:
    `keras.callbacks.ModelCheckpoint` and `tf_reg.Resume` keep what they have. The model keeps the broken weights.

    It warns, once each, as soon as

    - the penalty is 1000 times the rest of the loss: the data hardly matter;
    - the mean loss of the first epoch is 10 times the loss of its first batch: the learning rate is too high;
    - an output doesn't depend on the input any more, because weights are zero: the network is dead.

    To learn where the first NaN comes from, train once more with `locate=True`. With `tf_reg.Resume` among the
    callbacks this second training begins at the last checkpoint.

    Args:
        locate: Whether the error says which layer's output or weights were the first that weren't finite. Each batch
            then takes longer: its weights are copied to the host. It needs `steps_per_execution=1`.

    Raises:
        FloatingPointError: In `fit`, where the loss or the weights aren't finite. The message has the epoch and, for a
            loss, the batch.
        ValueError: `locate` isn't True or False; or, in `fit`, it is True and the model runs several steps at once, or
            on several devices.

    Warns:
        UserWarning: In the three cases above.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="hidden"), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(1e30), "mse")
        >>> x = keras.random.normal((64, 3), seed=0)
        >>> try:
        ...     model.fit(x, x[:, :1], verbose=0, callbacks=[tf_reg.TrainingGuard()])
        ... except FloatingPointError as error:
        ...     print(str(error).split(".")[0])
        Training diverged in epoch 1, batch 2: the loss is nan
    """

    def __init__(self, locate: bool = False) -> None:
        super().__init__()
        require(isinstance(locate, bool), "locate is True or False", "locate", locate)
        self.locate = locate
        self._at_once = 1
        self._epoch = 0
        self._penalty: float | None = None  # before the first batch of the epoch
        self._first: float | None = None  # the loss of the first batch
        self._said: set[str] = set()
        self._recorder: _Recorder | None = None

    def get_state(self) -> dict[str, Any]:
        """Return what it remembers of a training, for `tf_reg.Resume`."""
        return {"first": self._first, "said": sorted(self._said)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Bring back what `get_state` returned."""
        self._first, self._said = state["first"], set(state["said"])

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget an earlier training."""
        self._at_once = steps_at_once(self.model)
        self._first, self._said = None, set()
        if self.locate:
            require(
                self._at_once == 1,
                "locate=True needs a model that is compiled with steps_per_execution=1",
                "steps_per_execution",
                self._at_once,
            )
            replicas = getattr(getattr(self.model, "distribute_strategy", None), "num_replicas_in_sync", 1)
            require(replicas == 1, "locate=True needs a training on one device", "devices", replicas)
            self._recorder = _Recorder(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure the penalty."""
        self._epoch, self._penalty = epoch, None
        if "penalty" not in self._said:
            self._penalty = self._measured()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Copy the weights, to look at them if the loss isn't finite."""
        if self._recorder is not None:
            self._recorder.copy(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop if the loss isn't finite; look at the penalty and the loss of the first batch."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            self._stop(batch, float(loss))
        if self._recorder is not None and not is_finite(self.model.trainable_variables):
            self._stop(batch, float(loss))
        if self._first is None:
            self._first = float(loss)
        if self._penalty is not None:
            self._compare(float(loss), (logs or {}).get("data_loss"), self._penalty)
            self._penalty = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop if weights aren't finite; warn of a loss that exploded, and of a network that is dead."""
        loss = (logs or {}).get("loss")
        if not is_finite(self.model.trainable_variables):
            self._stop(None, float(loss or 0))
        if epoch == 0 and loss is not None and self._first is not None and loss > EXPLODED * self._first > 0:
            self._say(
                "loss",
                f"The loss rose from {self._first:.3g} in the first batch to a mean of {loss:.3g} in the first epoch. "
                "Lower the learning rate.",
            )
        if "dead" not in self._said:
            words = constant_output_words(self.model)
            if words:
                self._say("dead", f"After epoch {epoch + 1}: {words}")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Warn of outputs that are the same for all inputs, if that wasn't said, and let go of the model."""
        super().on_train_end(logs)
        self._end()

    @property
    def has_warned(self) -> bool:
        """Whether it has warned of a network that is dead."""
        return "dead" in self._said

    def _compare(self, loss: float, data_loss: float | None, before: float) -> None:
        """Compare the penalty with the rest of the loss, of all batches so far.

        Args:
            loss: The loss.
            data_loss: The metric of that name: the loss without the penalty. Without one the penalty is measured: the
                smaller one of those before and after, where several batches have passed.
            before: The penalty before them.
        """
        if data_loss is not None:
            penalty = loss - data_loss
        else:
            penalty = before if self._at_once == 1 else min(before, self._measured() or 0.0)
        if abs(loss - penalty) < penalty / MOST_PENALTY:
            self._say(
                "penalty",
                f"In epoch {self._epoch + 1} the penalty is {penalty:.3g} of a loss of {loss:.3g}: the data hardly "
                "matter. Lower the strength of the penalty.",
            )

    def _measured(self) -> float | None:
        """The penalty as it is in the loss; None where there is none."""
        model = self.model
        penalties = [one.variable.regularizer(one.variable) for one in _walk.regularized(model)]
        penalty, optimizer = sum(float(ops.convert_to_numpy(one)) for one in penalties), proximal_of(model)
        return (penalty * strength_of(optimizer) if optimizer is not None else penalty) or None

    def _say(self, what: str, words: str) -> None:
        if what not in self._said:
            self._said.add(what)
            warnings.warn(words, stacklevel=3)

    def _stop(self, batch: int | None, loss: float) -> None:
        what = "weights are NaN or infinite" if math.isfinite(loss) else f"the loss is {loss}"
        place = "" if batch is None else f", batch {batches_done(batch, self.params, self._at_once)}"
        where = ADVICE if self._recorder is None else self._recorder.found(self.model, loss)
        self._end()
        raise FloatingPointError(f"Training diverged in epoch {self._epoch + 1}{place}: {what}. {where}")

    def _end(self) -> None:
        if self._recorder is not None:
            self._recorder.end(self.model)
            self._recorder = None


class _Recorder:
    """Keeps the batch that is trained on, and the weights before it.

    Args:
        model: A model in `fit`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._train = model.train_function
        self._before: list[Any] = []
        self._batch: Any = None
        model.train_function = self._step

    def copy(self, model: keras.Model) -> None:
        """Copy the weights as they are before the batch."""
        self._before = [ops.convert_to_numpy(ops.convert_to_tensor(variable)) for variable in model.variables]

    def found(self, model: keras.Model, loss: float) -> str:
        """Return what was the first that wasn't finite, in sentences. The weights before the batch come back."""
        return first_not_finite(model, self._batch, self._before, loss)

    def end(self, model: keras.Model) -> None:
        """Train without a record."""
        model.train_function = self._train

    def _step(self, *arguments: Any) -> Any:
        *state, batches = arguments  # JAX passes the variables on as a state, torch a list of batches
        self._batch = batches[0] if isinstance(batches, list) else next(batches)
        return self._train(*state, _backend.iterator_over(self._batch))
