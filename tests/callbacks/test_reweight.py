"""Factors that are renewed while training, and those from a pilot: against scikit-learn, the log-sum, and mistakes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers
from sklearn.linear_model import Lasso

import tf_reg
from tests.callbacks.strength_models import L1, fit, mlp, zero_share
from tests.tools import slow_on_tensorflow
from tf_reg.callbacks.penalty_factors import set_penalty_factors
from tf_reg.callbacks.refit import Refit
from tf_reg.callbacks.reweight import Reweight
from tf_reg.callbacks.target_sparsity import TargetSparsity
from tf_reg.optimizers.proximal import Proximal

pytestmark = pytest.mark.contract
SAMPLES, FEATURES, STEPS = 60, 12, 100
ALPHA, EPSILON, SCALE = 0.05, 0.25, 0.8


def regression(tasks=1):
    """All examples in each batch, so an epoch is a number of steps of the full gradient."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, FEATURES)).astype("float32")
    true = np.zeros((FEATURES, tasks))
    true[:4] = np.linspace(-1.5, 1.5, 4 * tasks).reshape(4, tasks)
    y = (x @ true + 0.5 * rng.normal(size=(SAMPLES, tasks))).astype("float32")
    return x, y


def linear(penalty, tasks=1, inner=None, **options):
    kernel = layers.Dense(tasks, use_bias=False, kernel_initializer="zeros", kernel_regularizer=penalty)
    model = keras.Sequential([keras.Input((FEATURES,)), kernel])
    proximal = Proximal(inner or optimizers.SGD(0.15), **{"penalty_factors": True, **options})
    at_once = 1 if keras.backend.backend() == "torch" else STEPS  # Keras on torch knows nothing else
    model.compile(proximal, "mse", steps_per_execution=at_once)
    return model


def descend(model, *callbacks, epochs, tasks=1):
    x, y = (np.tile(a, (STEPS, 1)) for a in regression(tasks))
    model.fit(x, y, SAMPLES, epochs, shuffle=False, verbose=0, callbacks=list(callbacks))
    return array(model.layers[0].kernel)


def array(x):
    return ops.convert_to_numpy(x).astype("float64")


def factor(model, layer=0):
    return array(model.optimizer.penalty_factor_of(model.layers[layer].kernel))


def weighted_lasso(x, y, factors):
    """By scikit-learn alone."""
    solver = Lasso(alpha=ALPHA, fit_intercept=False, tol=1e-14, max_iter=100_000)
    return solver.fit(x / factors, y[:, 0]).coef_ / factors


def reweighted_lasso(x, y, rounds, scale=SCALE):
    """Candès, Wakin and Boyd's loop of weighted lassos. Without a scale, by the root mean square of what isn't zero."""
    w = weighted_lasso(x, y, np.ones(FEATURES))
    for _ in range(rounds):
        unit = scale or np.sqrt((w[w != 0] ** 2).mean())
        w = weighted_lasso(x, y, 1 / (np.abs(w) / unit + EPSILON))
    return w


@pytest.mark.parametrize("scale", [SCALE, pytest.param(None, marks=pytest.mark.slow)])
def test_a_round_is_a_weighted_lasso_of_scikit_learn(scale):
    x, y = (a.astype("float64") for a in regression())
    found = descend(linear(L1(2 * ALPHA)), Reweight(epsilon=EPSILON, scale=scale), epochs=4)[:, 0]
    expected = reweighted_lasso(x, y, 3, scale)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found == 0, expected == 0)
    assert np.abs(found - reweighted_lasso(x, y, 2, scale)).max() > 1e-4
    assert 3 <= np.count_nonzero(found) < np.count_nonzero(reweighted_lasso(x, y, 0))


@slow_on_tensorflow
def test_it_ends_in_a_stationary_point_of_the_log_sum():
    """The slope of the data is that of the log-sum, and a training with that penalty stays where it is."""
    penalty = tf_reg.LogSum(2 * ALPHA / EPSILON, EPSILON * SCALE)
    model = linear(L1(2 * ALPHA))
    found = descend(model, Reweight(epsilon=EPSILON, scale=SCALE), epochs=15)
    x, y = regression()
    pull = -2 * x.T @ (x @ found - y) / SAMPLES
    alive = found != 0
    slope = array(penalty.curve.slopes(ops.convert_to_tensor(np.abs(found)))[0])
    assert 3 <= alive.sum() < FEATURES
    np.testing.assert_allclose((pull * np.sign(found))[alive], slope[alive], atol=1e-5)
    assert (np.abs(pull[~alive]) <= penalty.strength).all()
    other = linear(penalty, penalty_factors=False)
    other.layers[0].kernel.assign(found)
    np.testing.assert_allclose(descend(other, epochs=2), found, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("inner", [optimizers.SGD(0.15), optimizers.Adam(0.02)], ids=["sgd", "adam"])
def test_groups_end_in_a_stationary_point_of_the_log_sum_of_groups(inner):
    """Each input is a group: its pull has the size of the slope at its root mean square."""
    tasks = 3
    model = linear(tf_reg.GroupLasso(0.05, groups="inputs"), tasks, inner)
    found = descend(model, Reweight(epsilon=EPSILON, scale=SCALE), epochs=25, tasks=tasks)
    x, y = regression(tasks)
    pull = -2 * x.T @ (x @ found - y) / y.size
    size, alive = np.sqrt((found**2).mean(axis=1)), (found != 0).any(axis=1)
    slope = 0.05 / (EPSILON + size / SCALE) * tasks**0.5
    assert 3 <= alive.sum() < FEATURES
    np.testing.assert_allclose(np.linalg.norm(pull, axis=1)[alive], slope[alive], atol=1e-4)
    assert (np.linalg.norm(pull, axis=1)[~alive] <= slope[~alive]).all()
    assert factor(model).shape == (FEATURES, 1)


@slow_on_tensorflow
@pytest.mark.parametrize("gamma", [1.0, pytest.param(2.0, marks=pytest.mark.slow)])
def test_a_pilot_gives_the_adaptive_lasso_of_scikit_learn(gamma):
    x, y = regression()
    pilot = np.linalg.lstsq(x.astype("float64"), y, rcond=None)[0]
    model = linear(L1(2 * ALPHA))
    set_penalty_factors(model, [pilot], gamma, epsilon=0.0, scale=1.0)
    np.testing.assert_allclose(factor(model), np.abs(pilot) ** -gamma, rtol=1e-5)
    expected = weighted_lasso(x.astype("float64"), y, np.abs(pilot[:, 0]) ** -gamma)
    found = descend(model, epochs=3)[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert 2 <= np.count_nonzero(expected) < FEATURES


def test_a_pilot_is_a_model_or_its_weights_and_of_groups_the_size_counts():
    penalty = tf_reg.GroupLasso(1e-3, "inputs")
    model, pilot = (mlp(penalty, L1(1e-3), optimizer=Proximal("sgd", penalty_factors=True)) for _ in range(2))
    rows = np.random.default_rng(0).normal(size=(30, 40))
    rows[3] = 0
    pilot.layers[0].kernel.assign(rows)
    set_penalty_factors(model, pilot, gamma=2, epsilon=0.5)
    sizes = np.sqrt((rows**2).mean(axis=1))
    unit = np.sqrt((sizes[sizes > 0] ** 2).mean())
    np.testing.assert_allclose(factor(model)[:, 0], (sizes / unit + 0.5) ** -2, rtol=1e-4)
    assert factor(model)[3] == 4.0
    before = factor(model, 1)
    set_penalty_factors(model, pilot.get_weights(), gamma=2, epsilon=0.5)
    np.testing.assert_array_equal(factor(model, 1), before)
    set_penalty_factors(model, [np.zeros(weight.shape) for weight in model.weights], epsilon=0.1)
    np.testing.assert_allclose(factor(model), 10.0, rtol=1e-6)
    set_penalty_factors(model, [np.full(weight.shape, 1e-15) for weight in model.weights], 2, 0.0, 1.0)
    np.testing.assert_allclose(factor(model), 1e12, rtol=1e-6)


def test_the_epochs_that_renew():
    model = mlp(L1(1e-3), optimizer=Proximal("adam", penalty_factors=True))
    model.optimizer.build(model.trainable_variables)
    callback = Reweight(every=2, start=2, end=5, scale=0.5)
    callback.set_model(model)
    callback.set_params({"epochs": 7})
    callback.on_train_begin()
    found = []
    for epoch in range(7):
        model.layers[0].kernel.assign(np.full((30, 2), epoch))
        callback.on_epoch_begin(epoch)
        found.append(1 / factor(model)[0, 0])
    np.testing.assert_allclose(found, [1.0, 1.0, 4.1, 4.1, 8.1, 8.1, 8.1], rtol=1e-6)


class Kept(keras.callbacks.Callback):
    """Keeps the factors of each epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(factor(self.model).copy())


@pytest.mark.slow
def test_it_works_with_a_refit():
    """As the prototype for images: groups with a unit that is given, from an epoch on, then only the rest is fitted."""
    model = mlp(
        tf_reg.GroupLasso(1e-2, "inputs"), L1(2e-3), optimizer=Proximal(optimizers.Adam(1e-2), penalty_factors=True)
    )
    kept = Kept()
    history = fit(model, Reweight(scale=0.05, start=3, end=6), kept, Refit(2), epochs=8)
    assert history["refit"] == [0.0] * 6 + [1.0] * 2
    np.testing.assert_array_equal(kept.seen[-1], kept.seen[5])
    assert kept.seen[5].max() > 2 * kept.seen[5].min()
    assert zero_share(model) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("of", ["weights", "groups"])
def test_it_works_with_a_target(of):
    penalty = L1(1e-3) if of == "weights" else tf_reg.GroupLasso(1e-3, "inputs")
    model = mlp(penalty, penalty, optimizer=Proximal(optimizers.Adam(3e-3), penalty_factors=True))
    history = fit(model, TargetSparsity(0.7, of), Reweight(), epochs=18)
    assert history["zero_share"][-1] == pytest.approx(0.7, abs=0.02)
    assert factor(model).max() > 2 * factor(model).min()


@pytest.mark.slow
def test_within_a_loss_scale():
    keras.config.set_dtype_policy("mixed_float16")
    model = mlp(L1(1e-3), L1(1e-3), optimizer=Proximal("adam", penalty_factors=True))
    fit(model, Reweight(), epochs=2)
    for claim in tf_reg.proximal_of(model).factored():
        assert array(claim.factor).max() > 2 * array(claim.factor).min()


@pytest.mark.parametrize("ask", [lambda m: fit(m, Reweight(), epochs=2), lambda m: set_penalty_factors(m, m)])
def test_an_optimizer_that_has_no_factors(ask):
    name = "Reweight|set_penalty_factors"
    with pytest.raises(ValueError, match=rf"({name}) sets .*whose optimizer is Adam. Compile it with tf_reg.Prox"):
        ask(mlp("l1", optimizer="adam"))
    with pytest.raises(ValueError, match=rf"({name}) sets .*one without: 'proximal.*penalty_factors=True\)"):
        ask(mlp("l1", optimizer=Proximal("sgd")))
    with pytest.raises(ValueError, match=rf"({name}) needs weights with a penalty that gives zeros"):
        ask(mlp("l2", optimizer=Proximal("sgd", penalty_factors=True)))


@slow_on_tensorflow
def test_averages_begin_anew_only_when_the_factors_do():
    model = mlp("l1", optimizer=Proximal("sgd", penalty_factors=True, dual_averaging=True))
    begun = []
    model.optimizer.restart = lambda: begun.append(1)
    fit(model, Reweight(every=2, end=4), epochs=7)
    assert len(begun) == 2  # epochs 1 and 3


def test_a_start_that_never_comes():
    with pytest.raises(ValueError, match=r"start must be below the 2 of fit. Received: start=2"):
        fit(mlp("l1", optimizer=Proximal("sgd", penalty_factors=True)), Reweight(start=2), epochs=2)


def test_mistakes_of_a_pilot():
    model = mlp("l1", optimizer=Proximal("sgd", penalty_factors=True))
    kernel = np.ones((30, 2))
    for pilot, message in (
        (mlp("l1", "l1"), r"whose weights have the shapes \[\(30, 2\), \(2,\)\]. Received: \[\(30, 40\)"),
        ([kernel], r"Received: \[\(30, 2\)\]"),
        ([kernel * np.inf, np.zeros(2)], "finite. Received NaN or infinity in .*kernel"),
        ([["a"], [1]], "pilot is a Keras model that has its weights, or a list"),
        (keras.Sequential([layers.Dense(2)]), "pilot is a Keras model that has its weights"),
    ):
        with pytest.raises(ValueError, match=message):
            set_penalty_factors(model, pilot)
    with pytest.raises(
        ValueError, match=r"With epsilon=0 .* a pilot with 2 of them in .*kernel. Give an epsilon above"
    ):
        set_penalty_factors(model, [kernel * (np.arange(30) > 0)[:, None], np.zeros(2)], epsilon=0)
    np.testing.assert_array_equal(factor(model), 1.0)  # a mistake has changed nothing
