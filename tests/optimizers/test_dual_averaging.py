"""Proximal with dual averaging: the minimum, zeros that stay, zeros that come back, and all that it works with."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers

import tf_reg
from tests.optimizers.solving import (
    CONSTANT,
    PROBLEMS,
    VARIANTS,
    after_mini_batches,
    assert_same,
    claimed,
    data,
    on_jax,
    rate_of,
    solve,
    squares_slope,
)
from tests.optimizers.training import INNER, X, Y, array, fit, kernel, make, soft, train
from tests.tools import mostly_slow, slow_on_tensorflow
from tf_reg.optimizers.dual_averaging import DualAveraging
from tf_reg.optimizers.proximal import Proximal

pytestmark = pytest.mark.contract


QUICK = [*((name, "lasso") for name in CONSTANT), ("momentum", "multi_task_lasso"), ("adam", "multi_task_lasso")]
JIT = [False, True] if keras.backend.backend() == "tensorflow" else ["auto"]


def dual(inner, **options):
    return Proximal(inner, dual_averaging=True, **options)


@on_jax
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", mostly_slow(itertools.product(CONSTANT, PROBLEMS), *QUICK))
def test_full_batches_end_at_the_minimum(case):
    name, problem = case
    x, y, penalty, expected = PROBLEMS[problem]()
    rate = rate_of(name, "decaying" if name == "rmsprop_momentum" else "constant", 3000)
    assert_same(solve(penalty, dual(VARIANTS[name][1](rate)), squares_slope(x, y), expected.shape, 3000), expected)


@on_jax
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", mostly_slow(VARIANTS, "sgd", "adam"))
def test_mini_batches_find_all_zeros(name):
    """Without averages 20 to 39 of the 41 are zero in the end: `test_mini_batches_with_a_decaying_rate`."""
    found, expected = after_mini_batches(name, dual)
    np.testing.assert_allclose(found, expected, atol=5e-3)
    np.testing.assert_array_equal(found == 0, expected == 0)


@pytest.mark.usefixtures("float64")
def test_steps_by_hand():
    """Ten steps of SGD, with a strength that changes, in numpy."""
    x, y = data()
    slope = squares_slope(x, y)
    optimizer = dual(optimizers.SGD(0.1))
    variable = claimed((x.shape[1],), keras.regularizers.L1(0.4), optimizer)
    w, q, m = np.zeros(x.shape[1]), np.zeros(x.shape[1]), 0.0
    for t in range(1, 11):
        strength = 1.0 if t < 5 else 0.25
        optimizer.strength = strength
        k = np.sqrt((t - 1) / t)
        m = k * m + strength
        z = w - 0.1 * array(slope(ops.convert_to_tensor(w))) + 0.1 * k * q
        w = soft(z, 0.1 * m * 0.4)
        q = (z - w) / 0.1
        optimizer.apply([slope(ops.stop_gradient(variable))], [variable])
        np.testing.assert_allclose(array(variable), w, rtol=1e-6, atol=1e-9)
    assert 0 < (w == 0).sum() < w.size


def noisy(optimizer, targets, steps, seed=0):
    """The zeros after each step of a quadratic around `targets` whose gradients have noise."""
    variable = keras.Variable(np.zeros(len(targets[0]), "float32"))
    variable.regularizer = keras.regularizers.L1(0.5)
    optimizer.build([variable])
    random = np.random.default_rng(seed)
    zeros = []
    for target in targets:
        for _ in range(steps):
            gradient = array(variable) - target + random.normal(size=len(target))
            optimizer.apply([ops.convert_to_tensor(gradient.astype("float32"))], [variable])
            zeros.append(array(variable) == 0)
    return np.array(zeros), array(variable)


TARGET = np.array([0.0, 0.2, -0.2, 2.0, -2.0], "float32")
MANY = ["sgd", "momentum", "adam", "rmsprop", "adagrad"]


@slow_on_tensorflow
@pytest.mark.parametrize("name", mostly_slow(MANY, "momentum"))
def test_zeros_stay_where_they_came_and_went(name):
    flicker, _ = noisy(Proximal(INNER[name]()), [TARGET], 150)
    zeros, weights = noisy(dual(INNER[name]()), [TARGET], 150)
    assert (flicker[120:, :3].any(axis=0) & ~flicker[120:, :3].all(axis=0)).any()
    assert zeros[120:, :3].all()
    assert (weights[3:] != 0).all()


@pytest.mark.parametrize("restarts", [False, pytest.param(True, marks=slow_on_tensorflow)])
def test_a_weight_whose_target_changes_comes_back(restarts):
    optimizer = dual(optimizers.SGD(0.05))
    noisy(optimizer, [TARGET], 60)
    [variable] = optimizer._trainable_variables
    assert array(variable)[0] == 0
    if restarts:
        optimizer.restart()
    steps = 0
    while array(variable)[0] == 0:
        optimizer.apply([variable - ops.convert_to_tensor(TARGET + 2)], [variable])
        steps += 1
    assert steps == 1 if restarts else 5 < steps < 50


def test_off_there_is_nothing_new():
    variables = []
    for options in {}, {"dual_averaging": True}:
        optimizer = Proximal("sgd", **options)
        optimizer.build([keras.Variable(np.ones(3, "float32"))])
        variables.append([one.name for one in optimizer._variables])
    off, on = variables
    assert on[: len(off)] == off
    assert off[-1] == "pending"
    assert on[len(off) :] == ["averaged_steps", "sum_of_strengths", on[-1]]


@slow_on_tensorflow
def test_weights_without_a_penalty_train_as_without_averages():
    models = [make(optimizer, keras.regularizers.L2(0.1)) for optimizer in (Proximal("adam"), dual("adam"))]
    for model in models:
        train(model, 5)
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


@slow_on_tensorflow
@pytest.mark.parametrize("jit_compile", JIT)
def test_accumulated_gradients_are_one_step(jit_compile):
    """Three calls with the same batch, and one: the same weights after each update."""
    three = make(dual(optimizers.SGD(0.05, gradient_accumulation_steps=3)), jit_compile=jit_compile)
    one = make(dual(optimizers.SGD(0.05)), jit_compile=jit_compile)
    for _ in range(4):
        train(one, 1)
        train(three, 3)
        np.testing.assert_allclose(kernel(three), kernel(one), atol=1e-6)
    before = kernel(three)
    train(three, 1)
    np.testing.assert_array_equal(kernel(three), before)
    assert (before == 0).any()


@slow_on_tensorflow
@pytest.mark.parametrize("name", mostly_slow(["momentum", "adam"], "adam"))
def test_saved_and_resumed_bit_for_bit(tmp_path, name):
    model = make(dual(INNER[name](use_ema=True, clipnorm=10.0)), tf_reg.GroupLasso(0.2, groups="inputs"))
    train(model, 4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.dual_averaging
    for one in model, loaded:
        fit(one, epochs=2, batch_size=8)
    for mine, theirs in zip(
        loaded.variables + loaded.optimizer.variables, model.variables + model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(array(mine), array(theirs))


@slow_on_tensorflow
def test_frozen_zeros_stay_without_strength():
    model = make(dual(optimizers.Adam(0.05)))
    train(model, 30)
    zero = kernel(model) == 0
    assert 0 < zero.sum() < zero.size
    model.optimizer.freeze()
    model.optimizer.strength = 0.0
    train(model, 30)
    np.testing.assert_array_equal(kernel(model) == 0, zero)
    model.optimizer.unfreeze()
    train(model, 1)  # no old slope holds them
    assert (kernel(model)[zero] != 0).all()


@slow_on_tensorflow
def test_a_rate_that_falls_to_nothing_and_rises_again():
    """What float32 can't see beside a weight is not taken for a gradient."""
    model = make(dual(optimizers.SGD(0.05)))
    train(model, 60)
    weights = kernel(model)
    for rate in 1e-6, 1e-9, 1e-12, 1e-20, 0.0, 0.05:
        model.optimizer.learning_rate = rate
        train(model, 3)
        np.testing.assert_allclose(kernel(model), weights, atol=0.05)
        np.testing.assert_array_equal(kernel(model) == 0, weights == 0)


@slow_on_tensorflow
def test_new_penalties_begin_new_averages():
    model = make(dual(optimizers.SGD(0.05)))
    train(model, 30)
    before = kernel(model)
    tf_reg.regularize(model, keras.regularizers.L1(3.0))
    train(model, 1)
    assert np.abs(kernel(model) - before).max() < 0.3  # the gradient's and 0.05 * 3, and not thirty times that
    train(model, 60)
    assert (kernel(model) == 0).all()


@slow_on_tensorflow
def test_mixed_precision():
    layer = layers.Dense(2, kernel_regularizer=keras.regularizers.L1(0.3), dtype="mixed_float16")
    model = keras.Sequential([keras.Input((10,)), layer])
    model.compile(dual(optimizers.SGD(0.05)), "mse")
    train(model, 40)
    assert (array(layer.kernel) == 0).sum() >= 8


@slow_on_tensorflow
def test_weights_of_16_bits_have_sums_of_32():
    variable = keras.Variable(np.ones(3), dtype="bfloat16")
    variable.regularizer = keras.regularizers.L1(0.5)
    optimizer = dual(optimizers.SGD(0.25))
    optimizer.build([variable])
    for _ in range(12):
        optimizer.apply([ops.zeros(3, "bfloat16")], [variable])
    assert (array(ops.cast(variable, "float32")) == 0).all()
    assert optimizer._variables[-1].dtype == "float32"


@slow_on_tensorflow
def test_a_constraint_holds():
    keras.utils.set_random_seed(0)
    layer = layers.Dense(2, kernel_regularizer="l1", kernel_constraint=keras.constraints.NonNeg())
    model = keras.Sequential([keras.Input((10,)), layer])
    model.compile(dual(optimizers.SGD(0.05)), "mse")
    train(model, 20)
    assert (array(layer.kernel) >= 0).all()
    assert (array(layer.kernel) > 0).any()


@pytest.mark.slow
def test_a_target_of_sparsity_is_reached():
    model = make(dual(optimizers.Adam(0.02)), keras.regularizers.L1(0.3), units=20)
    target = tf_reg.TargetSparsity(0.7)
    wide = np.tile(Y, (1, 10))
    model.fit(X, wide, batch_size=4, epochs=20, verbose=0, callbacks=[target])
    assert tf_reg.sparsity(model).layers["dense"].sparsity == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("penalty", [tf_reg.MCP(0.1), tf_reg.Lq(0.1, 0.5)], ids=lambda one: type(one).__name__)
def test_a_concave_penalty_is_refused(penalty):
    optimizer = dual("sgd")
    variable = keras.Variable(np.ones(3, "float32"))
    variable.regularizer = penalty
    with pytest.raises(ValueError, match=rf"convex penalties.* Received: {type(penalty).__name__} on"):
        optimizer.build([variable])
    assert variable.regularizer is penalty


def test_a_restart_without_averages_is_refused():
    with pytest.raises(ValueError, match=r"restart is for dual averaging\. Received"):
        Proximal("sgd").restart()
    dual("sgd").restart()
    with pytest.raises(ValueError, match=r"dual_averaging is True or False\. Received: dual_averaging='yes'"):
        Proximal("sgd", dual_averaging="yes")


def test_config_round_trips():
    config = dual("sgd", strength=0.5).get_config()
    assert Proximal.from_config(config).get_config() == config
    assert not Proximal.from_config({**config, "dual_averaging": False}).dual_averaging
    assert DualAveraging().__dict__ == {}
