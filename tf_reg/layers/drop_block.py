"""A layer that drops square blocks of a feature map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from tf_reg._backend import Tensor
from tf_reg._checks import is_integer, shown
from tf_reg.layers.dropout_rate import MovableRate

_FORMATS = ("channels_last", "channels_first")


@keras.saving.register_keras_serializable(package="tf_reg")
class DropBlock2D(MovableRate, layers.Layer):
    """Drop square blocks of a feature map, in each channel others.

    In training a block starts at a position with the probability `gamma = 1 - (1 - rate)^(1 / block_size^2)`; what no
    block covers is multiplied by `1 / (1 - rate)`, the rest is 0. In inference nothing happens. Blocks may start
    outside the map, as far as they reach into it: so every position, at the border too, is dropped with probability
    `rate` exactly, and the expectation is the input. (The paper starts blocks inside alone, takes an approximate
    `gamma` and divides by the share that was kept; then borders are dropped less often than the middle.)

    Use it after convolutions, where single values that are dropped can be guessed from their neighbours. The paper
    takes `rate` 0.1, raised from 0 during training (`tf_reg.DropoutSchedule`), and `block_size` 7. Ghiasi, Lin & Le
    2018, "DropBlock: a regularization method for convolutional networks". With `block_size=1` it is
    `keras.layers.Dropout`.

    Args:
        rate: The share of values that is dropped, at least 0 and below 1. `layer.rate` can be set later, and takes
            effect without a new trace. The rate is a weight: `load_weights` and `set_weights` replace it.
        block_size: Height and width of a block in pixels: a positive integer, or two.
        data_format: `"channels_last"` or `"channels_first"`, by default Keras' own.
        seed: An integer for the same draws in each run, or None.
        **kwargs: Of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
        ValueError: Arguments out of their ranges, or inputs that aren't 4-dimensional.

    Example:
        >>> layer = tf_reg.DropBlock2D(0.1, block_size=3, seed=0)
        >>> y = layer(keras.ops.ones((1, 32, 32, 8)), training=True)
        >>> 0.05 < float(keras.ops.mean(y == 0)) < 0.15
        True
    """

    def __init__(
        self,
        rate: float = 0.1,
        block_size: int | Sequence[int] = 7,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        sizes = tuple(block_size) if isinstance(block_size, Sequence) else (block_size, block_size)
        if len(sizes) != 2 or not all(is_integer(size) and 0 < size < 1 << 31 for size in sizes):
            raise ValueError(
                f"block_size is one positive integer, or height and width. Received: block_size={shown(block_size)}."
            )
        if data_format is not None and not (isinstance(data_format, str) and data_format in _FORMATS):
            raise ValueError(f'data_format is "channels_last" or "channels_first". Received: {shown(data_format)}.')
        self._start(rate, seed)
        self.block_size = tuple(map(int, sizes))
        self.data_format = data_format or keras.config.image_data_format()
        self.input_spec = keras.InputSpec(ndim=4)
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Drop blocks while training.

        Args:
            inputs: Shape `(batch, height, width, channels)`, or `(batch, channels, height, width)`.
            training: Whether to drop.
        """
        if not training:
            return inputs
        shape = ops.shape(inputs)
        first = self.data_format == "channels_first"
        batch, height, width, channels = [shape[axis] for axis in ((0, 2, 3, 1) if first else (0, 1, 2, 3))]
        rows, columns = self.block_size
        starts = self._starts((batch, height + rows - 1, width + columns - 1, channels))
        blocked = ops.max_pool(starts, self.block_size, strides=1, padding="valid", data_format="channels_last")
        kept = ops.equal(ops.transpose(blocked, (0, 3, 1, 2)) if first else blocked, 0)
        return self._masked(inputs, kept)

    def _starts(self, shape: Sequence[Any]) -> Tensor:
        """1 where a block starts (with its last corner there), else 0."""
        rows, columns = self.block_size
        gamma = -ops.expm1(ops.log1p(-self._rate.value) / (rows * columns))
        uniform = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return ops.cast(ops.less(uniform, gamma), "float32")

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, with the rate of now."""
        own = {"rate": self.rate, "block_size": list(self.block_size), "data_format": self.data_format}
        return {**super().get_config(), **own, "seed": self.seed}
