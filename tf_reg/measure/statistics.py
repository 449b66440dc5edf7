"""The penalty, zeros and norm of a model's regularised weights, measured in one compiled call."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg import _backend, _walk
from tf_reg.penalties.group_lasso import GroupLasso, SparseGroupLasso
from tf_reg.penalties.groups import as_matrix, grouping
from tf_reg.penalties.stand_in import unwrapped


@dataclasses.dataclass(frozen=True)
class WeightStatistics:
    """Numbers of some regularised weights; add two of them for the numbers of both.

    Attributes:
        penalty: The sum of `variable.regularizer(variable)`, in units of the loss.
        count: How many weights there are.
        zeros: How many of them are exactly zero.
        near_zeros: How many are smaller than the threshold in absolute value, exact zeros included.
        square_sum: The sum of their squares.
        groups: How many groups there are in kernels whose regularizer is a `GroupLasso` or a `SparseGroupLasso`.
        dead_groups: How many of these groups are all zeros.
    """

    penalty: float = 0.0
    count: int = 0
    zeros: int = 0
    near_zeros: int = 0
    square_sum: float = 0.0
    groups: int = 0
    dead_groups: int = 0

    def __add__(self, other: WeightStatistics) -> WeightStatistics:
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return WeightStatistics(*(a + b for a, b in zip(mine, theirs, strict=True)))

    @property
    def sparsity(self) -> float:
        """The share of exact zeros, from 0 to 1; NaN where there are no weights."""
        return self.zeros / self.count if self.count else math.nan

    @property
    def near_sparsity(self) -> float:
        """The share of weights below the threshold, from 0 to 1; NaN where there are no weights."""
        return self.near_zeros / self.count if self.count else math.nan

    @property
    def norm(self) -> float:
        """The Euclidean norm of all the weights together."""
        return math.sqrt(self.square_sum)


class Meter:
    """Measures the regularised weights of a model, layer by layer.

    The statistics are computed where the weights are, by one compiled function that returns one array of shape
    `(variables, 5)`: one transfer to the host, however large the model.

    Args:
        model: A built Keras model. Its regularised variables are looked up once, here.
        near_zero: Weights below this absolute value count as near zero.
        of: Says of which regularizers; of all if not given.
    """

    def __init__(
        self, model: keras.Model, near_zero: float, of: Callable[[Any], bool] = lambda regularizer: True
    ) -> None:
        entries = _walk.regularized_variables(model)
        self._entries = [entry for entry in entries if of(unwrapped(entry[1].regularizer))]
        self._table = _backend.compile(
            _table_function([variable.regularizer for _, variable in self._entries], near_zero),
            reads=model.variables,  # a regularizer may have its strength in one of them
        )

    def measure(self) -> dict[str, WeightStatistics]:
        """Return the statistics of every layer that has regularised weights, by its path.

        Counts are exact up to 2**24 weights a variable, beyond that to seven digits.
        """
        layers: dict[str, WeightStatistics] = {}
        for (path, variable), row in zip(self._entries, self._rows(), strict=True):
            penalty, zeros, near_zeros, square_sum, dead_groups = row.tolist()
            count, groups = math.prod(variable.shape), _group_count(variable)
            found = WeightStatistics(penalty, count, int(zeros), int(near_zeros), square_sum, groups, int(dead_groups))
            layers[path] = layers.get(path, WeightStatistics()) + found
        return layers

    def _rows(self) -> Iterable[np.ndarray]:
        if not self._entries:
            return []
        values = [ops.convert_to_tensor(variable) for _, variable in self._entries]
        return ops.convert_to_numpy(self._table(values))


def total(layers: dict[str, WeightStatistics]) -> WeightStatistics:
    """Add up the statistics of all layers."""
    return sum(layers.values(), WeightStatistics())


def _table_function(regularizers: Sequence[Callable[[Any], Any]], near_zero: float) -> Callable[[Sequence[Any]], Any]:
    def table(values: Sequence[Any]) -> Any:
        rows = [_row(value, regularizer, near_zero) for value, regularizer in zip(values, regularizers, strict=True)]
        dtype = keras.backend.result_type("float32", *(row.dtype for row in rows))
        return ops.stack([ops.cast(row, dtype) for row in rows])

    return table


def _row(value: Any, regularizer: Callable[[Any], Any], near_zero: float) -> Any:
    dtype = keras.backend.result_type("float32", value.dtype)
    wide = ops.cast(value, dtype)
    columns = [
        ops.sum(regularizer(value)),  # Keras adds up whatever a regularizer returns
        ops.count_nonzero(ops.equal(value, 0)),
        ops.count_nonzero(ops.less(ops.abs(wide), near_zero)),
        ops.sum(ops.square(wide)),
        _dead_groups(value, regularizer),
    ]
    return ops.stack([ops.cast(column, dtype) for column in columns])


def _group_lasso(regularizer: Any) -> GroupLasso | None:
    """The part of a regularizer that says what its groups are; None where it has no groups."""
    regularizer = unwrapped(regularizer)
    if isinstance(regularizer, SparseGroupLasso):
        return regularizer.group_lasso
    return regularizer if isinstance(regularizer, GroupLasso) else None


def _group_count(variable: keras.Variable) -> int:
    grouped = _group_lasso(variable.regularizer)
    if grouped is None:
        return 0
    return math.prod(variable.shape) // grouping(variable.shape, grouped.groups, grouped.layout).size


def _dead_groups(value: Any, regularizer: Any) -> Any:
    grouped = _group_lasso(regularizer)
    if grouped is None:
        return 0.0
    return ops.count_nonzero(ops.all(as_matrix(ops.equal(value, 0), grouped.groups, grouped.layout), axis=1))
