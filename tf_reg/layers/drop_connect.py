"""A wrapper that drops single weights of a layer's kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from tf_reg._backend import Tensor
from tf_reg.layers.dropout_rate import MovableRate

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
class DropConnect(MovableRate, layers.Wrapper):
    """Drop single weights of a layer's kernel.

    In training, the layer uses `kernel * mask / (1 - rate)`. `mask` is 0 with the probability `rate`, otherwise 1. In
    inference, the layer uses `kernel`. The expectation of the masked kernel is the kernel, so the expectation of a
    linear layer's output is its output without a mask. All examples of a batch have the same mask, which takes less
    time than a mask for each. (In the paper, each example has its own mask, biases are dropped
    too, and inference draws from a normal distribution.) Regularizers, constraints and the optimizer use the kernel
    itself.

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
            before = [scope.get_current_value(variable) for variable in self.layer.variables]
            outputs = self.layer(inputs)
        for variable, old in zip(self.layer.variables, before, strict=True):
            new = scope.get_current_value(variable)
            if new is not old and variable is not kernel:  # a counter, statistics, the state of a seed generator
                variable.assign(new)
        for loss in scope.losses:
            self.add_loss(loss)
        return outputs

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """The shape of the layer's output."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, with the rate of now."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
