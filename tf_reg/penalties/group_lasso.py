"""The group lasso: a penalty under which whole inputs or outputs of a layer become zero together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import floats, require
from tf_reg.penalties import proximal_operators
from tf_reg.penalties.groups import Grouping, Groups, check, grouping
from tf_reg.penalties.penalty import PenaltyRegularizer
from tf_reg.penalties.strengths import Default, renamed


@keras.saving.register_keras_serializable(package="tf_reg")
class GroupLasso(PenaltyRegularizer):
    """A penalty under which whole inputs or outputs of a layer become zero together.

    `strength * sum_g sqrt(|g|) * ||w_g||_2`: the sum over the groups of a kernel of each group's Euclidean norm, times
    the square root of its number of weights (see `size_weights`), times the strength.

    Use it to make a network smaller and not just sparse: a unit whose group is zero can be cut out. In the loss alone,
    as in plain Keras, groups come near zero; with the proximal operator they reach it.

    Yuan & Lin 2006, "Model selection and estimation in regression with grouped variables"; for networks: Scardapane
    et al. 2017, "Group sparse regularization for deep neural networks".

    Args:
        strength: The multiplier of the penalty, not negative.
        groups: What a group is: `"outputs"` (all weights into one unit or filter), `"inputs"` (all weights out of one
            input), `"heads"` (all weights of one head in a projection of MultiHeadAttention), or the axes that index
            the groups, as in `(1,)`.
        size_weights: Whether a group's norm counts `sqrt(|g|)` times, so that layers with groups of different sizes
            can share a strength. If not, every norm counts once.
        layout: Where the kernel keeps its inputs and outputs: `"kernel"` (Dense, Conv, Embedding, SimpleRNN),
            `"transposed"` (ConvTranspose), `"depthwise"`, `"lstm"` or `"gru"`. A regularizer sees no layer, so for
            the last four say it; `tf_reg.penalties.groups.grouping` has the table. For heads it says the sizes of the
            attention: `"heads=4,key_dim=8,value_dim=8"`. `tf_reg.regularize` says it for you.
        l: The name of `strength` in tf_reg 0.1.

    Raises:
        ValueError: A strength below zero or not finite, `strength` and `l` both, unknown words; when called, a shape
            that the layout doesn't fit.

    Example:

    >>> penalty = tf_reg.GroupLasso(0.1, size_weights=False)
    >>> layer = keras.layers.Dense(2, kernel_regularizer=penalty)
    >>> round(float(penalty(keras.ops.array([[3.0, 0.0], [4.0, 0.0]]))), 6)
    0.5
    """

    def __init__(
        self,
        strength: float = Default(0.01),
        groups: Groups = "outputs",
        size_weights: bool = True,
        layout: str = "kernel",
        l: float | None = None,  # noqa: E741
    ):
        self.strength = renamed(strength, l)
        check(groups, layout)
        require(isinstance(size_weights, bool), "size_weights is True or False", "size_weights", size_weights)
        self.groups = groups if isinstance(groups, str) else [int(axis) for axis in groups]
        self.size_weights = size_weights
        self.layout = layout

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a kernel, a scalar of the kernel's dtype. Its gradient at a group of zeros is zero."""
        x = floats(x, "x")
        norms = self.grouping(x.shape).norms(x)
        return ops.cast(self.strength_of(x.shape), x.dtype) * ops.sum(norms)

    def value(self, x: Tensor) -> Tensor:
        """The penalty as a number to report."""
        return self(x)

    def strength_of(self, shape: Sequence[int]) -> float:
        """The multiplier of every group's norm in a kernel of this shape: `strength * sqrt(|g|)`, or `strength`."""
        return self.strength * math.sqrt(self.grouping(shape).size) if self.size_weights else self.strength

    def prox(self, value: Tensor, step: Tensor) -> Tensor:
        """The proximal operator: see `tf_reg.penalties.proximal_operators.block_soft_threshold`."""
        plan = self.grouping(value.shape)
        unit = math.sqrt(plan.size) if self.size_weights else 1.0
        return ops.reshape(self.block(plan.view(value), plan.view(step), plan.axes, unit), value.shape)

    def of_norms(self, norms: Tensor, unit: float) -> Tensor:
        """The penalty of each group, by its norm.

        Args:
            norms: The Euclidean norms.
            unit: What a norm is multiplied by, beside the strength.
        """
        return norms * ops.cast(unit * self.strength, norms.dtype)

    def block(self, value: Tensor, step: Tensor, axes: Sequence[int], unit: float) -> Tensor:
        """The proximal operator of groups along axes.

        Args:
            value: Weights, of any shape.
            step: The step size: a scalar, or a shape that broadcasts to `value`.
            axes: The axes along which the members of a group lie.
            unit: As in `of_norms`.
        """
        return proximal_operators.block_soft_threshold(value, step * (unit * self.strength), axes)

    @property
    def gives_zeros(self) -> bool:
        """Whether the strength is above zero."""
        return self.strength > 0

    def zero_threshold(self, gradient: Tensor) -> float:
        """The largest Euclidean norm of a group of the gradient, divided by the multiplier of a group's norm."""
        matrix = ops.convert_to_numpy(self.grouping(gradient.shape).matrix(gradient)).astype("float64")
        largest = float(np.max(np.linalg.norm(matrix, axis=1), initial=0.0))
        if largest == 0:
            return 0.0
        return largest / self.strength_of(gradient.shape) if self.strength > 0 else math.inf

    def slope_at_zero(self, shape: Sequence[int], by_norm: bool) -> float:
        """The multiplier of a group's norm; by entries, that divided by `sqrt(|g|)`: all entries of a group equal."""
        slope = self.strength_of(shape)
        return slope if by_norm else slope / math.sqrt(max(self.grouping(shape).size, 1))

    def grouping(self, shape: Sequence[int]) -> Grouping:
        """The groups of a kernel of this shape."""
        return grouping(shape, self.groups, self.layout)

    @property
    def takes_layout(self) -> bool:
        """Whether the groups are inputs or outputs, and the layout is the default."""
        return isinstance(self.groups, str) and self.layout == "kernel"

    @property
    def takes_heads(self) -> bool:
        """Whether the groups are heads."""
        return self.groups == "heads"

    def with_layout(self, layout: str) -> GroupLasso:
        """The same penalty for a layer of another type."""
        return type(self)(**{**self.get_config(), "layout": layout})

    def resized(self, before: Sequence[int], after: Sequence[int]) -> GroupLasso:
        """The penalty with the strength that keeps the multiplier of a group's norm."""
        strength = self.strength
        if self.size_weights:
            strength *= math.sqrt(self.grouping(before).size / self.grouping(after).size)
        return type(self)(**{**self.get_config(), "strength": strength})

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {
            "strength": self.strength,
            "groups": self.groups,
            "size_weights": self.size_weights,
            "layout": self.layout,
        }
