"""The group lasso of the columns of a table: groups of inputs of a layer, of any sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, ValuesView
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import floats, is_integer, number, require
from tf_reg.penalties import proximal_operators
from tf_reg.penalties.penalty import PenaltyRegularizer
from tf_reg.penalties.strengths import checked


class ColumnGroups(NamedTuple):
    """How a kernel falls into groups of inputs of any sizes: what `tf_reg.penalties.groups.Grouping` is for equal ones.

    Args:
        shape: The kernel's shape, `(inputs, units)`.
        owners: The number of each input's group, int `(inputs,)`.
        number: How many groups there are.
    """

    shape: tuple[int, ...]
    owners: np.ndarray
    number: int

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes along which the members of a group lie: both."""
        return (0, 1)

    def some(self, truth: Tensor) -> Tensor:
        """Whether a boolean of the kernel's shape is true for some member of a group: shape `(groups,)`."""
        counts = ops.sum(ops.cast(truth, "int32"), axis=1)
        return ops.segment_sum(counts, ops.convert_to_tensor(self.owners, "int32"), num_segments=self.number) > 0

    def mean_squares(self, values: np.ndarray) -> np.ndarray:
        """The mean square of every group, `(groups,)`, of an array of the kernel's shape."""
        sums = np.bincount(self.owners, np.square(values).sum(axis=1), self.number)
        return sums / (np.bincount(self.owners, minlength=self.number) * self.shape[1])

    def spread(self, chosen: np.ndarray) -> np.ndarray:
        """Of each weight what its group has, of the kernel's shape, where `chosen` has one value for each group."""
        return np.broadcast_to(chosen[self.owners][:, None], self.shape)


@keras.saving.register_keras_serializable(package="tf_reg")
class ColumnLasso(PenaltyRegularizer):
    """A penalty under which all weights of a column become zero together.

    `strength * sum_c sqrt(|c|) * ||W_c||_2`: the sum over the columns of a table of the Euclidean norm of the weights
    that read the column's features, times the square root of the number of these weights (see `size_weights`), times
    the strength. A column can have several features: those of a category are one-hot, and one may say where the value
    is missing. With one feature a column, it is `tf_reg.GroupLasso(groups="inputs")`.

    Use it on the kernel of the first layer behind the features, to see which columns a model needs.

    Yuan & Lin 2006, "Model selection and estimation in regression with grouped variables"; for the inputs of networks:
    Scardapane et al. 2017, "Group sparse regularization for deep neural networks".

    Args:
        strength: The multiplier of the penalty, not negative.
        groups: Of each column, the places of its features among the layer's inputs: the `groups` of
            `tf_reg.column_features`, or lists of places. Each input is in one group.
        size_weights: Whether a column's norm counts `sqrt(|c|)` times. If not, every norm counts once. Or how many
            times each column's norm counts, a number for each.

    Raises:
        ValueError: A strength below zero or not finite, groups that leave a place out or have one twice; when called, a
            kernel that isn't `(inputs, units)` with these inputs.

    Example:

    >>> penalty = tf_reg.ColumnLasso(0.1, [[0, 1], [2]], size_weights=False)
    >>> round(float(penalty(keras.ops.array([[3.0], [4.0], [2.0]]))), 6)
    0.7
    """

    def __init__(
        self,
        strength: float,
        groups: Mapping[str, Sequence[int]] | Sequence[Sequence[int]],
        size_weights: bool | Sequence[float] = True,
    ):
        self.strength = checked(strength, "strength")
        self.groups = _checked_groups(groups)
        self.size_weights = _checked_weights(size_weights, len(self.groups))
        most = max(map(len, self.groups))
        self._inputs = sum(map(len, self.groups))
        # Each group's places, with that of a row of zeros, the last one, behind the shorter ones.
        padded = np.full((len(self.groups), most), self._inputs)
        self._back = np.zeros(self._inputs, int)  # where the rows are in that
        for place, group in enumerate(self.groups):
            padded[place, : len(group)] = group
            self._back[group] = place * most + np.arange(len(group))
        self._padded = padded
        self._owners = self._back // most  # the number of each row's group

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a kernel, a scalar of the kernel's dtype. Its gradient at a column of zeros is zero."""
        x = floats(x, "x")
        return ops.sum(self.norms(x) * ops.cast(self.strength_of(x.shape).ravel(), x.dtype))

    def value(self, x: Tensor) -> Tensor:
        """The penalty as a number to report."""
        return self(x)

    def norms(self, x: Tensor) -> Tensor:
        """The Euclidean norm of the weights of every column, `(columns,)`. Its gradient at zeros is zero."""
        self._check_shape(x.shape)
        owners = ops.convert_to_tensor(self._owners, "int32")
        squares = ops.segment_sum(ops.sum(ops.square(x), axis=1), owners, num_segments=len(self.groups))
        safe = ops.where(squares > 0, squares, ops.ones_like(squares))  # the root's slope at zero is infinite
        return ops.where(squares > 0, ops.sqrt(safe), squares)

    def prox(self, value: Tensor, step: Tensor) -> Tensor:
        """The proximal operator: see `tf_reg.penalties.proximal_operators.block_soft_threshold`."""
        self._check_shape(value.shape)
        step = ops.convert_to_tensor(step)
        if len(step.shape):
            step = self._grouped(ops.broadcast_to(step, value.shape))
        threshold = step * ops.cast(self.strength_of(value.shape), step.dtype)
        new = proximal_operators.block_soft_threshold(self._grouped(value), threshold, (1, 2))
        return ops.take(ops.reshape(new, (-1, value.shape[1])), self._back, axis=0)

    def strength_of(self, shape: Sequence[int]) -> np.ndarray:
        """The multiplier of every column's norm in a kernel of this shape, `(columns, 1, 1)`."""
        return self.strength * self._multipliers(shape)[:, None, None]

    def _multipliers(self, shape: Sequence[int]) -> np.ndarray:
        """How many times each column's norm counts, `(columns,)`."""
        if isinstance(self.size_weights, list):
            return np.array(self.size_weights)
        return np.array([math.sqrt(len(one) * shape[1]) if self.size_weights else 1.0 for one in self.groups])

    @property
    def gives_zeros(self) -> bool:
        """Whether the strength is above zero."""
        return self.strength > 0

    def zero_threshold(self, gradient: Tensor) -> float:
        """The largest Euclidean norm of a column of the gradient, divided by the multiplier of the column's norm."""
        norms = ops.convert_to_numpy(self.norms(gradient)).astype("float64")
        if not np.any(norms):
            return 0.0
        return float(np.max(norms / self.strength_of(gradient.shape).ravel())) if self.strength > 0 else math.inf

    def slope_at_zero(self, shape: Sequence[int], by_norm: bool) -> float:
        """The smallest multiplier of a column's norm; by entries, that divided by the root of its number of weights."""
        sizes = np.array([1.0 if by_norm else math.sqrt(len(group) * shape[1]) for group in self.groups])
        return float(np.min(self.strength_of(shape).ravel() / sizes))

    def grouping(self, shape: Sequence[int]) -> Any:
        """The groups of a kernel of this shape, a `ColumnGroups`."""
        self._check_shape(shape)
        return ColumnGroups(tuple(shape), self._owners, len(self.groups))

    @property
    def parameters(self) -> None:  # type: ignore[override]
        """None: it is applied to each weight on its own."""
        return None

    def factor_shape(self, shape: Sequence[int]) -> None:
        """None: columns have no factors of their own."""
        return None

    def resized_by(self, kept: Mapping[int, np.ndarray], before: Sequence[int]) -> ColumnLasso | None:
        """The penalty of what is left of a kernel, with the multiplier of each column's norm; None where nothing is.

        Args:
            kept: Which places stay, boolean, by the axis.
            before: The shape of the whole kernel.
        """
        inputs = np.asarray(kept.get(0, np.ones(self._inputs, bool)))
        new = np.cumsum(inputs) - 1
        groups = [[int(new[place]) for place in group if inputs[place]] for group in self.groups]
        if not any(groups):
            return None
        weights = self.size_weights
        if not isinstance(weights, bool) or weights:
            sizes = self._multipliers(before).tolist()
            weights = [size for size, group in zip(sizes, groups, strict=True) if group]
        return type(self)(self.strength, [group for group in groups if group], weights)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {"strength": self.strength, "groups": self.groups, "size_weights": self.size_weights}

    def _grouped(self, x: Tensor) -> Tensor:
        """The rows of each column, `(columns, rows, units)`, with zeros behind those of smaller columns."""
        rows = ops.concatenate([x, ops.zeros((1, x.shape[1]), dtype=x.dtype)], axis=0)
        return ops.reshape(ops.take(rows, self._padded.ravel(), axis=0), (*self._padded.shape, x.shape[1]))

    def _check_shape(self, shape: Sequence[int]) -> None:
        if len(shape) != 2 or shape[0] != self._inputs:
            raise ValueError(
                f"A ColumnLasso of {self._inputs} inputs needs a kernel of the shape ({self._inputs}, units). "
                f"Received: {tuple(shape)}. Give it to the first layer behind the features of the columns."
            )


def _checked_groups(groups: Any) -> list[list[int]]:
    expected = "groups has a list of places for each column, with each place from 0 on in one of them"
    given = groups.values() if isinstance(groups, Mapping) else groups
    listed = isinstance(given, (list, tuple, ValuesView)) or (isinstance(given, np.ndarray) and given.ndim == 2)
    require(listed, expected, "groups", groups)
    known = [isinstance(one, (list, tuple, range)) or (isinstance(one, np.ndarray) and one.ndim == 1) for one in given]
    require(all(known), expected, "groups", groups)
    lists = [list(group) for group in given]
    places = [place for group in lists for place in group]
    whole = bool(places) and all(lists) and all(map(is_integer, places))
    require(whole and sorted(places) == list(range(len(places))), expected, "groups", groups)
    return [[int(place) for place in group] for group in lists]


def _checked_weights(weights: Any, columns: int) -> bool | list[float]:
    if isinstance(weights, bool):
        return weights
    listed = isinstance(weights, (list, tuple)) or (isinstance(weights, np.ndarray) and weights.ndim == 1)
    sizes = [number(one) for one in weights] if listed and len(weights) == columns else []
    right = bool(sizes) and all(0 < one < math.inf for one in sizes)
    require(right, "size_weights is True, False, or a number above 0 for each group", "size_weights", weights)
    return sizes
