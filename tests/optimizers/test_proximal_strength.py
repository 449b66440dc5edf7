"""The strength of Proximal: set before and in training, and as a schedule."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops, optimizers

import tf_reg
from tests.optimizers.training import array, fit, gradient, kernel, make, soft
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties import proximal_operators

pytestmark = pytest.mark.contract


class Counting(keras.regularizers.Regularizer):
    """L1 that counts how often its Python code runs: once a trace, on a backend that compiles."""

    def __init__(self):
        self.count = 0

    def __call__(self, x):
        self.count += 1
        return 0.3 * ops.sum(ops.abs(x))


tf_reg.register_prox(Counting)(lambda r, v, s: proximal_operators.soft_threshold(v, s * 0.3))


def test_the_strength_takes_effect_at_the_next_step_without_a_new_trace():
    penalty = Counting()
    model = make(Proximal(optimizers.SGD(0.1)), penalty)
    fit(model)
    traces = penalty.count
    for strength in (0.0, 2.0):
        model.optimizer.strength = strength
        start, slope = kernel(model), gradient(model)
        loss = fit(model)["loss"][0]
        np.testing.assert_allclose(kernel(model), soft(start - 0.1 * slope, 0.1 * 0.3 * strength), atol=1e-6)
        nominal = 0.3 * np.abs(start).sum()
        assert loss > nominal
    if keras.backend.backend() != "torch":
        assert penalty.count == traces


def test_a_callback_sets_the_strength_within_fit():
    class Drop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.strength = 0.0

    model = make(Proximal(optimizers.SGD(0.1), strength=100.0))
    fit(model, callbacks=[Drop()])
    assert (kernel(model) == 0).all()
    fit(model, epochs=2, callbacks=[Drop()])
    assert (kernel(model) != 0).all()


def test_schedules_of_strength_and_learning_rate():
    """Both are those of the step that is made, counted from 0."""
    rate = optimizers.schedules.PiecewiseConstantDecay([0], [0.1, 0.02])
    strength = optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.5])
    model = make(Proximal(optimizers.SGD(rate), strength=strength))
    for lr, factor in ((0.1, 1.0), (0.02, 0.5), (0.02, 0.5)):
        assert float(array(model.optimizer.strength)) == pytest.approx(factor)
        start, slope = kernel(model), gradient(model)
        fit(model)
        np.testing.assert_allclose(kernel(model), soft(start - lr * slope, lr * 0.3 * factor), atol=1e-6)
    with pytest.raises(ValueError, match="was given a schedule"):
        model.optimizer.strength = 0.1


def test_what_is_refused():
    for strength in (-1.0, float("nan"), float("inf"), "1"):
        with pytest.raises(ValueError, match="strength is a finite number"):
            Proximal("sgd", strength=strength)
    for strength in (-0.1, np.float32("nan"), "1"):
        with pytest.raises(ValueError, match="strength is a finite number"):
            Proximal("sgd").strength = strength
    with pytest.raises(ValueError, match=r"give it to the constructor, or use tf_reg\.StrengthSchedule"):
        Proximal("sgd").strength = optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
    proximal = Proximal("sgd", strength=np.float32(0.5))
    proximal.strength = Proximal("sgd", strength=np.int64(2)).strength
    assert float(array(proximal.strength)) == 2.0
    with pytest.raises(ValueError, match="LossScaleOptimizer"):
        Proximal(optimizers.LossScaleOptimizer(optimizers.SGD()))
    with pytest.raises(ValueError, match="Received: Proximal"):
        Proximal(Proximal("sgd"))
    with pytest.raises(ValueError, match="Received: Nadam"):
        Proximal("nadam")
