"""What MCP, SCAD and the log-sum have in common: penalties of single weights or of groups that get flatter."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import floats, require
from tf_reg.penalties import concave_groups
from tf_reg.penalties.concave_groups import Curve
from tf_reg.penalties.elastic_net import ElasticNet
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.groups import Grouping, Groups, check
from tf_reg.penalties.penalty import Penalty, PenaltyRegularizer
from tf_reg.penalties.strengths import checked


class ConcavePenalty(PenaltyRegularizer):
    """A penalty `sum p(|w|)` of single weights, or a penalty of groups, where p rises from zero and gets flatter.

    At zero it has the slope of L1, or of the group lasso, of the same strength. So it has their zero threshold too.

    Abstract. A subclass says what p is.

    Args:
        strength: The slope of p at zero, not negative.
        groups: As in `GroupLasso`; None for single weights.
        size_weights: Whether p takes the root mean square of a group and is multiplied by the group's size. If not, p
            takes the group's norm. As in `GroupLasso`, it makes the strengths of large and small groups comparable.
        layout: As in `GroupLasso`.

    Raises:
        ValueError: As in `GroupLasso`.
    """

    def __init__(
        self, strength: float, groups: Groups | None = None, size_weights: bool = True, layout: str = "kernel"
    ):
        self.strength = checked(strength, "strength")
        check("outputs" if groups is None else groups, layout)
        require(isinstance(size_weights, bool), "size_weights is True or False", "size_weights", size_weights)
        self.groups = groups if groups is None or isinstance(groups, str) else [int(axis) for axis in groups]
        self.size_weights = size_weights
        self.layout = layout

    @property
    @abc.abstractmethod
    def curve(self) -> Curve:
        """The function p, its slopes and its proximal operator."""

    @property
    def convex(self) -> Penalty:
        """The convex penalty that has the same slope at zero: L1 or the group lasso."""
        if self.groups is None:
            return ElasticNet(keras.regularizers.L1(self.strength))
        return GroupLasso(self.strength, self.groups, self.size_weights, self.layout)

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a weight, a scalar of its dtype. Its gradient is zero where a weight, or a group, is zero."""
        x = floats(x, "x")
        plan = self.grouping(x.shape)
        if plan is None:
            return ops.sum(self.curve.height(x * ops.stop_gradient(ops.sign(x))))  # JAX's abs has slope 1 at zero
        return ops.sum(self.of_norms(plan.norms(x), self._unit(plan)))

    def value(self, x: Tensor) -> Tensor:
        """The penalty as a number to report."""
        return self(x)

    def prox(self, value: Tensor, step: Tensor) -> Tensor:
        """The proximal operator: see `tf_reg.penalties.concave_operators` and `concave_groups`."""
        plan = self.grouping(value.shape)
        if plan is None:
            return self.curve.threshold(value, step)
        return ops.reshape(self.block(plan.view(value), plan.view(step), plan.axes, self._unit(plan)), value.shape)

    def of_norms(self, norms: Tensor, unit: float) -> Tensor:
        """The penalty of each group, by its norm: `unit^2 * p(norm / unit)`.

        Args:
            norms: The Euclidean norms.
            unit: The unit of norms.
        """
        return ops.cast(unit * unit, norms.dtype) * self.curve.height(norms / ops.cast(unit, norms.dtype))

    def block(self, value: Tensor, step: Tensor, axes: Sequence[int], unit: float) -> Tensor:
        """The proximal operator of groups along axes: see `tf_reg.penalties.concave_groups.block`."""
        return concave_groups.block(value, step, axes, self.curve, unit)

    def _unit(self, plan: Grouping) -> float:
        return plan.size**0.5 if self.size_weights and plan.size else 1.0

    @property
    def elementwise(self) -> bool:
        """Whether it penalises single weights."""
        return self.groups is None

    @property
    def gives_zeros(self) -> bool:
        """Whether the strength is above zero."""
        return self.strength > 0

    def zero_threshold(self, gradient: Tensor) -> float:
        """That of L1 or the group lasso. Below a strength of that, a minimum other than zero may be lower."""
        return self.convex.zero_threshold(gradient)

    def slope_at_zero(self, shape: Sequence[int], by_norm: bool) -> float:
        """That of L1 or the group lasso."""
        return self.convex.slope_at_zero(shape, by_norm)

    def grouping(self, shape: Sequence[int]) -> Grouping | None:
        """The groups of a kernel of this shape; None for single weights."""
        return self.convex.grouping(shape)

    @property
    def takes_layout(self) -> bool:
        """As in `GroupLasso`."""
        return self.convex.takes_layout

    @property
    def takes_heads(self) -> bool:
        """As in `GroupLasso`."""
        return self.convex.takes_heads

    def with_layout(self, layout: str) -> Self:
        """The same penalty for a layer of another type."""
        return type(self)(**{**self.get_config(), "layout": layout})

    def resized(self, before: Sequence[int], after: Sequence[int]) -> Self | None:
        """The penalty with the strength that keeps the penalty of a group's norm; None for single weights."""
        if not isinstance(self.convex, GroupLasso):
            return None
        strength = self.convex.resized(before, after).strength
        return type(self)(**{**self.get_config(), "strength": strength})

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {
            "strength": self.strength,
            "groups": self.groups,
            "size_weights": self.size_weights,
            "layout": self.layout,
        }
