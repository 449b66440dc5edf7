"""The minimax concave penalty, of single weights or of groups."""

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
class MCP(ConcavePenalty):
    """The minimax concave penalty: L1 near zero, and constant for large weights, which it doesn't shrink.

    `sum p(|w|)` with `p(x) = strength * x - x^2 / (2 * gamma)` up to `x = gamma * strength`, and the constant
    `gamma * strength^2 / 2` from there on. For groups it is `sum_g |g| * p(rms_g)`, where `rms_g` is the root mean
    square of a group's weights; with `size_weights=False` it is `sum_g p(||w_g||_2)`.

    Use it where the weights that stay should have the size that the data want, which L1 makes too small. Train with
    `tf_reg.Proximal`. The weights at stake are those below `gamma * strength`. With features of variance 1 and a mean
    squared error that is a weight of a few strengths, as `gamma=3` says. Where the curvature of the loss is lower, as
    in deep networks, choose gamma so that `gamma * strength` is the size of a weight that should be kept as it is.

    The penalty isn't convex: training finds a minimum nearby. The proximal operator is the global minimum of its own
    problem for every step size, in `Proximal` in the metric of the optimizer. From a step size of `gamma` on it is the
    hard threshold.

    Zhang 2010, "Nearly unbiased variable selection under minimax concave penalty"; for groups: Breheny & Huang 2015,
    "Group descent algorithms for nonconvex penalized linear and logistic regression models with grouped predictors".

    Args:
        strength: The slope of p at zero, that of L1. Not negative.
        gamma: The penalty is constant from `gamma * strength` on. Above 0. A large one makes it L1.
        groups: What a group is, as in `tf_reg.GroupLasso`: `"outputs"`, `"inputs"`, or the axes that index the groups;
            None for single weights.
        size_weights: For groups, whether p takes the root mean square of a group and is multiplied by its size. It
            makes the strengths of large and small groups comparable, as in `GroupLasso`.
        layout: For groups, where the layer's type keeps its inputs and outputs, as in `GroupLasso`.

    Raises:
        ValueError: A strength or a gamma out of its range, a group or a layout of another kind.

    Example:

    >>> penalty = tf_reg.MCP(1.0, gamma=2.0)
    >>> float(penalty(keras.ops.array([1.0, 2.0, 100.0])))
    2.75
    >>> keras.ops.convert_to_numpy(tf_reg.proximal_map(penalty)([0.5, 1.5, 100.0], 1.0)).tolist()
    [0.0, 1.0, 100.0]
    """

    def __init__(
        self,
        strength: float = 0.01,
        gamma: float = 3.0,
        groups: Groups | None = None,
        size_weights: bool = True,
        layout: str = "kernel",
    ):
        super().__init__(strength, groups, size_weights, layout)
        self.gamma = number(gamma)
        require(0 < self.gamma < math.inf, "gamma is a finite number above 0", "gamma", gamma)

    @property
    def curve(self) -> Curve:
        """The function p, its slopes and its proximal operator."""
        strength, gamma = self.strength, self.gamma
        flat = gamma * strength

        def height(x: Tensor) -> Tensor:
            return ops.where(x < flat, x * (strength - x / (2 * gamma)), 0.0 * x + strength * flat / 2)

        def slopes(x: Tensor) -> tuple[Tensor, Tensor]:
            return ops.where(x < flat, strength - x / gamma, 0.0), ops.where(x < flat, 0.0 * x - 1 / gamma, 0.0)

        def threshold(value: Tensor, step: Tensor) -> Tensor:
            return concave_operators.mcp(value, step, strength, gamma)

        return Curve(height, slopes, threshold, strength, flat)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {**super().get_config(), "gamma": self.gamma}
