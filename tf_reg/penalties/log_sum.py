"""The log-sum penalty, of single weights or of groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import number, require
from tf_reg.penalties import concave_operators
from tf_reg.penalties.concave import ConcavePenalty
from tf_reg.penalties.concave_groups import Curve
from tf_reg.penalties.groups import Groups


@keras.saving.register_keras_serializable(package="tf_reg")
class LogSum(ConcavePenalty):
    """The log-sum penalty: L1 near zero, and almost flat for weights that are large beside `epsilon`.

    `sum p(|w|)` with `p(x) = strength * epsilon * log(1 + x / epsilon)`. For groups it is `sum_g |g| * p(rms_g)`, where
    `rms_g` is the root mean square of a group's weights; with `size_weights=False` it is `sum_g p(||w_g||_2)`. The
    slope is `strength` at zero, and `strength / (1 + x / epsilon)` at x. (Where the penalty is written as
    `alpha * sum log(1 + |w| / epsilon)`, as by Candès, alpha is `strength * epsilon`.)

    Use it where MCP's flat part is hard to place: `epsilon` is the size of a small weight, in units of the weights.
    The proximal operator of single weights is the global minimum of its own problem for every step size, and so it is
    for groups with an optimizer that has one step size, such as SGD.

    Candès, Wakin & Boyd 2008, "Enhancing sparsity by reweighted l1 minimization".

    Args:
        strength: The slope of p at zero, that of L1. Not negative.
        epsilon: The size at which the slope is halved. Above 0. A large one makes it L1.
        groups: As in `tf_reg.MCP`.
        size_weights: As in `tf_reg.MCP`.
        layout: As in `tf_reg.MCP`.

    Raises:
        ValueError: A strength or an epsilon out of its range, a group or a layout of another kind.

    Example:

    >>> penalty = tf_reg.LogSum(2.0, epsilon=1.0)
    >>> round(float(penalty(keras.ops.array([1.0, -3.0]))), 4)  # 2 * (log 2 + log 4)
    4.1589
    >>> keras.ops.convert_to_numpy(tf_reg.proximal_map(penalty)([0.5, 3.5], 1.0)).tolist()
    [0.0, 3.0]
    """

    def __init__(
        self,
        strength: float = 0.01,
        epsilon: float = 0.1,
        groups: Groups | None = None,
        size_weights: bool = True,
        layout: str = "kernel",
    ):
        super().__init__(strength, groups, size_weights, layout)
        self.epsilon = number(epsilon)
        require(0 < self.epsilon < math.inf, "epsilon is a finite number above 0", "epsilon", epsilon)

    @property
    def curve(self) -> Curve:
        """The function p, its slopes and its proximal operator."""
        strength, epsilon = self.strength, self.epsilon

        def height(x: Tensor) -> Tensor:
            return ops.log1p(x / epsilon) * (strength * epsilon)

        def slopes(x: Tensor) -> tuple[Tensor, Tensor]:
            slope = strength * epsilon / (epsilon + x)
            return slope, -slope / (epsilon + x)

        def threshold(value: Tensor, step: Tensor) -> Tensor:
            return concave_operators.log_sum(value, step, strength, epsilon)

        return Curve(height, slopes, threshold, strength)

    def resized(self, before: Sequence[int], after: Sequence[int]) -> Self | None:
        """The penalty with the strength and the epsilon that keep the penalty of a group's norm."""
        other = super().resized(before, after)
        if other is None or not self.strength:
            return other
        return type(self)(**{**other.get_config(), "epsilon": self.epsilon * other.strength / self.strength})

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {**super().get_config(), "epsilon": self.epsilon}
