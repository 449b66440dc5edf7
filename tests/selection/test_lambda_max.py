"""lambda_max: all is zero above it, and something lives below it."""

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.svm import l1_min_c

import tf_reg
from tests.selection.problems import digits, linear, mlp, regression
from tests.tools import mostly_long, slow_on_tensorflow

pytestmark = pytest.mark.contract


def alpha_max(x, y):
    """Twice scikit-learn's: beside the mean of squares without its half."""
    return 2 * np.abs((x - x.mean(0)).T @ (y - y.mean())).max() / len(y)


def is_zero_after(model, data, strength, steps=150):
    """Whether all penalised weights are exactly zero after a fit on all examples at once."""
    tf_reg.proximal_of(model).strength = strength
    again = [np.concatenate([part] * steps) for part in data]  # one epoch
    model.fit(*again, batch_size=len(data[1]), shuffle=False, verbose=0)
    return all(not np.any(ops.convert_to_numpy(v)) for v in model.trainable_variables if v.regularizer is not None)


def test_of_the_lasso_it_is_alpha_max():
    x, y = regression()
    found = tf_reg.lambda_max(linear(), (x, y))
    assert found.exact
    assert found.trials == 0
    assert float(found) == pytest.approx(alpha_max(x, y), rel=1e-5)


def test_more_examples_than_one_pass_takes():
    x, y = regression(samples=2500)
    assert float(tf_reg.lambda_max(linear(), (x, y))) == pytest.approx(alpha_max(x, y), rel=1e-5)


@slow_on_tensorflow
@pytest.mark.parametrize("name", ["l1", "group", "sparse_group", "mcp", "channels"])
def test_all_is_zero_above_it_and_not_below(name):
    x, y = regression()
    targets = np.stack([y, -y * y, np.sin(y)], axis=1)
    penalties = {
        "l1": lambda: keras.regularizers.L1(0.5),
        "group": lambda: tf_reg.GroupLasso(0.5, groups="inputs"),
        "sparse_group": lambda: tf_reg.SparseGroupLasso(0.3, 0.2),
        "mcp": lambda: tf_reg.MCP(0.5, 50.0),
    }

    def build():
        keras.utils.set_random_seed(1)
        hidden = keras.layers.Dense(3, "tanh" if name == "channels" else None)
        layers = [keras.Input((8,)), hidden]
        model = keras.Sequential([*layers, keras.layers.Dense(3)] if name == "channels" else layers)
        if name == "channels":
            tf_reg.regularize(model, tf_reg.ChannelLasso(0.5))
        else:
            tf_reg.regularize(model, penalties[name]())
        model.compile(tf_reg.Proximal(keras.optimizers.SGD(0.02)), "mse")
        return model

    found = tf_reg.lambda_max(build(), (x, targets))
    assert found.exact
    above, below = build(), build()
    for model in (above, below):  # from zeros, with the other weights at their best
        for variable in [*model.layers[0].trainable_variables, model.layers[-1].bias]:
            variable.assign(np.zeros(variable.shape))
        model.layers[-1].bias.assign(targets.mean(0))
    assert is_zero_after(above, (x, targets), 1.02 * found.strength)
    assert not is_zero_after(below, (x, targets), 0.98 * found.strength, steps=600)


def test_of_logistic_regression_it_is_that_of_l1_min_c():
    x, y = regression()
    labels = (y > np.median(y)).astype(int)  # as many of each class: then the intercept is 0
    found = tf_reg.lambda_max(linear(loss="binary_crossentropy", activation="sigmoid"), (x, labels))
    expected = 1 / (len(y) * l1_min_c(x, labels, loss="log"))
    assert found.exact
    assert found.strength == pytest.approx(expected, rel=1e-4)


def test_the_intercept_is_fitted_and_not_penalised():
    """With a twentieth of one class, the gradient at an intercept of zero would be another one."""
    x, y = regression()
    labels = (y > np.quantile(y, 0.95)).astype(int)
    found = tf_reg.lambda_max(linear(loss="binary_crossentropy", activation="sigmoid"), (x, labels))
    expected = np.abs(x.T @ (labels - labels.mean())).max() / len(y)
    assert found.strength == pytest.approx(expected, rel=1e-3)
    assert np.abs(x.T @ (labels - 0.5)).max() / len(y) > 1.5 * expected


def test_all_forms_of_the_data_give_one_answer():
    import tensorflow as tf

    x, y = regression()
    forms = [(x, y), (x, y, np.ones(len(y))), tf.data.Dataset.from_tensor_slices((x, y)).batch(7)]
    assert len({tf_reg.lambda_max(linear(), data).strength for data in forms}) == 1
    weights = np.where(np.arange(len(y)) < 60, 1.0, 0.0)
    half = tf_reg.lambda_max(linear(), (x, y, weights)).strength
    assert half == pytest.approx(alpha_max(x[:60], y[:60]) / 2, rel=1e-4)  # the mean is over all examples


def test_penalty_factors_count():
    x, y = regression()
    model = linear()
    model.compile(tf_reg.Proximal("sgd", penalty_factors=True), "mse")
    before = tf_reg.lambda_max(model, (x, y)).strength
    tf_reg.proximal_of(model).penalty_factor_of(model.layers[0].kernel).assign(np.full((8, 1), 4.0))
    assert tf_reg.lambda_max(model, (x, y)).strength == pytest.approx(before / 4, rel=1e-6)


def test_the_model_is_as_it_was():
    x, y = digits()
    model = mlp(units=4)
    model.fit(x[:200], y[:200], epochs=1, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(ops.convert_to_numpy(v)) for v in variables]
    found = tf_reg.lambda_max(model, (x[:200], y[:200]), epochs=3, ratio=4.0)
    assert not found.exact
    assert found.trials >= 2
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
    assert model.steps_per_execution == 1
    fresh = linear()
    tf_reg.lambda_max(fresh, regression())
    assert fresh.steps_per_execution == 1


@pytest.mark.parametrize("seed", mostly_long([0, 1, 2], 0))
def test_of_a_network_it_is_where_training_from_the_dense_model_ends_with_zeros(seed):
    x, y = digits()
    model = mlp(seed=seed)
    optimizer = tf_reg.proximal_of(model)
    optimizer.strength = 0.0
    model.fit(x, y, epochs=5, verbose=0)
    found = tf_reg.lambda_max(model, (x, y), epochs=10)
    assert (found.exact, found.epochs, found.ratio) == (False, 10, 1.1)
    start = [np.array(ops.convert_to_numpy(v)) for v in (*model.variables, *model.optimizer.variables)]

    def zeros(factor):
        for variable, value in zip((*model.variables, *model.optimizer.variables), start, strict=True):
            variable.assign(value)
        optimizer.strength = factor * found.strength
        model.fit(x, y, epochs=10, verbose=0)  # in another order of the examples
        return [not np.any(ops.convert_to_numpy(layer.kernel)) for layer in model.layers]

    assert all(zeros(1.1))
    assert not all(zeros(0.9))


def test_what_has_no_answer_is_refused():
    x, y = regression()
    for change, words in (
        (lambda model: model.compile("sgd", "mse"), "with 0 of them"),
        (lambda model: tf_reg.remove_regularizers(model), "without one"),
        (lambda model: setattr(model, "optimizer", None), "compiled with a loss"),
    ):
        model = linear()
        change(model)
        with pytest.raises(ValueError, match=words):
            tf_reg.lambda_max(model, (x, y))
    bare = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, kernel_regularizer="l1")])
    bare.compile(tf_reg.Proximal("sgd"))
    with pytest.raises(ValueError, match="compiled with a loss"):
        tf_reg.lambda_max(bare, (x, y))
    model = mlp(units=2)
    model.layers[0].kernel.assign(np.zeros((64, 2)))
    model.layers[1].kernel.assign(np.zeros((2, 10)))
    with pytest.raises(ValueError, match="all zero at the start"):
        tf_reg.lambda_max(model, digits())


def test_a_network_that_cannot_die_in_so_few_steps_is_said(monkeypatch):
    monkeypatch.setattr("tf_reg.selection.lambda_max._TRIALS", 2)
    x, y = digits()
    with pytest.raises(ValueError, match=r"No strength up to .* in 1 epochs. Give it more epochs"):
        tf_reg.lambda_max(mlp(units=2, rate=1e-9), (x[:64], y[:64]), epochs=1)
