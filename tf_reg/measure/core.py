"""Numbers of many weights, computed by one compiled function and brought to the host in one transfer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from tf_reg import _backend
from tf_reg._backend import Tensor
from tf_reg._walk import Weight
from tf_reg.penalties.groups import Grouping, grouping
from tf_reg.penalties.registry import group_penalty_of
from tf_reg.penalties.stand_in import unwrapped

EXACT = 2**24  # integers up to this one are exact in float32


class Question(NamedTuple):
    """What to measure of a weight.

    Args:
        weight: The weight.
        penalty: Whether to measure its zeros, near zeros, sum of squares, penalty and dead groups; it has a regularizer
            then.
        units: Whether to measure its zeros, and, if its layout is known, to find its dead inputs and outputs.
    """

    weight: Weight
    penalty: bool = False
    units: bool = False

    @property
    def size(self) -> int:
        """How many entries the weight has."""
        return math.prod(self.weight.variable.shape)


class _Plan(NamedTuple):
    """A question with all that doesn't change from one answer to the next."""

    size: int
    regularizer: keras.Regularizer | None
    groups: Grouping | None  # of the regularizer
    units: list[Grouping]  # the inputs and the outputs, or nothing

    @classmethod
    def of(cls, question: Question) -> _Plan:
        variable, layout = question.weight.variable, question.weight.layout if question.units else None
        shape = tuple(variable.shape)
        regularizer = variable.regularizer if question.penalty else None
        penalty = group_penalty_of(unwrapped(regularizer))
        units = [] if layout is None else [grouping(shape, which, layout) for which in ("inputs", "outputs")]
        return cls(question.size, regularizer, None if penalty is None else penalty.grouping(shape), units)


class Answer(NamedTuple):
    """What was measured of a weight; zeros and empty arrays for what wasn't asked.

    Args:
        zeros: How many entries are exactly zero.
        penalty: The value of its regularizer.
        near_zeros: How many entries are smaller than the threshold in absolute value, exact zeros included.
        square_sum: The sum of the squares.
        groups: How many groups there are.
        dead_groups: How many of them are all zeros.
        inputs: For each input whether it has an entry that isn't zero, shape `(inputs,)`.
        outputs: The same for each output.
    """

    zeros: int
    penalty: float
    near_zeros: int
    square_sum: float
    groups: int
    dead_groups: int
    inputs: np.ndarray
    outputs: np.ndarray


class Core:
    """Answers the same questions time and again, each time for the weights as they are then.

    Args:
        model: The model that the weights are from.
        questions: What to measure.
        near_zero: Entries below this absolute value count as near zero.
        compiled: Whether to compile the function, which takes too long for a single answer.
    """

    def __init__(
        self, model: keras.Layer, questions: Sequence[Question], near_zero: float = 0.0, compiled: bool = True
    ) -> None:
        self._asked = [question.penalty or question.units for question in questions]
        asked = [question for question in questions if question.penalty or question.units]
        self._variables = [question.weight.variable for question in asked]
        plans = self._plans = [_Plan.of(question) for question in asked]

        def function(values: Sequence[Tensor]) -> Tensor:
            return _numbers(values, plans, near_zero)

        # A regularizer may have its strength in a variable of the model.
        self._function = _backend.compile(function, reads=model.variables) if compiled else function

    def measure(self) -> list[Answer]:
        """Return the answer to every question, in order."""
        answers = iter(self._answers())
        return [next(answers) if asked else _NOTHING for asked in self._asked]

    def _answers(self) -> list[Answer]:
        if not self._plans:
            return []
        values = [ops.convert_to_tensor(variable) for variable in self._variables]
        numbers = _Reader(ops.convert_to_numpy(self._function(values)))
        scalars = [_read_scalars(plan, numbers) for plan in self._plans]
        units = [[numbers.vector(groups.number) > 0 for groups in plan.units] for plan in self._plans]
        return [Answer(*one, *(both or _NO_UNITS)) for one, both in zip(scalars, units, strict=True)]


_NO_UNITS = np.zeros(0, bool), np.zeros(0, bool)
_NOTHING = Answer(0, 0.0, 0, 0.0, 0, 0, *_NO_UNITS)


def _numbers(values: Sequence[Tensor], plans: Sequence[_Plan], near_zero: float) -> Tensor:
    """All numbers in one vector: the scalars of every weight, then the inputs and outputs of every weight."""
    scalars: list[Tensor] = []
    vectors: list[Tensor] = []
    for value, plan in zip(values, plans, strict=True):
        alive = ops.not_equal(value, 0)
        scalars += _scalars(value, alive, plan, near_zero)
        vectors += [groups.some(alive) for groups in plan.units]
    dtype = keras.backend.result_type("float32", *(scalar.dtype for scalar in scalars))
    first = ops.stack([ops.cast(scalar, dtype) for scalar in scalars])
    return ops.concatenate([first, ops.cast(ops.concatenate(vectors), dtype)]) if vectors else first


def _scalars(value: Tensor, alive: Tensor, plan: _Plan, near_zero: float) -> list[Tensor]:
    """The scalars of one weight, in the order in which `_read_scalars` takes them."""
    found = _count(alive, plan.size)
    if plan.regularizer is None:
        return found
    wide = ops.cast(value, keras.backend.result_type("float32", value.dtype))
    return [
        *found,
        ops.sum(plan.regularizer(value)),  # Keras adds up whatever a regularizer returns
        *_count(ops.less(ops.abs(wide), near_zero), plan.size),
        ops.sum(ops.square(wide)),
        *([] if plan.groups is None else _count(plan.groups.some(alive), plan.groups.number)),
    ]


def _read_scalars(plan: _Plan, numbers: _Reader) -> tuple[int, float, int, float, int, int]:
    """The fields of `Answer` from `zeros` to `dead_groups`."""
    zeros = plan.size - numbers.count(plan.size)
    if plan.regularizer is None:
        return zeros, 0.0, 0, 0.0, 0, 0
    penalty, near_zeros, square_sum = numbers.number(), numbers.count(plan.size), numbers.number()
    groups = 0 if plan.groups is None else plan.groups.number
    return zeros, penalty, near_zeros, square_sum, groups, groups - (numbers.count(groups) if groups else 0)


def _count(truth: Tensor, at_most: int) -> list[Tensor]:
    """The number of trues: one scalar, or where float32 could round it, its quotient and remainder by `EXACT`."""
    count = ops.sum(ops.cast(truth, "int32"))
    return [count] if at_most <= EXACT else [count // EXACT, count % EXACT]


class _Reader:
    """Reads the numbers of a vector one after the other."""

    def __init__(self, numbers: np.ndarray) -> None:
        self._numbers = numbers
        self._at = 0

    def vector(self, length: int) -> np.ndarray:
        """The next numbers."""
        self._at += length
        return self._numbers[self._at - length : self._at]

    def number(self) -> float:
        """The next number."""
        return self.vector(1).item()

    def count(self, at_most: int) -> int:
        """The next count, as `_count` writes it."""
        return int(self.number()) if at_most <= EXACT else int(self.number()) * EXACT + int(self.number())
