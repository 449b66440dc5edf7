"""A callback that ends a training with the mean of the weights of its last epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_reg import _keras
from tf_reg._checks import count, is_array, require

BATCH = 128  # examples of an array at a time
INFINITE = -1  # the cardinality of a tf.data.Dataset without an end


class StochasticWeightAveraging(keras.callbacks.Callback):
    """End a training with the mean of the weights at the ends of its last epochs.

    The mean lies in the middle of a flat region of the loss, and often generalises better than the last weights. A
    weight that is exactly zero at the end stays zero, so the zeros of `tf_reg.Proximal` are kept. The moving averages
    of batch normalisation are those of other weights: they are computed anew from `data`, as the mean over its batches.
    Izmailov, Podoprikhin, Garipov, Vetrov & Wilson 2018, "Averaging weights leads to wider optima and better
    generalization".

    Validation during the training sees the weights of the epoch, not the mean.

    Args:
        epochs: How many of the last epochs, a positive integer, at most as many as `fit` has. Where something else
            ends the training early, it is the mean of those that there were.
        data: Training inputs, for models with batch normalisation: an array, a structure of arrays as the model takes
            them, or an iterable of batches as `fit` takes it, which must end. One pass is made.

    Raises:
        ValueError: In `fit`: more `epochs` than it has, or batch normalisation without `data`.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> average = tf_reg.StochasticWeightAveraging(epochs=2)
        >>> history = model.fit(np.ones((8, 4)), np.ones((8, 1)), epochs=3, verbose=0, callbacks=[average])
    """

    def __init__(self, epochs: int = 10, data: Any = None) -> None:
        super().__init__()
        self.epochs = count(epochs, "epochs")
        self.data = _checked(data)
        self._means: list[np.ndarray] = []
        self._taken = 0

    def get_state(self) -> dict[str, Any]:
        """Return what `tf_reg.Resume` saves: the mean so far."""
        return {"means": self._means, "taken": self._taken}

    def set_state(self, state: dict[str, Any]) -> None:
        """Bring back what `get_state` returned."""
        self._means, self._taken = state["means"], state["taken"]

    def on_train_begin(self, logs: Any = None) -> None:
        """Check the model and the number of epochs."""
        self._means, self._taken = [], 0
        planned = self.params["epochs"]
        if self.epochs > planned:
            raise ValueError(
                f"StochasticWeightAveraging(epochs={self.epochs}) needs as many epochs. `fit` has {planned}."
            )
        if self.data is None and _normalizations(self.model):
            raise ValueError(
                "The moving averages of batch normalisation belong to other weights than the mean. Give the training "
                "inputs, from which they are computed anew: StochasticWeightAveraging(epochs, data=x)."
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add the weights of an epoch to the mean, if it is one of the last."""
        if epoch < self.params["epochs"] - self.epochs:
            return
        weights = [ops.convert_to_numpy(one).astype("float64") for one in self.model.trainable_variables]
        self._taken += 1
        if not self._means:
            self._means = weights
        for mean, weight in zip(self._means, weights, strict=True):
            mean += (weight - mean) / self._taken

    def on_train_end(self, logs: Any = None) -> None:
        """Set the weights to their mean, but for those that are zero, and renew batch normalisation."""
        if self._taken < 2:  # of one epoch, the weights themselves
            return
        for variable, mean in zip(self.model.trainable_variables, self._means, strict=True):
            last = ops.convert_to_numpy(variable)
            variable.assign(np.where(last == 0, 0, mean).astype(last.dtype))
        if self.data is not None:
            renew_batch_normalization(self.model, self.data)


def renew_batch_normalization(model: keras.Model, data: Any) -> None:
    """Compute the moving averages of batch normalisation anew: the mean over the batches of some data.

    Args:
        model: A built model.
        data: As in `StochasticWeightAveraging`.
    """
    layers = _normalizations(model)
    if not layers:
        return
    before = [layer.momentum for layer in layers]
    try:
        for number, batch in enumerate(_batches(data)):
            for layer in layers:
                layer.momentum = number / (number + 1)  # so that all batches weigh the same
            model(tree.map_structure(ops.convert_to_tensor, batch), training=True)
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum


def _normalizations(model: keras.Model) -> list[Any]:
    """Return the batch normalisations that learn from batches."""
    kinds = keras.layers.BatchNormalization
    return [layer for layer in _keras.sublayers(model) if isinstance(layer, kinds) and layer.trainable]


def _checked(data: Any) -> Any:
    """Return training inputs, or raise `ValueError` for what can be none."""
    if is_array(data) or isinstance(data, (dict, list, tuple)):
        leaves = tree.flatten(data)
        right = bool(leaves) and all(is_array(one) and len(one.shape) for one in leaves)
    else:
        right = data is None or (hasattr(data, "__iter__") and not isinstance(data, str)) or _is_sequence(data)
    require(not _never_ends(data), "data ends: take(steps) of a tf.data.Dataset makes it end", "data", data)
    require(right, "data is an array, a structure of arrays or an iterable of batches", "data", data)
    return data


def _is_sequence(data: Any) -> bool:
    """Whether these are the batches of a `keras.utils.PyDataset`, which has no iterator."""
    return isinstance(data, keras.utils.PyDataset)


def _never_ends(data: Any) -> bool:
    """Whether a data set says of itself that it has no end."""
    if _is_sequence(data):
        return data.num_batches is None
    return hasattr(data, "cardinality") and int(data.cardinality()) == INFINITE


def _batches(data: Any) -> Iterator[Any]:
    """Yield the inputs of batches."""
    if is_array(data) or (isinstance(data, (dict, list, tuple)) and all(map(is_array, tree.flatten(data)))):
        size = len(tree.flatten(data)[0])
        for start in range(0, size, BATCH):
            yield tree.map_structure(lambda array: array[start : start + BATCH], data)  # noqa: B023
        return
    for batch in map(data.__getitem__, range(data.num_batches)) if _is_sequence(data) else data:
        yield batch[0] if isinstance(batch, (tuple, list)) else batch
