"""The dropout family that Keras lacks: blocks of a feature map, branches of a residual network, connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from tf_reg._backend import Tensor
from tf_reg.layers.dropout_rate import MovableRate, is_integer

_CONNECTED = (
    layers.Dense,
    layers.EinsumDense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
)


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
        if len(sizes) != 2 or not all(is_integer(size) and size > 0 for size in sizes):
            raise ValueError(
                f"block_size is one positive integer, or height and width. Received: block_size={block_size!r}."
            )
        if data_format not in (None, "channels_last", "channels_first"):
            raise ValueError(f'data_format is "channels_last" or "channels_first". Received: {data_format!r}.')
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


@keras.saving.register_keras_serializable(package="tf_reg")
class DropConnect(MovableRate, layers.Wrapper):
    """Drop single weights of a layer's kernel.

    In training the layer works with `kernel * mask / (1 - rate)`, where `mask` is 0 with probability `rate`, else 1; in
    inference with `kernel`. The expectation of the kernel, and so of a linear layer's output, is the kernel's. All
    examples of a batch see one mask, which costs a pass over the kernel instead of one an example. (The paper draws a
    mask for each example and for biases too, and samples from a Gaussian in inference.) Regularizers, constraints and
    the optimizer see the kernel itself.

    Use it like dropout, in dense layers with many weights. Wan, Zeiler, Zhang, LeCun & Fergus 2013, "Regularization of
    neural networks using DropConnect".

    Args:
        layer: A `Dense`, `EinsumDense`, `Conv`, `ConvTranspose` or `DepthwiseConv` layer of Keras, or of a subclass.
        rate: The share of weights that is dropped, at least 0 and below 1. `layer.rate` can be set later, and takes
            effect without a new trace. The rate is a weight: `load_weights` and `set_weights` replace it.
        seed: An integer for the same draws in each run, or None.
        **kwargs: Of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
        ValueError: A rate out of its range, another kind of layer, or a quantized kernel.

    Example:
        >>> layer = tf_reg.DropConnect(keras.layers.Dense(16, "relu"), rate=0.3)
        >>> tuple(layer(keras.ops.ones((2, 8)), training=True).shape)
        (2, 16)
    """

    def __init__(self, layer: keras.Layer, rate: float = 0.5, seed: int | None = None, **kwargs: Any) -> None:
        if not isinstance(layer, _CONNECTED):
            names = ", ".join(kind.__name__ for kind in _CONNECTED)
            raise ValueError(f"DropConnect drops weights of a kernel: of {names}. Received: layer={layer!r}.")
        super().__init__(layer, **kwargs)
        self._start(rate, seed)
        self.supports_masking = layer.supports_masking

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Call the layer, with a part of its kernel while training.

        Args:
            inputs: What the layer takes.
            training: Whether to drop.
        """
        if not training:
            return self.layer(inputs)
        (kernel,) = [variable for variable in self.layer.weights if variable.name == "kernel"]
        if not keras.backend.is_float_dtype(kernel.dtype):
            raise ValueError(f"DropConnect can't train a quantized kernel. Received: dtype {kernel.dtype}.")
        values = {id(variable): variable.value for variable in self.layer.variables}
        values[id(kernel)] = self._masked(kernel.value, self._kept(kernel.shape))
        mapping = [(variable, values[id(variable)]) for variable in self.layer.variables]
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            outputs = self.layer(inputs)
        for loss in scope.losses:
            self.add_loss(loss)
        return outputs

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """The shape of the layer's output."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, with the rate of now."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
