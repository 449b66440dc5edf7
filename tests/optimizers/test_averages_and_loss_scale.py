"""Moving averages, loss scales and mixed precision around and inside Proximal."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops, optimizers

from tests.optimizers.training import X, Y, array, fit, kernel, make, train
from tests.tools import slow_on_tensorflow
from tf_reg.optimizers.proximal import Proximal

pytestmark = pytest.mark.contract


@slow_on_tensorflow
def test_moving_average_after_the_map_keeps_zeros():
    ema = {"use_ema": True, "ema_momentum": 0.8}
    model, single = make(Proximal(optimizers.SGD(0.1, **ema))), make(Proximal(optimizers.SGD(0.1)))
    average = None
    for _ in range(6):
        single.train_on_batch(X, Y)
        model.train_on_batch(X, Y)
        now = kernel(single)
        average = now if average is None else 0.8 * average + 0.2 * now
        average = np.where(now == 0, 0.0, average)
        np.testing.assert_allclose(
            array(model.optimizer.inner_optimizer._model_variables_moving_average[0]), average, atol=1e-6
        )
    assert (average == 0).any()
    np.testing.assert_allclose(kernel(model), kernel(single), atol=1e-6)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    np.testing.assert_allclose(kernel(model), average, atol=1e-6)
    fit(model, epochs=2)
    fit(model, epochs=2)
    assert (kernel(model) == 0).any()


def test_moving_average_overwrites_the_weights():
    """As Keras does for a variable without a penalty, step by step."""
    values = {}
    for name, wrap in (("plain", lambda o: o), ("proximal", Proximal)):
        variable = keras.Variable(np.array([3.0, -4.0], "float32"))
        inner = optimizers.SGD(1.0, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3)
        optimizer = wrap(inner)
        optimizer.build([variable])
        values[name] = []
        for _ in range(7):
            optimizer.apply([ops.ones(2)], [variable])
            values[name].append(array(variable))
    np.testing.assert_allclose(values["proximal"], values["plain"], rtol=1e-6)


@slow_on_tensorflow
def test_callbacks_that_look_at_the_optimizer():
    model = make(Proximal(optimizers.SGD(0.1, use_ema=True)))
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    rate = keras.callbacks.LearningRateScheduler(lambda epoch: 0.05 / (1 + epoch))
    history = fit(model, epochs=3, callbacks=[swap, rate], validation_data=(X, Y))
    np.testing.assert_allclose(history["learning_rate"], [0.05, 0.025, 0.05 / 3], rtol=1e-6)
    assert float(array(model.optimizer.learning_rate)) == pytest.approx(0.05 / 3)
    model.optimizer.learning_rate = 0.5
    assert float(array(model.optimizer.inner_optimizer.learning_rate)) == 0.5
    assert int(array(model.optimizer.iterations)) == 3


@slow_on_tensorflow
def test_loss_scale_is_the_inner_optimizers():
    plain, scaled = make(Proximal(optimizers.SGD(0.1))), make(Proximal(optimizers.SGD(0.1, loss_scale_factor=8.0)))
    assert scaled.optimizer.loss_scale_factor == 8.0
    for model in (plain, scaled):
        fit(model, epochs=3)
    np.testing.assert_allclose(kernel(scaled), kernel(plain), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_zeros(policy):
    keras.config.set_dtype_policy(policy)
    model = make(Proximal(optimizers.Adam(0.05)))
    train(model, 40)
    scaled = isinstance(model.optimizer, optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    assert (kernel(model) == 0).sum() >= 8
    assert np.isfinite(kernel(model)).all()
    inner = model.optimizer.inner_optimizer if scaled else model.optimizer
    assert isinstance(inner, Proximal)
    assert inner.loss_scale_factor is None


def test_loss_scale_skips_the_map_with_the_step():
    """A gradient that isn't finite changes nothing, the map's steps neither."""
    model = make(optimizers.LossScaleOptimizer(Proximal(optimizers.SGD(0.1)), initial_scale=2.0))
    fit(model)
    before = kernel(model)
    model.fit(np.full_like(X, np.inf), Y, verbose=0)
    np.testing.assert_array_equal(kernel(model), before)
    fit(model)
    assert (kernel(model) != before).any()


def test_steps_of_replicas_overlap():
    """MirroredStrategy starts the second replica's step before the first one's is done."""
    inner = optimizers.SGD(0.1, use_ema=True)
    average = Proximal(inner).moving_average
    first, second = average.postponed(), average.postponed()
    first.__enter__()
    second.__enter__()
    assert (inner.use_ema, average.used) == (False, True)
    first.__exit__(None, None, None)
    assert (inner.use_ema, average.used) == (False, True)
    second.__exit__(None, None, None)
    assert (inner.use_ema, average.used) == (True, True)
