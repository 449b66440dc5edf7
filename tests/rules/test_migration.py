"""People who come from TensorFlow 1, Keras 2 or scikit-learn: every row of the page against the other library."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.regularizers import L1, L1L2, L2

import tf_reg
from tests.rules.migration import LABELS, START, D, N, X, Y, check_minimum, covered, dense, row, rows, train
from tests.tools import on_tensorflow

v1 = tf.compat.v1
with_tape = on_tensorflow("the minimum is checked by a GradientTape")

# --- TensorFlow 1


@row("`tf.get_variable(..., regularizer=...)`, `tf.losses.get_regularization_loss()`")
def test_get_variable():
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("w", initializer=START, regularizer=lambda w: 0.3 * tf.nn.l2_loss(w))
        loss = v1.losses.get_regularization_loss()
        session.run(v1.global_variables_initializer())
        theirs = session.run(loss)
    model = dense(START)
    tf_reg.regularize(model, tf_reg.tf1.l2_regularizer(0.3))
    assert float(sum(model.losses)) == pytest.approx(theirs, rel=1e-6)


@row("`loss + s * tf.nn.l2_loss(w)`")
def test_l2_loss():
    with tf.Graph().as_default(), v1.Session() as session:
        theirs = session.run(0.3 * tf.nn.l2_loss(START))
    model = dense(START)
    tf_reg.regularize(model, L2(0.3 / 2))
    assert float(sum(model.losses)) == pytest.approx(theirs, rel=1e-6)


@row("`tf.nn.dropout(x, keep_prob=k)`")
def test_keep_prob():
    ones = np.ones((100, 1000), "float32")
    with tf.Graph().as_default(), v1.Session() as session:
        theirs = session.run(v1.nn.dropout(ones, keep_prob=0.8))
    ours = np.asarray(keras.layers.Dropout(1 - 0.8)(ones, training=True))
    np.testing.assert_allclose(np.unique(ours), np.unique(theirs), rtol=1e-6)
    assert np.mean(ours == 0) == pytest.approx(np.mean(theirs == 0), abs=0.01)


# --- Keras 2


@row("`keras.regularizers.l2(s)` (or `l1`, `l1_l2`)")
def test_regularizers_of_keras_2():
    for old, new in (
        (keras.regularizers.l2(0.3), L2(0.3)),
        (keras.regularizers.l1(0.3), L1(0.3)),
        (keras.regularizers.l1_l2(0.3, 0.2), L1L2(0.3, 0.2)),
    ):
        assert float(old(START)) == pytest.approx(float(new(START)), rel=1e-6)
    assert float(L2(0.3)(START)) == pytest.approx(0.3 * np.sum(START**2), rel=1e-6)


@row("`layer.kernel_regularizer = l2(s)` on every layer, then `model_from_json(model.to_json())` and the weights again")
def test_model_from_json():
    old, new = dense(START), dense(START)
    for layer in old.layers:
        layer.kernel_regularizer = L2(0.3)
    assert old.losses == []  # what the old way is for
    again = keras.models.model_from_json(old.to_json())
    again.set_weights(old.get_weights())
    tf_reg.regularize(new, L2(0.3))
    assert float(sum(new.losses)) == float(sum(again.losses)) > 0
    np.testing.assert_array_equal(train(new, "sgd", 3)[0], train(again, "sgd", 3)[0])


@row("`for layer in model.layers: model.add_loss(lambda: l2(s)(layer.kernel))`")
def test_add_loss():
    model = dense(START)
    tf_reg.regularize(model, {"*": L2(0.3)})
    ours, _ = train(model, keras.optimizers.SGD(0.05), 1)
    gradient = 2 / N * X.T @ (X @ START - Y[:, None]) + 2 * 0.3 * START
    np.testing.assert_allclose(ours, START - 0.05 * gradient, atol=1e-6)


# --- scikit-learn


def fitted_by(estimator, y):
    estimator.fit(X.astype("float64"), y.astype("float64"))
    return estimator


@with_tape
@row("`Ridge(alpha)`, n examples")
def test_ridge():
    from sklearn.linear_model import Ridge

    found = fitted_by(Ridge(5.0, tol=1e-8), Y)
    model = dense(found.coef_, found.intercept_)
    tf_reg.regularize(model, L2(5.0 / N))
    check_minimum(model, "mse", Y[:, None])


@with_tape
@row("`Lasso(alpha)`")
def test_lasso():
    from sklearn.linear_model import Lasso

    found = fitted_by(Lasso(0.1, tol=1e-8), Y)
    model = dense(found.coef_, found.intercept_)
    tf_reg.regularize(model, L1(2 * 0.1))
    check_minimum(model, "mse", Y[:, None])


@with_tape
@row("`ElasticNet(alpha, l1_ratio=r)`")
def test_elastic_net():
    from sklearn.linear_model import ElasticNet

    found = fitted_by(ElasticNet(0.2, l1_ratio=0.3, tol=1e-8), Y)
    model = dense(found.coef_, found.intercept_)
    tf_reg.regularize(model, L1L2(2 * 0.2 * 0.3, 0.2 * 0.7))
    check_minimum(model, "mse", Y[:, None])


@with_tape
@row("`MultiTaskLasso(alpha)`, k targets")
def test_multi_task_lasso():
    from sklearn.linear_model import MultiTaskLasso

    targets = np.stack([Y, 2 * Y + X[:, 3], X[:, 0]], axis=1)
    found = fitted_by(MultiTaskLasso(0.3, tol=1e-8), targets)
    model = dense(found.coef_.T, found.intercept_)
    tf_reg.regularize(model, tf_reg.GroupLasso(2 * 0.3 / 3, groups="inputs", size_weights=False))
    check_minimum(model, "mse", targets)


@with_tape
@row("`LogisticRegression(C)`, n examples")
def test_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    found = fitted_by(LogisticRegression(C=0.5, tol=1e-8), LABELS)
    model = dense(found.coef_, found.intercept_, "sigmoid")
    tf_reg.regularize(model, L2(1 / (2 * 0.5 * N)))
    check_minimum(model, "binary_crossentropy", LABELS[:, None])


@with_tape
@row("the same, with an L1 penalty")
def test_logistic_regression_with_l1():
    from sklearn.linear_model import LogisticRegression

    settings = {"C": 0.5, "l1_ratio": 1.0, "solver": "saga", "tol": 1e-8, "max_iter": 20000}
    found = fitted_by(LogisticRegression(**settings), LABELS)
    model = dense(found.coef_, found.intercept_, "sigmoid")
    tf_reg.regularize(model, L1(1 / (0.5 * N)))
    check_minimum(model, "binary_crossentropy", LABELS[:, None])


@row("`MLPClassifier(alpha=a, batch_size=b)`, also `MLPRegressor`")
def test_mlp_classifier():
    from sklearn.neural_network import MLPClassifier

    theirs = MLPClassifier((5,), alpha=20.0, solver="sgd", momentum=0, learning_rate_init=0.1, batch_size=N)
    theirs.partial_fit(X, LABELS, classes=[0, 1])
    start = [part.copy() for pair in zip(theirs.coefs_, theirs.intercepts_, strict=True) for part in pair]
    theirs.partial_fit(X, LABELS)
    model = keras.Sequential([keras.Input((D,)), keras.layers.Dense(5, "relu"), keras.layers.Dense(1, "sigmoid")])
    model.set_weights(start)
    tf_reg.regularize(model, L2(20.0 / (2 * N)))
    ours = train(model, keras.optimizers.SGD(0.1), 1, "binary_crossentropy")
    for coefficients, kernel in zip(theirs.coefs_, ours[::2], strict=True):
        np.testing.assert_allclose(kernel, coefficients, atol=1e-5)
    assert np.abs(start[0] - ours[0]).max() > 1e-2


@pytest.mark.parametrize("library", ["TensorFlow 1", "Keras 2", "scikit-learn"])
def test_every_row_of_the_page_is_tested(library):
    assert rows(library) <= covered(sys.modules[__name__])


def test_every_tested_row_is_on_the_page():
    assert covered(sys.modules[__name__]) <= rows("TensorFlow 1") | rows("Keras 2") | rows("scikit-learn")
