"""A layer that drops the residual branch of some examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from tf_reg._backend import Tensor
from tf_reg.layers.dropout_rate import MovableRate


@keras.saving.register_keras_serializable(package="tf_reg")
class StochasticDepth(MovableRate, layers.Layer):
    """Drop a residual branch for some of the examples: they take the shortcut alone.

    In training `y = x / (1 - rate)` for each example with probability `1 - rate`, else 0; in inference `y = x`. Each
    example draws once, for all its values. The expectation of `y` is `x`.

    Put it at the end of a branch, before the sum: `x + StochasticDepth(0.2)(branch(x))`. Use it in deep residual
    networks, with a rate that grows with the depth: `0.2 * block / blocks`. Huang, Sun, Liu, Sedra & Weinberger 2016,
    "Deep networks with stochastic depth", where the branch is scaled in inference instead.

    Args:
        rate: The share of examples whose branch is dropped, at least 0 and below 1. `layer.rate` can be set later, and
            takes effect without a new trace. The rate is a weight: `load_weights` and `set_weights` replace it.
        seed: An integer for the same draws in each run, or None.
        **kwargs: Of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
        ValueError: A rate out of its range.

    Example:
        >>> inputs = keras.Input((8,))
        >>> branch = keras.layers.Dense(8, "relu")(inputs)
        >>> outputs = inputs + tf_reg.StochasticDepth(0.2)(branch)
        >>> model = keras.Model(inputs, outputs)
        >>> model.count_params()  # the rate is one of them
        73
    """

    def __init__(self, rate: float = 0.5, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._start(rate, seed)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Drop whole examples while training.

        Args:
            inputs: Shape `(batch, ...)`.
            training: Whether to drop.
        """
        if not training:
            return inputs
        return self._masked(inputs, self._kept((ops.shape(inputs)[0], *[1] * (len(inputs.shape) - 1))))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, with the rate of now."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
