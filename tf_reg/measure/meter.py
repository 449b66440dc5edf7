"""What the callbacks measure while a model trains: statistics of its regularised weights, and its sparsity report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from tf_reg import _walk
from tf_reg.measure.core import Core, Question
from tf_reg.measure.statistics import WeightStatistics
from tf_reg.measure.zeros import SparsityReport
from tf_reg.penalties.stand_in import unwrapped


class Measurement(NamedTuple):
    """What a `Meter` measured.

    Args:
        layers: The statistics of every layer that has regularised weights, by its path.
        report: The sparsity report of the model; without layers where it wasn't asked for.
    """

    layers: dict[str, WeightStatistics]
    report: SparsityReport

    @property
    def total(self) -> WeightStatistics:
        """The statistics of all layers added up."""
        return sum(self.layers.values(), WeightStatistics())


class Meter:
    """Measures a model time and again, by one compiled function and one transfer to the host.

    Args:
        model: A built Keras model. Its weights are looked up once, here.
        near_zero: Weights below this absolute value count as near zero.
        of: Says of which regularizers to measure the weights; of all if not given.
        report: Whether to make the sparsity report too.
    """

    def __init__(
        self,
        model: keras.Model,
        near_zero: float = 1e-3,
        of: Callable[[Any], bool] = lambda regularizer: True,
        report: bool = False,
    ) -> None:
        penalized = [weight for weight in _walk.regularized(model) if of(unwrapped(weight.variable.regularizer))]
        self._penalized = [id(weight.variable) for weight in penalized]
        listed = _walk.weights(model) if report else penalized
        self._report = report
        self._questions = [
            Question(weight, penalty=id(weight.variable) in self._penalized, units=report and weight.is_kernel)
            for weight in listed
        ]
        self._core = Core(model, self._questions, near_zero)

    def measure(self) -> Measurement:
        """Measure the weights as they are now."""
        pairs = list(zip(self._questions, self._core.measure(), strict=True))
        by_variable = {id(question.weight.variable): (question, answer) for question, answer in pairs}
        layers: dict[str, WeightStatistics] = {}
        for variable in self._penalized:
            question, answer = by_variable[variable]
            owner = question.weight.owner
            layers[owner] = layers.get(owner, WeightStatistics()) + WeightStatistics.of(question, answer)
        return Measurement(layers, SparsityReport.of(pairs if self._report else []))
