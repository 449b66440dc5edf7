"""Numbers of many weights, computed by one compiled function and brought to the host in one transfer."""

from __future__ import annotations

import functools
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
        zeros: Whether to measure its zeros and near zeros.
        penalty: Whether to measure its sum of squares, penalty and dead groups too; it has a regularizer then.
        units: Whether to find its dead inputs and outputs too, if they are known.
    """

    weight: Weight
    zeros: bool = True
    penalty: bool = False
    units: bool = False

    @property
    def size(self) -> int:
        """How many entries the weight has."""
        return math.prod(self.weight.shape)


class _Plan(NamedTuple):
    """A question with all that doesn't change from one answer to the next."""

    size: int
    regularizer: keras.Regularizer | None
    groups: Grouping | None  # of the regularizer
    units: list[Grouping]  # the inputs and the outputs, the outputs alone, or nothing
    is_quantized: bool

    @classmethod
    def of(cls, question: Question) -> _Plan:
        weight = question.weight
        regularizer = weight.variable.regularizer if question.penalty else None
        penalty = group_penalty_of(unwrapped(regularizer))
        return cls(
            question.size,
            regularizer,
            None if penalty is None else penalty.grouping(weight.shape),
            _units(weight) if question.units else [],
            weight.quantized is not None,
        )


class Answer(NamedTuple):
    """What was measured of a weight; zeros and empty arrays for what wasn't asked.

    Args:
        zeros: How many entries are exactly zero.
        near_zeros: How many entries are smaller than the threshold in absolute value, exact zeros included. Of a
            quantized kernel exact zeros alone.
        penalty: The value of its regularizer.
        square_sum: The sum of the squares.
        groups: How many groups there are.
        dead_groups: How many of them are all zeros.
        inputs: For each input whether it has an entry that isn't zero, shape `(inputs,)`.
        outputs: The same for each output.
    """

    zeros: int
    near_zeros: int
    penalty: float
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
        near_zero: Entries below this absolute value count as near zero. With 0 they aren't counted.
        compiled: Whether to compile the function, which takes too long for a single answer.
    """

    def __init__(
        self, model: keras.Layer, questions: Sequence[Question], near_zero: float = 0.0, compiled: bool = True
    ) -> None:
        self._asked = [question.zeros for question in questions]
        asked = [question for question in questions if question.zeros]
        self._weights = [question.weight for question in asked]
        self._near_zero = near_zero
        plans = self._plans = [_Plan.of(question) for question in asked]

        def function(values: Sequence[Tensor]) -> Tensor:
            return _numbers(values, plans, near_zero)

        def penalties(values: Sequence[Tensor]) -> Tensor:
            return _penalties(values, [plan.regularizer for plan in plans if plan.regularizer is not None])

        # A regularizer may have its strength in a variable of the model.
        make = functools.partial(_backend.compile, reads=model.variables) if compiled else (lambda one: one)
        self._function, self._penalties = make(function), make(penalties)

    def measure(self) -> list[Answer]:
        """Return the answer to every question, in order."""
        answers = iter(self._answers())
        return [next(answers) if asked else _NOTHING for asked in self._asked]

    def penalty(self) -> float:
        """Return the sum of the penalties of all questions, in fewer passes over the weights than `measure`."""
        pairs = zip(self._weights, self._plans, strict=True)
        values = [weight.read() for weight, plan in pairs if plan.regularizer is not None]
        return sum(ops.convert_to_numpy(self._penalties(values)).tolist()) if values else 0.0

    def _answers(self) -> list[Answer]:
        if not self._plans:
            return []
        values = [weight.read() for weight in self._weights]
        numbers = _Reader(ops.convert_to_numpy(self._function(values)))
        scalars = [_read_scalars(plan, numbers, self._near_zero) for plan in self._plans]
        units = [[numbers.vector(groups.number) > 0 for groups in plan.units] for plan in self._plans]
        return [Answer(*one, *[*_NO_UNITS, *known][-2:]) for one, known in zip(scalars, units, strict=True)]


_NO_UNITS = np.zeros(0, bool), np.zeros(0, bool)
_NOTHING = Answer(0, 0, 0.0, 0.0, 0, 0, *_NO_UNITS)


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


def _penalties(values: Sequence[Tensor], regularizers: Sequence[keras.Regularizer]) -> Tensor:
    """The penalty of every weight."""
    found = [_penalty(regularizer, value) for regularizer, value in zip(regularizers, values, strict=True)]
    dtype = keras.backend.result_type("float32", *(one.dtype for one in found))
    return ops.stack([ops.cast(one, dtype) for one in found])


def _penalty(regularizer: keras.Regularizer, value: Tensor) -> Tensor:
    return ops.sum(regularizer(value))  # Keras adds up whatever a regularizer returns


def _units(weight: Weight) -> list[Grouping]:
    """The inputs and outputs of a kernel, the outputs of a normalization's scale; nothing where they aren't known."""
    if weight.is_gate:
        return [Grouping(weight.shape, ())]
    layout = weight.layout if weight.is_kernel else None
    return [] if layout is None else [grouping(weight.shape, which, layout) for which in ("inputs", "outputs")]


def _scalars(value: Tensor, alive: Tensor, plan: _Plan, near_zero: float) -> list[Tensor]:
    """The scalars of one weight, in the order in which `_read_scalars` takes them."""
    wide = ops.cast(value, keras.backend.result_type("float32", value.dtype))
    near = ops.logical_not(alive) if plan.is_quantized else ops.less(ops.abs(wide), near_zero)
    found = [*_count(alive, plan.size), *(_count(near, plan.size) if near_zero else [])]
    if plan.regularizer is None:
        return found
    return [
        *found,
        _penalty(plan.regularizer, value),
        ops.sum(ops.square(wide)),
        *([] if plan.groups is None else _count(plan.groups.some(alive), plan.groups.number)),
    ]


def _read_scalars(plan: _Plan, numbers: _Reader, near_zero: float) -> tuple[int, int, float, float, int, int]:
    """The fields of `Answer` from `zeros` to `dead_groups`."""
    zeros = plan.size - numbers.count(plan.size)
    near_zeros = numbers.count(plan.size) if near_zero else 0
    if plan.regularizer is None:
        return zeros, near_zeros, 0.0, 0.0, 0, 0
    penalty, square_sum = numbers.number(), numbers.number()
    groups = 0 if plan.groups is None else plan.groups.number
    return zeros, near_zeros, penalty, square_sum, groups, groups - (numbers.count(groups) if groups else 0)


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
