"""The penalty, zeros and norm of weights."""

from __future__ import annotations

import dataclasses
import math

from tf_reg.measure.core import Answer, Question


@dataclasses.dataclass(frozen=True)
class WeightStatistics:
    """Numbers of some weights; add two of them for the numbers of both.

    Attributes:
        penalty: The sum of `variable.regularizer(variable)`, in units of the loss, of those that pay one.
        count: How many weights there are.
        zeros: How many of them are exactly zero.
        near_zeros: How many are smaller than the threshold in absolute value, exact zeros included.
        square_sum: The sum of the squares of those that pay a penalty.
        groups: How many groups there are in kernels whose regularizer has groups, such as `GroupLasso`.
        dead_groups: How many of these groups are all zeros.
    """

    penalty: float = 0.0
    count: int = 0
    zeros: int = 0
    near_zeros: int = 0
    square_sum: float = 0.0
    groups: int = 0
    dead_groups: int = 0

    @classmethod
    def of(cls, question: Question, answer: Answer) -> WeightStatistics:
        """The numbers of one weight.

        Args:
            question: Which weight.
            answer: What was measured of it.
        """
        return cls(
            answer.penalty,
            question.size,
            answer.zeros,
            answer.near_zeros,
            answer.square_sum,
            answer.groups,
            answer.dead_groups,
        )

    def __add__(self, other: WeightStatistics) -> WeightStatistics:
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return WeightStatistics(*(a + b for a, b in zip(mine, theirs, strict=True)))

    @property
    def zero_share(self) -> float:
        """The share of exact zeros, from 0 to 1; NaN where there are no weights."""
        return self.zeros / self.count if self.count else math.nan

    @property
    def near_zero_share(self) -> float:
        """The share of weights below the threshold, from 0 to 1; NaN where there are no weights."""
        return self.near_zeros / self.count if self.count else math.nan

    @property
    def norm(self) -> float:
        """The Euclidean norm of the weights that pay a penalty, all together."""
        return math.sqrt(self.square_sum)
