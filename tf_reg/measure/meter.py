"""What the callbacks measure while a model trains: statistics of its weights, and its sparsity report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from tf_reg import _walk
from tf_reg.measure.core import Answer, Core, Question
from tf_reg.measure.statistics import WeightStatistics
from tf_reg.measure.zeros import SparsityReport
from tf_reg.penalties.stand_in import unwrapped


class Measurement(NamedTuple):
    """What a `Meter` measured.

    Args:
        layers: The statistics of every layer that has penalised weights, by its path: of these weights alone.
        model: The statistics of all weights of the model that count, as `tf_reg.sparsity` counts them; of none where
            they weren't asked for.
        report: The sparsity report of the model; without layers where it wasn't asked for.
        zero_shares: The share of zeros of every layer of `layers`, of all its weights that count, as for `model`.
    """

    layers: dict[str, WeightStatistics]
    model: WeightStatistics
    report: SparsityReport
    zero_shares: dict[str, float]

    @property
    def total(self) -> WeightStatistics:
        """The statistics of all penalised weights."""
        return sum(self.layers.values(), WeightStatistics())


class Meter:
    """Measures a model time and again, by one compiled function and one transfer to the host.

    Args:
        model: A built Keras model. Its weights are looked up once, here.
        near_zero: Weights below this absolute value count as near zero. With 0 they aren't counted.
        of: Says of which regularizers the weights are penalised ones; of all if not given.
        whole: Whether to measure all weights that count, and not the penalised ones alone.
        report: Whether to make the sparsity report too; then all weights are measured, and each time the model's calls
            are walked through.
    """

    def __init__(
        self,
        model: keras.Model,
        near_zero: float = 1e-3,
        of: Callable[[Any], bool] = lambda regularizer: True,
        whole: bool = False,
        report: bool = False,
    ) -> None:
        penalized = [weight for weight in _walk.regularized(model) if of(unwrapped(weight.variable.regularizer))]
        self._penalized = [id(weight.variable) for weight in penalized]
        self._model, self._whole, self._report = model, whole or report, report
        listed = _walk.weights(model) if self._whole else penalized
        self._questions = [
            Question(weight, weight.counts, penalty=id(weight.variable) in self._penalized, units=report)
            for weight in listed
        ]
        self._core = Core(model, self._questions, near_zero)

    def measure(self) -> Measurement:
        """Measure the weights as they are now."""
        pairs = list(zip(self._questions, self._core.measure(), strict=True))
        by_variable = {id(question.weight.variable): (question, answer) for question, answer in pairs}
        layers = _by_layer([by_variable[variable] for variable in self._penalized])
        counted = _by_layer(pairs if self._whole else [])
        return Measurement(
            layers,
            sum(counted.values(), WeightStatistics()),
            SparsityReport.of(self._model, pairs) if self._report else SparsityReport({}),
            {owner: counted[owner].zero_share for owner in layers if owner in counted},
        )

    def penalty(self) -> float:
        """Return the penalty of the weights as they are now, which takes less time than `measure`."""
        return self._core.penalty()


def _by_layer(pairs: Sequence[tuple[Question, Answer]]) -> dict[str, WeightStatistics]:
    """The statistics of every layer that has one of these weights and counts it."""
    layers: dict[str, WeightStatistics] = {}
    for question, answer in pairs:
        if question.zeros:
            owner = question.weight.owner
            layers[owner] = layers.get(owner, WeightStatistics()) + WeightStatistics.of(question, answer)
    return layers
