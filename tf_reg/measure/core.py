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
    """What to measure of a weight; its exact zeros are always counted.

    Args:
        weight: The weight.
        penalty: Whether to measure its penalty, near zeros, sum of squares and dead groups; it has a regularizer then.
        units: Whether to find its dead inputs and outputs, if its layout is known.
    """

    weight: Weight
    penalty: bool = False
    units: bool = False

    @property
    def size(self) -> int:
        """How many entries the weight has."""
        return math.prod(self.weight.variable.shape)

    def groups(self) -> Grouping | None:
        """The groups of its regularizer; None where it has none."""
        penalty = group_penalty_of(unwrapped(self.weight.variable.regularizer)) if self.penalty else None
        return None if penalty is None else penalty.grouping(tuple(self.weight.variable.shape))

    def unit_groups(self) -> list[Grouping]:
        """Its inputs and its outputs as groups; none where they aren't asked for or known."""
        layout, shape = self.weight.layout if self.units else None, tuple(self.weight.variable.shape)
        return [] if layout is None else [grouping(shape, which, layout) for which in ("inputs", "outputs")]


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
        self._questions = questions
        regularizers = [question.weight.variable.regularizer if question.penalty else None for question in questions]

        def function(values: Sequence[Tensor]) -> Tensor:
            triples = zip(values, questions, regularizers, strict=True)
            parts = [part for triple in triples for part in _parts(*triple, near_zero)]
            dtype = keras.backend.result_type("float32", *(part.dtype for part in parts))
            return ops.concatenate([ops.reshape(ops.cast(part, dtype), (-1,)) for part in parts])

        # A regularizer may have its strength in a variable of the model.
        self._function = _backend.compile(function, reads=model.variables) if compiled else function

    def measure(self) -> list[Answer]:
        """Return the answer to every question, in order."""
        if not self._questions:
            return []
        values = [ops.convert_to_tensor(question.weight.variable) for question in self._questions]
        numbers = _Reader(ops.convert_to_numpy(self._function(values)))
        return [_answer(question, numbers) for question in self._questions]


def _parts(value: Tensor, question: Question, regularizer: keras.Regularizer | None, near_zero: float) -> list[Tensor]:
    """The numbers of one weight, scalars and vectors, in the order in which `_answer` reads them."""
    zero = ops.equal(value, 0)
    parts = _count(zero, question.size)
    if regularizer is not None:
        wide = ops.cast(value, keras.backend.result_type("float32", value.dtype))
        groups = question.groups()
        parts += [
            ops.sum(regularizer(value)),  # Keras adds up whatever a regularizer returns
            *_count(ops.less(ops.abs(wide), near_zero), question.size),
            ops.sum(ops.square(wide)),
            *([] if groups is None else _count(groups.every(zero), groups.number)),
        ]
    return [*parts, *(ops.logical_not(groups.every(zero)) for groups in question.unit_groups())]


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


def _answer(question: Question, numbers: _Reader) -> Answer:
    zeros = numbers.count(question.size)
    penalty, near_zeros, square_sum, number, dead = 0.0, 0, 0.0, 0, 0
    if question.penalty:
        penalty, near_zeros, square_sum = numbers.number(), numbers.count(question.size), numbers.number()
        groups = question.groups()
        if groups is not None:
            number, dead = groups.number, numbers.count(groups.number)
    units = [numbers.vector(groups.number) > 0 for groups in question.unit_groups()]
    inputs, outputs = units or (np.zeros(0, bool), np.zeros(0, bool))
    return Answer(zeros, penalty, near_zeros, square_sum, number, dead, inputs, outputs)
