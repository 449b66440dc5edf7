"""A dropout rate that can be moved while a compiled step uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import from_config, is_integer, number, shown


def checked_rate(rate: Any, what: str = "rate") -> float:
    """Return a dropout rate as a float, or raise a `ValueError` that names what it is for."""
    share = number(rate)
    if not 0 <= share < 1:
        raise ValueError(f"{what} is the share that is dropped: at least 0 and below 1. Received: {shown(rate)}.")
    return share


class MovableRate:
    """What tf_reg's dropout layers have in common: a seed generator, and a rate in a variable.

    The rate is a weight that isn't trained, so that a change takes effect in a compiled step without a new trace, and
    so that `set_weights` and `load_weights` set it as they do all weights.
    Mixed into a `keras.Layer`, whose constructor has run when `_start` is called.
    """

    add_weight: Any

    def _start(self, rate: float, seed: int | None) -> None:
        self._given = checked_rate(rate)
        if seed is not None and not (is_integer(seed) and abs(int(seed)) < 1 << 31):
            raise ValueError(f"seed must be an integer or None. Received: seed={shown(seed)}.")
        self.seed = None if seed is None else int(seed)
        try:
            self.seed_generator = keras.random.SeedGenerator(self.seed)
        except OverflowError as error:  # JAX's states have no sign
            raise ValueError(f"seed must be zero or above with JAX, or None. Received: seed={shown(seed)}.") from error
        self._rate = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self._given),
            dtype="float32",
            trainable=False,
            autocast=False,
            name="rate",
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Return the layer that `get_config` describes."""
        return from_config(cls.__name__, config, super().from_config)  # type: ignore[misc]

    @property
    def rate(self) -> float:
        """The share that is dropped; can be set at any time."""
        value = float(ops.convert_to_numpy(self._rate))
        return self._given if np.float32(self._given) == np.float32(value) else value  # 0.1, not 0.10000000149

    @rate.setter
    def rate(self, rate: float) -> None:
        self._given = checked_rate(rate)
        self._rate.assign(self._given)

    def _masked(self, x: Tensor, kept: Tensor) -> Tensor:
        """What is kept, scaled by `1 / (1 - rate)`, so that the expectation is `x`."""
        return ops.where(kept, x * ops.cast(1 / (1 - self._rate.value), x.dtype), ops.zeros((), x.dtype))

    def _kept(self, shape: Sequence[Any]) -> Tensor:
        """Booleans of this shape, each true with probability `1 - rate`."""
        return ops.greater_equal(keras.random.uniform(shape, dtype="float32", seed=self.seed_generator), self._rate)
