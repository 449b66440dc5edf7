"""A layer that hands on some of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from tf_reg._backend import Tensor


@keras.saving.register_keras_serializable(package="tf_reg")
class SelectFeatures(layers.Layer):
    """Take the features with given numbers, along the last axis. It has no weights.

    `tf_reg.compact` puts it before a dense layer that doesn't need all of its inputs. Inputs have the shape
    `(batch, ..., features)`, outputs `(batch, ..., len(indices))`.

    Args:
        indices: The numbers of the features, from 0.
        **kwargs: Of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
        ValueError: `indices` that aren't a sequence of one integer or more, zero or above.

    Example:

    >>> layer = SelectFeatures([0, 2])
    >>> keras.ops.convert_to_numpy(layer(keras.ops.array([[1.0, 2.0, 3.0]]))).tolist()
    [[1.0, 3.0]]
    """

    def __init__(self, indices: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.indices = [int(index) for index in indices]
        if not self.indices or min(self.indices) < 0:
            raise ValueError(f"indices are the numbers of features, from 0. Received: indices={indices!r}.")
        self.supports_masking = True

    def call(self, inputs: Tensor) -> Tensor:
        """Return the chosen features."""
        return ops.take(inputs, self.indices, axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the shape of the outputs."""
        return (*input_shape[:-1], len(self.indices))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "indices": self.indices}
