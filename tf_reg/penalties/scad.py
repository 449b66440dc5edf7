"""The smoothly clipped absolute deviation, of single weights or of groups."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import number, require
from tf_reg.penalties import concave_operators
from tf_reg.penalties.concave import ConcavePenalty
from tf_reg.penalties.concave_groups import Curve
from tf_reg.penalties.groups import Groups


@keras.saving.register_keras_serializable(package="tf_reg")
class SCAD(ConcavePenalty):
    """The smoothly clipped absolute deviation: L1 up to `strength`, and constant from `a * strength` on.

    `sum p(|w|)` with `p(x) = strength * x` up to `x = strength`,
    `p(x) = (2 * a * strength * x - x^2 - strength^2) / (2 * (a - 1))` up to `x = a * strength`, and the constant
    `strength^2 * (a + 1) / 2` from there on. For groups it is `sum_g |g| * p(rms_g)`, where `rms_g` is the root mean
    square of a group's weights; with `size_weights=False` it is `sum_g p(||w_g||_2)`.

    Use it as `tf_reg.MCP`, whose slope falls from zero on. SCAD's slope is that of L1 up to `strength`, so small
    weights are shrunk as by L1. The proximal operator is the global minimum of its own problem for every step size.

    Fan & Li 2001, "Variable selection via nonconcave penalized likelihood and its oracle properties", who choose
    `a = 3.7`.

    Args:
        strength: The slope of p at zero, that of L1. Not negative.
        a: The penalty is constant from `a * strength` on. Above 1. A large one makes it L1.
        groups: As in `tf_reg.MCP`.
        size_weights: As in `tf_reg.MCP`.
        layout: As in `tf_reg.MCP`.

    Raises:
        ValueError: A strength or an a out of its range, a group or a layout of another kind.

    Example:

    >>> penalty = tf_reg.SCAD(1.0, a=3.0)
    >>> float(penalty(keras.ops.array([1.0, 2.0, 100.0])))
    4.75
    >>> keras.ops.convert_to_numpy(tf_reg.proximal_map(penalty)([0.5, 1.5, 100.0], 1.0)).tolist()
    [0.0, 0.5, 100.0]
    """

    def __init__(
        self,
        strength: float = 0.01,
        a: float = 3.7,
        groups: Groups | None = None,
        size_weights: bool = True,
        layout: str = "kernel",
    ):
        super().__init__(strength, groups, size_weights, layout)
        self.a = number(a)
        require(1 < self.a < math.inf, "a is a finite number above 1", "a", a)

    @property
    def curve(self) -> Curve:
        """The function p, its slopes and its proximal operator."""
        strength, a = self.strength, self.a
        flat = a * strength

        def height(x: Tensor) -> Tensor:
            middle = (2 * flat * x - x * x - strength**2) / (2 * (a - 1))
            outer = ops.where(x < flat, middle, 0.0 * x + strength**2 * (a + 1) / 2)
            return ops.where(x <= strength, strength * x, outer)

        def slopes(x: Tensor) -> tuple[Tensor, Tensor]:
            falls = ops.logical_and(x > strength, x < flat)
            outer = ops.where(x < flat, (flat - x) / (a - 1), 0.0)
            return ops.where(x <= strength, strength, outer), ops.where(falls, 0.0 * x - 1 / (a - 1), 0.0)

        def threshold(value: Tensor, step: Tensor) -> Tensor:
            return concave_operators.scad(value, step, strength, a)

        return Curve(height, slopes, threshold, strength, flat)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {**super().get_config(), "a": self.a}
