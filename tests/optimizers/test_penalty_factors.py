"""Proximal with a factor for each weight or group: its steps, its minima, and what becomes of the factors."""

from __future__ import annotations

import pickle

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers
from sklearn.linear_model import Lasso

import tf_reg
from tests.optimizers.solving import (
    ALPHA,
    FEATURES,
    VARIANTS,
    assert_same,
    claimed,
    data,
    on_jax,
    rate_of,
    scan,
    squares_slope,
)
from tests.optimizers.training import INNER, X, Y, array, fit, gradient, kernel, make, soft, train
from tests.tools import mostly_slow, slow_on_tensorflow
from tf_reg.optimizers.proximal import Proximal

pytestmark = pytest.mark.contract
FACTORS = np.random.default_rng(3).uniform(0.0, 3.0, size=(10, 2)).astype("float32")
FACTORS[0, 0], FACTORS[5, 1] = 0.0, 1e12  # what `set_penalty_factors` gives at most
GROUP = FACTORS[:, :1].copy()
GROUP[9] = 1e3


def factored(inner, penalty=None, factors=FACTORS, **options):
    model = make(Proximal(inner, penalty_factors=True), penalty, **options)
    model.optimizer.build(model.trainable_variables)
    model.optimizer.penalty_factor_of(model.layers[0].kernel).assign(factors)
    return model


WAYS = [{"jit_compile": False}, {"jit_compile": True}, {"run_eagerly": True}]


@pytest.mark.parametrize(
    "way", mostly_slow(WAYS, WAYS[0]) if keras.backend.backend() == "tensorflow" else [{"jit_compile": "auto"}]
)
def test_a_step_of_single_weights(way):
    model = factored(optimizers.SGD(0.1), **way)
    moved = kernel(model) - 0.1 * gradient(model)
    nominal = 0.3 * np.abs(kernel(model)).sum()
    loss = model.evaluate(X, Y, verbose=0)
    data_loss = float(np.mean((model.predict(X, verbose=0) - Y) ** 2))
    assert loss == pytest.approx(data_loss + nominal, rel=1e-5)
    assert fit(model)["loss"][0] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(kernel(model), soft(moved, 0.1 * 0.3 * FACTORS), atol=1e-6)
    assert kernel(model)[5, 1] == 0
    assert kernel(model)[0, 0] == pytest.approx(moved[0, 0], abs=1e-6)


@pytest.mark.parametrize("name", ["sgd", pytest.param("adam", marks=slow_on_tensorflow)])
def test_a_step_of_groups(name):
    """Each input is a group; it moves as one whose strength is multiplied, in the metric of Adam too."""
    rng = np.random.default_rng(0)
    start, slope = (rng.normal(size=(10, 2)).astype("float32") for _ in range(2))

    def after(optimizer, factors=None):
        variable = keras.Variable(start)
        variable.regularizer = tf_reg.GroupLasso(0.4, groups="inputs")
        optimizer.build([variable])
        if factors is not None:
            optimizer.penalty_factor_of(variable).assign(factors)
        for _ in range(2):
            optimizer.apply([ops.convert_to_tensor(slope)], [variable])
        return array(variable)

    found = after(Proximal(INNER[name](), penalty_factors=True), GROUP)
    for row in (0, 4, 5, 9):
        alone = after(Proximal(INNER[name](), strength=float(GROUP[row, 0])))
        np.testing.assert_allclose(found[row], alone[row], atol=1e-6)
    if name == "sgd":  # Adam's step moves a weight no farther than Adam itself
        assert (found[9] == 0).all()
    assert (found[:4] != 0).all()


@pytest.mark.parametrize("name", mostly_slow(INNER, "adam"))
def test_equal_factors_are_a_strength(name):
    """For every optimizer; two layers, whose weights torch handles as one vector."""
    kernels = []
    for options in ({"penalty_factors": True}, {"strength": 2.5}):
        keras.utils.set_random_seed(2)
        hidden = layers.Dense(6, kernel_regularizer=keras.regularizers.L1(0.02))
        model = keras.Sequential([keras.Input((10,)), hidden, layers.Dense(2, kernel_regularizer="l1")])
        model.compile(Proximal(INNER[name](), **options), "mse")
        model.optimizer.build(model.trainable_variables)
        for claim in model.optimizer.factored():
            claim.factor.assign(np.full(claim.factor.shape, 2.5))
        train(model, 8)
        kernels.append([array(layer.kernel) for layer in model.layers])
    for one, other in zip(*kernels, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@on_jax
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", mostly_slow(VARIANTS, "adam"))
def test_every_optimizer_finds_the_minimum_of_a_weighted_lasso(name):
    """By scikit-learn: the columns are divided by their factors, and so are the weights afterwards."""
    x, y = data()
    factors = np.random.default_rng(0).uniform(0.3, 3.0, size=FEATURES)
    solver = Lasso(alpha=ALPHA, fit_intercept=False, tol=1e-14, max_iter=100_000)
    expected = solver.fit(x / factors, y).coef_ / factors
    kind = "constant" if name == "rmsprop" else "decaying"  # RMSprop with a falling rate needs twice the steps
    optimizer = Proximal(VARIANTS[name][1](rate_of(name, kind, 6000)), penalty_factors=True)
    variable = claimed((FEATURES,), keras.regularizers.L1(2 * ALPHA), optimizer)
    optimizer.penalty_factor_of(variable).assign(factors)
    slope = squares_slope(x, y)
    assert_same(scan(variable, optimizer, lambda w, _: slope(w), np.arange(6000)), expected)


def test_without_the_option_nothing_is_there():
    model = make(Proximal(optimizers.SGD(0.1)))
    fit(model)
    assert len(model.optimizer.variables) == len(factored(optimizers.SGD(0.1)).optimizer.variables) - 1
    assert model.optimizer.factored() == []
    assert model.optimizer.penalty_factor_of(model.layers[0].kernel) is None
    assert Proximal.from_config(model.optimizer.get_config()).penalty_factors is False
    with pytest.raises(ValueError, match=r"penalty_factors is True or False. Received: penalty_factors=1"):
        Proximal("sgd", penalty_factors=1)


def test_factors_come_after_the_other_variables():
    """Of an optimizer's own, whose places are the file format; then come those of the inner optimizer."""
    names = [variable.name for variable in factored(optimizers.SGD(0.1, momentum=0.9)).optimizer.variables]
    place = names.index("pending")
    assert names[place + 1].endswith("kernel_penalty_factor")
    assert names[place + 2] == "iteration"


@pytest.mark.parametrize("way", mostly_slow(["saved", "pickled"], "saved"))
def test_saved_and_resumed_bit_for_bit(way, tmp_path):
    model = factored(optimizers.Adam(0.05))
    fit(model, epochs=2)
    if way == "saved":
        model.save(tmp_path / "model.keras")
        copy = keras.models.load_model(tmp_path / "model.keras")
    else:
        copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(array(copy.optimizer.penalty_factor_of(copy.layers[0].kernel)), FACTORS)
    assert fit(copy, epochs=2) == fit(model, epochs=2)
    np.testing.assert_array_equal(kernel(copy), kernel(model))


@slow_on_tensorflow
def test_gradients_that_are_accumulated():
    whole, parts = (factored(optimizers.SGD(0.1, gradient_accumulation_steps=n)) for n in (None, 4))
    train(whole, 3)
    train(parts, 12)
    np.testing.assert_allclose(kernel(parts), kernel(whole), atol=1e-6)
    assert (kernel(whole) == 0).any()


@slow_on_tensorflow
def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = make(Proximal(optimizers.Adam(0.05), penalty_factors=True))
    model.optimizer.build(model.trainable_variables)
    proximal = tf_reg.proximal_of(model.optimizer)
    factor = np.ones((10, 2), "float32")
    factor[:3] = 1e4
    proximal.penalty_factor_of(model.layers[0].kernel).assign(factor)
    train(model, 40)
    found = kernel(model)
    assert np.isfinite(found).all()
    assert (found[:3] == 0).all()
    assert (found[3:] != 0).any()


@pytest.mark.slow
def test_frozen_zeros_stay_whatever_their_factors():
    model = factored(optimizers.Adam(0.05))
    train(model, 20)
    zeros = kernel(model) == 0
    assert 0 < zeros.sum() < zeros.size
    model.optimizer.freeze()
    model.optimizer.penalty_factor_of(model.layers[0].kernel).assign(np.zeros((10, 2)))
    train(model, 20)
    np.testing.assert_array_equal(kernel(model) == 0, zeros)


@pytest.mark.slow
def test_a_zero_comes_back_when_its_factor_falls():
    model = factored(optimizers.SGD(0.1), factors=np.full((10, 2), 1e3))
    train(model, 5)
    assert (kernel(model) == 0).all()
    model.optimizer.penalty_factor_of(model.layers[0].kernel).assign(np.ones((10, 2)))
    train(model, 30)
    assert (kernel(model)[0] != 0).any()


@pytest.mark.slow
def test_released_penalties_are_in_the_gradient_without_factors():
    model = factored(optimizers.SGD(0.1))
    model.optimizer.release()
    expected = kernel(model) - 0.1 * (gradient(model) + 0.3 * np.sign(kernel(model)))
    fit(model)
    np.testing.assert_allclose(kernel(model), expected, atol=1e-6)
    assert model.optimizer.factored() == []


@slow_on_tensorflow
def test_other_regularizers_keep_the_factors_that_fit(tmp_path):
    """While the model trains. The order is that of an optimizer that is built anew, so a file loads."""
    model = factored(optimizers.SGD(0.02))
    fit(model)
    tf_reg.regularize(model, {"dense*": keras.regularizers.L1(0.05)})
    np.testing.assert_array_equal(array(model.optimizer.factored()[0].factor), FACTORS)
    fit(model)
    tf_reg.regularize(model, {"dense*": tf_reg.GroupLasso(0.05)})
    np.testing.assert_array_equal(array(model.optimizer.factored()[0].factor), np.ones((1, 2)))
    model.optimizer.factored()[0].factor.assign([[0.5, 1e6]])
    fit(model)
    assert (kernel(model) == 0).all(axis=0).tolist() == [False, True]
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    for mine, theirs in zip(copy.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(array(mine), array(theirs))
    tf_reg.remove_regularizers(model)
    assert model.optimizer.factored() == []
    fit(model)
