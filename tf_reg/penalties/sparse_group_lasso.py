"""The sparse group lasso: whole groups become zero, and single weights within the groups that stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import floats
from tf_reg.penalties import proximal_operators
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.groups import Grouping, Groups
from tf_reg.penalties.penalty import PenaltyRegularizer
from tf_reg.penalties.strengths import Default, checked


@keras.saving.register_keras_serializable(package="tf_reg")
class SparseGroupLasso(PenaltyRegularizer):
    """A penalty that makes whole groups zero, and single weights within the groups that stay.

    `l1 * sum |w| + strength * sum_g sqrt(|g|) * ||w_g||_2`: `keras.regularizers.L1` and `tf_reg.GroupLasso` in one.

    Use it where the groups that survive still have more weights than they need. Simon, Friedman, Hastie & Tibshirani
    2013, "A sparse-group lasso".

    Args:
        l1: Strength of `sum |w|`, not negative.
        strength: Strength of the groups' norms, not negative.
        groups: As in `GroupLasso`.
        size_weights: As in `GroupLasso`.
        layout: As in `GroupLasso`.
        l: The name of `strength` in tf_reg 0.1.

    Raises:
        ValueError: As in `GroupLasso`.

    Example:

    >>> penalty = tf_reg.SparseGroupLasso(l1=0.1, strength=1.0, groups="inputs", size_weights=False)
    >>> round(float(penalty(keras.ops.array([[3.0, 4.0], [0.0, 0.0]]))), 6)
    5.7
    """

    def __init__(
        self,
        l1: float = 0.01,
        strength: float = Default(0.01),
        groups: Groups = "outputs",
        size_weights: bool = True,
        layout: str = "kernel",
        l: float | None = None,  # noqa: E741
    ):
        self.l1 = checked(l1, "l1")
        self.group_lasso = GroupLasso(strength, groups, size_weights, layout, l)

    @property
    def strength(self) -> float:
        """The strength of the groups' norms."""
        return self.group_lasso.strength

    @property
    def size_weights(self) -> bool:
        """Whether a group's norm counts `sqrt(|g|)` times."""
        return self.group_lasso.size_weights

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a kernel, a scalar of the kernel's dtype."""
        x = floats(x, "x")
        size = x * ops.stop_gradient(ops.sign(x))  # |x| with slope 0 at zero: that of JAX's abs is 1
        return ops.cast(self.l1, x.dtype) * ops.sum(size) + self.group_lasso(x)

    def value(self, x: Tensor) -> Tensor:
        """The penalty as a number to report."""
        return self(x)

    def prox(self, value: Tensor, step: Tensor) -> Tensor:
        """The proximal operator: see `tf_reg.penalties.proximal_operators.sparse_group`."""
        plan = self.grouping(value.shape)
        step, strength = plan.view(step), self.group_lasso.strength_of(value.shape)
        result = proximal_operators.sparse_group(plan.view(value), step * self.l1, step * strength, plan.axes)
        return ops.reshape(result, value.shape)

    @property
    def gives_zeros(self) -> bool:
        """Whether one of the strengths is above zero."""
        return self.l1 > 0 or self.strength > 0

    def zero_threshold(self, gradient: Tensor) -> float:
        """The largest threshold of a group: the root m of `||soft_threshold(g, m * l1)|| = m * s` for each group g.

        Here `s` is the multiplier of a group's norm.
        """
        matrix = ops.convert_to_numpy(self.grouping(gradient.shape).matrix(gradient)).astype("float64")
        if not np.any(matrix):
            return 0.0
        strength = self.group_lasso.strength_of(gradient.shape)
        if self.l1 == 0 and strength == 0:
            return math.inf
        return float(np.max(_thresholds(np.abs(matrix), self.l1, strength)))

    def slope_at_zero(self, shape: Sequence[int], by_norm: bool) -> float:
        """`l1`, plus the slope of the group lasso by the same measure."""
        return self.l1 + self.group_lasso.slope_at_zero(shape, by_norm)

    def grouping(self, shape: Sequence[int]) -> Grouping:
        """The groups of a kernel of this shape."""
        return self.group_lasso.grouping(shape)

    @property
    def takes_layout(self) -> bool:
        """As in `GroupLasso`."""
        return self.group_lasso.takes_layout

    @property
    def takes_heads(self) -> bool:
        """As in `GroupLasso`."""
        return self.group_lasso.takes_heads

    def with_layout(self, layout: str) -> SparseGroupLasso:
        """The same penalty for a layer of another type."""
        return type(self)(**{**self.get_config(), "layout": layout})

    def resized(self, before: Sequence[int], after: Sequence[int]) -> SparseGroupLasso:
        """The penalty with the strength that keeps the multiplier of a group's norm."""
        strength = self.group_lasso.resized(before, after).strength
        return type(self)(**{**self.get_config(), "strength": strength})

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {"l1": self.l1, **self.group_lasso.get_config()}


def _thresholds(sizes: np.ndarray, l1: float, strength: float) -> np.ndarray:
    """The zero threshold of each group, in closed form.

    Let `a` be the absolute values of a group in falling order. Those above `m * l1` at the threshold m are the first k.
    An entry is one of them where the left side of `||soft_threshold(a, m * l1)|| = m * s` is the smaller one at
    `m = a_i / l1`. With k known the equation is quadratic in m, and m is its smaller positive root.

    Args:
        sizes: Absolute values, shape `(groups, members)`.
        l1: The strength of `sum |w|`.
        strength: The multiplier `s` of a group's norm.
    """
    ordered = -np.sort(-sizes, axis=1)
    count = np.arange(1, sizes.shape[1] + 1)
    sums, squares = np.cumsum(ordered, axis=1), np.cumsum(ordered**2, axis=1)
    above = l1**2 * (squares - 2 * ordered * sums + count * ordered**2) < (ordered * strength) ** 2
    last = np.maximum(np.count_nonzero(above, axis=1), 1) - 1
    total, square, k = (table[np.arange(len(table)), last] for table in (sums, squares, np.tile(count, (len(sums), 1))))
    root = np.sqrt(np.maximum((l1 * total) ** 2 - (k * l1**2 - strength**2) * square, 0.0))
    divisor = l1 * total + root
    return np.where(square > 0, square / np.where(divisor > 0, divisor, 1.0), 0.0)
