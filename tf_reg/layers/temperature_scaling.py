"""A layer that makes a classifier's probabilities less, or more, sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import layers, ops

from tf_reg._backend import Tensor
from tf_reg._checks import from_config, number, require

Activation = Literal["softmax", "sigmoid"]
ACTIVATIONS = ("softmax", "sigmoid")
_LEAST = 1e-30  # a probability below counts as that much; it bounds the temperature too


@keras.saving.register_keras_serializable(package="tf_reg")
class TemperatureScaling(layers.Layer):
    """Divide the logits of probabilities by a temperature: `softmax(log(p) / temperature)`.

    A temperature above 1 makes an over-confident classifier less sure. The order of the classes, and so the accuracy,
    stays. The logits needn't be known: `log(p)` differs from them by a constant that softmax ignores.
    `tf_reg.calibrate` finds the temperature. Guo, Pleiss, Sun & Weinberger 2017, "On calibration of modern neural
    networks".

    Args:
        temperature: A positive number. It is a weight that training doesn't change: `load_weights` and `set_weights`
            replace it. `layer.temperature` reads and sets it.
        activation: `"softmax"` for probabilities of shape `(..., classes)` whose sum is 1. `"sigmoid"` for
            probabilities that each stand alone: `p^a / (p^a + (1 - p)^a)` with `a = 1 / temperature`.
        **kwargs: Of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.5, 0.5]], "float32")
        >>> tf_reg.TemperatureScaling(2.0)(probabilities).numpy().round(2)
        array([[0.75, 0.25],
               [0.5 , 0.5 ]], dtype=float32)
    """

    def __init__(self, temperature: float = 1.0, activation: Activation = "softmax", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        wanted = _checked(temperature)
        require(
            isinstance(activation, str) and activation in ACTIVATIONS,
            f"activation is one of {', '.join(ACTIVATIONS)}",
            "activation",
            activation,
        )
        self.activation = activation
        self.supports_masking = True
        self._temperature = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(wanted), trainable=False, name="temperature"
        )
        self.built = True

    @property
    def temperature(self) -> float:
        """The temperature, a positive number."""
        return float(ops.convert_to_numpy(self._temperature))

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._temperature.assign(_checked(value))

    def call(self, inputs: Tensor) -> Tensor:
        """Scale probabilities.

        Args:
            inputs: Probabilities, of shape `(batch, ..., classes)`.
        """
        share = 1 / ops.cast(self._temperature, inputs.dtype)
        logits = share * ops.log(ops.maximum(inputs, _LEAST))
        if self.activation == "softmax":
            return ops.softmax(logits, axis=-1)
        return ops.sigmoid(logits - share * ops.log(ops.maximum(1 - inputs, _LEAST)))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, with the temperature of now."""
        return {**super().get_config(), "temperature": self.temperature, "activation": self.activation}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TemperatureScaling:
        """Return the layer that `get_config` describes."""
        return from_config(cls.__name__, config, super().from_config)


def _checked(temperature: Any) -> float:
    value = number(temperature)
    require(_LEAST <= value <= 1 / _LEAST, "temperature is a number from 1e-30 to 1e30", "temperature", temperature)
    return value
