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
    """Drop square blocks of a feature map. Each channel has its own blocks.

    In training, a block starts at a position with the probability `gamma = 1 - (1 - rate)^(1 / block_size^2)`. Values
    inside a block become 0. All others are multiplied by `1 / (1 - rate)`. In inference, the layer changes nothing.

    Blocks may start outside the feature map and reach into it. So every position is dropped with the probability
    `rate`, at the border too, and the expectation is the input. (In the paper, blocks start inside, `gamma` is an
    approximation, and the values are divided by the share that was kept. Borders are dropped less often there.)

    Use it after convolutions. There the network can guess single values from their neighbours, so `Dropout` does
    little. The paper uses a `rate` of 0.1, raised from 0 during training (`tf_reg.DropoutSchedule`), and a `block_size`
    of 7. With `block_size=1` it is `keras.layers.Dropout`. Ghiasi, Lin & Le 2018, "DropBlock: a regularization method
    for convolutional networks".

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
