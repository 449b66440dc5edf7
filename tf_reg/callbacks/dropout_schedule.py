"""A callback that moves dropout rates while a model trains, Keras' own layers included."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from tf_reg import _keras
from tf_reg._checks import require, shown
from tf_reg._walk import layer_paths
from tf_reg.layers.dropout_rate import MovableRate, checked_rate
from tf_reg.uncertainty.dropout_layers import RATED

_OWNERS = (layers.MultiHeadAttention, layers.GroupQueryAttention)  # their configs keep the rate of the layer within


class DropoutSchedule(keras.callbacks.Callback):
    """Set the rate of dropout layers at the start of each epoch, by a plan.

    `rate = schedule(epoch)`, the epochs counted from 0. It joins the `logs` as `dropout_rate`. It moves Keras'
    `Dropout`, `SpatialDropout`, `GaussianDropout` and `AlphaDropout`, and tf_reg's `DropBlock2D`, `StochasticDepth` and
    `DropConnect`.

    Use it to let a model learn undisturbed first (DropBlock's and curriculum dropout), or to take dropout away in the
    end. Ghiasi, Lin & Le 2018; Morerio, Cavazza, Volpi, Vidal & Murino 2017, "Curriculum dropout".

    TensorFlow and JAX compile the rate of Keras' own layers into the training step: for these the step is built anew at
    each epoch that changes a rate, and traced once more. tf_reg's layers hold their rate in a variable and need none of
    that. The rates of recurrent and attention layers aren't moved: their cells and configs hold them in other places.

    Args:
        schedule: A function of the epoch's number, or a `keras.optimizers.schedules.LearningRateSchedule`, whose steps
            are then epochs. It returns a rate, at least 0 and below 1.
        layers: Which layers: a name with wildcards, of the layer or of its path in nested models, such as
            `"encoder/drop_*"`. By default all. For several plans, give several callbacks.

    Raises:
        ValueError: A `schedule` that can't be called; in training, no such layer, or a rate out of its range.

    Example:
        >>> model = keras.Sequential([keras.layers.Dropout(0.5), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = keras.random.normal((8, 3)), keras.random.normal((8, 1))
        >>> schedule = tf_reg.DropoutSchedule(lambda epoch: min(0.5, 0.25 * epoch))
        >>> model.fit(x, y, epochs=3, verbose=0, callbacks=[schedule]).history["dropout_rate"]
        [0.0, 0.25, 0.5]
    """

    def __init__(self, schedule: Callable[[int], Any], layers: str = "*") -> None:
        super().__init__()
        if not callable(schedule):
            raise ValueError(
                "schedule is a function of the epoch, or a keras LearningRateSchedule. "
                f"Received: schedule={shown(schedule)}. For a constant rate: keras.layers.Dropout(rate)."
            )
        require(isinstance(layers, str), "layers is a name with wildcards, such as 'drop_*'", "layers", layers)
        self.schedule = schedule
        self.layers = layers
        self._chosen: list[keras.Layer] = []
        self._rate = 0.0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the layers, and have a step that knows their rates of now."""
        self._chosen = self._find()
        for layer in self._chosen:
            _let_draw(layer)
        self._rebuild()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the epoch's rate."""
        self._rate = checked_rate(self.schedule(epoch), "The rate of a DropoutSchedule")
        _ = self.model  # on JAX, reading this attribute brings the variables up to date
        changed = [layer for layer in self._chosen if layer.rate != self._rate]
        for layer in changed:
            layer.rate = self._rate
        if not all(isinstance(layer, MovableRate) for layer in changed):
            self._rebuild()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add `dropout_rate` to `logs`."""
        if logs is not None:
            logs["dropout_rate"] = self._rate

    def _rebuild(self) -> None:
        if not all(isinstance(layer, MovableRate) for layer in self._chosen):
            self.model.make_train_function(force=True)

    def _find(self) -> list[keras.Layer]:
        owned = {
            id(inner)
            for layer in _keras.sublayers(self.model)
            if isinstance(layer, _OWNERS)
            for inner in _keras.sublayers(layer)
        }
        known = {
            path: layer
            for path, layer in layer_paths(self.model)
            if isinstance(layer, RATED) and id(layer) not in owned
        }
        found = [
            layer
            for path, layer in known.items()
            if fnmatch.fnmatchcase(path, self.layers) or fnmatch.fnmatchcase(layer.name, self.layers)
        ]
        if not found:
            raise ValueError(
                f"DropoutSchedule found no dropout layer that matches layers={self.layers!r}. The model's dropout "
                f"layers are: {', '.join(known) or 'none'}."
            )
        return found


def _let_draw(layer: keras.Layer) -> None:
    """Give a layer of Keras that was made with rate 0, or loaded with it, the seed generator that it lacks."""
    if hasattr(layer, "seed_generator"):
        return
    with _keras.open_for_state(layer):
        layer.seed_generator = keras.random.SeedGenerator(layer.seed)
