"""Who pays a penalty: the loss or the optimizer, through recompiling, release and replacement."""

from __future__ import annotations

import doctest
import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.tools import slow_on_tensorflow
from tf_reg import _trainer, regularizers_of
from tf_reg.optimizers import ownership
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties import stand_in
from tf_reg.penalties.stand_in import OutOfGradient, unwrapped

pytestmark = pytest.mark.contract

START, L1, RATE = 2.0, 0.5, 0.1


def make(optimizer=None, **options):
    """A model whose data has no say: only a penalty moves its two weights, both at START."""
    layer = layers.Dense(1, use_bias=False, kernel_regularizer=keras.regularizers.L1(L1))
    model = keras.Sequential([keras.Input((2,)), layer])
    layer.kernel.assign(np.full((2, 1), START))
    if optimizer is not None:
        compile(model, optimizer, **options)
    return model


def compile(model, optimizer, **options):
    model.compile(optimizer, loss=lambda y, p: ops.mean(p * 0.0), **options)


def step(model):
    """One step: the loss that it reports, and how far the weights went."""
    before = weights(model)
    loss = model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0).history["loss"][0]
    return loss, (before - weights(model)) / RATE


def weights(model):
    return ops.convert_to_numpy(model.layers[0].kernel).copy()


def paid_once(model):
    """Both owners move these weights by exactly the rate times the strength, if they do so once."""
    loss, moved = step(model)
    np.testing.assert_allclose(moved, L1, rtol=1e-5)
    return loss


def sgd():
    return keras.optimizers.SGD(RATE)


@pytest.mark.parametrize("held", [True, False])
def test_out_of_gradient_reports_the_value_and_stops_the_gradient(held):
    model = make(sgd())
    model.layers[0].kernel.regularizer = OutOfGradient(keras.regularizers.L1(L1), lambda model: held)
    loss, moved = step(model)
    assert loss == pytest.approx(2 * START * L1)
    np.testing.assert_allclose(moved, 0.0 if held else L1, rtol=1e-5)


def test_unwrapped():
    penalty = keras.regularizers.L1(0.5)
    assert unwrapped(OutOfGradient(penalty, lambda model: True)) is penalty
    assert unwrapped(None) is None


def test_the_step_pays_and_the_loss_reports():
    model = make(Proximal(sgd()))
    assert paid_once(model) == pytest.approx(2 * START * L1)
    kernel = model.layers[0].kernel
    assert isinstance(kernel.regularizer, OutOfGradient)
    assert unwrapped(kernel.regularizer) is model.layers[0].kernel_regularizer
    assert float(ops.convert_to_numpy(model.losses[0])) == pytest.approx(float(weights(model).sum()) * L1)
    assert model.evaluate(np.ones((4, 2)), np.ones((4, 1)), verbose=0) == pytest.approx(weights(model).sum() * L1)


def test_another_optimizer_gives_the_penalty_back():
    """Also while the first optimizer is alive; and back under it, it pays again."""
    proximal = Proximal(sgd())
    model = make(proximal)
    paid_once(model)
    compile(model, sgd())
    paid_once(model)
    compile(model, proximal)
    paid_once(model)
    assert model.optimizer is proximal


def test_another_optimizer_gives_the_penalty_back_after_a_build_by_hand():
    proximal = Proximal(sgd())
    model = make()
    proximal.build(model.trainable_variables)
    compile(model, proximal)
    paid_once(model)
    compile(model, sgd())
    paid_once(model)
    assert proximal.built


def test_a_new_proximal_takes_the_penalty_over():
    first = Proximal(sgd())
    model = make(first)
    paid_once(model)
    compile(model, Proximal(sgd()))
    paid_once(model)
    assert isinstance(unwrapped(model.layers[0].kernel.regularizer), keras.regularizers.L1)


def test_a_dead_optimizer_holds_nothing():
    model = make()
    optimizer = Proximal(sgd())
    optimizer.build(model.trainable_variables)
    assert model.layers[0].kernel.regularizer.held(None)
    reference = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert reference() is None
    assert model.layers[0].kernel.regularizer is model.layers[0].kernel_regularizer


def test_a_part_of_the_model_in_a_model_of_its_own():
    """The model that was trained is gone, its layer lives on under a plain optimizer; the old one is still alive."""
    proximal = Proximal(sgd())
    model = make(proximal)
    paid_once(model)
    layer = model.layers[0]
    del model
    gc.collect()
    other = keras.Sequential([keras.Input((2,)), layer])
    compile(other, sgd())
    paid_once(other)
    assert proximal.built


@slow_on_tensorflow
def test_a_trained_model_as_a_part_of_another_model():
    """It is still compiled with its own optimizer; the other one pays in its own training, and so on in turn."""
    model = make(Proximal(sgd()))
    paid_once(model)
    outer = keras.Sequential([keras.Input((2,)), model])
    compile(outer, sgd())
    before = weights(model)
    outer.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    np.testing.assert_allclose((before - weights(model)) / RATE, L1, rtol=1e-5)
    assert [row.acts_in for row in regularizers_of(outer).weights] == ["loss"]
    assert [row.acts_in for row in regularizers_of(model).weights] == ["proximal step"]
    paid_once(model)


@slow_on_tensorflow
def test_two_models_with_a_proximal_each_share_a_layer():
    one = make(Proximal(sgd()))
    two = keras.Sequential([keras.Input((2,)), one.layers[0]])
    compile(two, Proximal(sgd()))
    for model in (one, two, one, two):
        paid_once(model)
        compile(model, model.optimizer)  # traced again while the other one's claim is the newer
    compile(two, sgd())
    for model in (two, one, two):
        paid_once(model)


@slow_on_tensorflow
def test_the_same_optimizer_for_a_new_model_over_the_same_layers():
    optimizer = Proximal(sgd())
    model = make(optimizer)
    paid_once(model)
    other = keras.Sequential([keras.Input((2,)), model.layers[0]])
    compile(other, optimizer)
    compile(model, sgd())
    paid_once(other)
    assert optimizer._ledger.claims(other.trainable_variables)


def test_release_is_for_good():
    optimizer = Proximal(sgd())
    model = make()
    optimizer.build(model.trainable_variables)
    optimizer.release()
    assert model.layers[0].kernel.regularizer is model.layers[0].kernel_regularizer
    compile(model, optimizer)
    paid_once(model)


def test_a_regularizer_that_changes_after_build_is_refused():
    model = make(Proximal(sgd()))
    paid_once(model)
    model.layers[0].kernel.regularizer = keras.regularizers.L1(1.0)
    compile(model, model.optimizer)
    with pytest.raises(ValueError, match=r"Compile the model again with a new tf_reg\.Proximal"):
        step(model)


class Sum(keras.regularizers.Regularizer):
    """A penalty that has no proximal operator."""

    def __call__(self, w):
        return L1 * ops.sum(w)


def test_penalties_without_a_map_stay_in_the_gradient():
    layer = layers.Dense(1, use_bias=False, kernel_regularizer=Sum())
    model = keras.Sequential([keras.Input((2,)), layer])
    compile(model, Proximal(sgd()))
    paid_once(model)
    assert not isinstance(layer.kernel.regularizer, OutOfGradient)


def test_gradients_that_came_before_the_build_have_paid():
    """The first step leaves the penalty to the gradient, the second takes it over."""
    model = make()
    kernel = model.layers[0].kernel
    optimizer = Proximal(sgd())
    optimizer.apply([ops.full((2, 1), L1)], [kernel])
    np.testing.assert_allclose(weights(model), START - RATE * L1, rtol=1e-6)
    optimizer.apply([ops.zeros((2, 1))], [kernel])
    np.testing.assert_allclose(weights(model), START - 2 * RATE * L1, rtol=1e-6)


def test_a_training_loop_that_builds_is_right_from_the_first_step():
    model = make()
    kernel = model.layers[0].kernel
    optimizer = Proximal(sgd())
    optimizer.build(model.trainable_variables)
    assert optimizer._ledger.held(None)
    for count in (1, 2):
        optimizer.apply([ops.zeros((2, 1))], [kernel])
        np.testing.assert_allclose(weights(model), START - count * RATE * L1, rtol=1e-6)


def test_examples():
    for module in (ownership, stand_in, _trainer):
        found = doctest.testmod(module, extraglobs={"keras": keras})
        assert found.attempted
        assert found.failed == 0
