"""TensorFlow 1's own programs, run under `tf.compat.v1`, beside ours: step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops, regularizers

from tf_reg import tf1

v1 = tf.compat.v1
STEPS = 50


def trained_by_tf1(make_optimizer, start, loss, steps):
    """Weights and losses of a TF1 graph and session, before each step and after the last."""
    with tf.Graph().as_default(), v1.Session() as session:
        variables = [v1.Variable(value) for value in start]
        value = loss(v1, *variables)
        step = make_optimizer().minimize(value)
        session.run(v1.global_variables_initializer())
        weights, losses = [session.run(variables)], [session.run(value)]
        for _ in range(steps):
            session.run(step)
            weights.append(session.run(variables))
            losses.append(session.run(value))
    return weights, losses


def trained_by_keras(make_optimizer, start, loss, steps):
    """The same of Keras variables, a gradient tape, and an optimizer that is made for the variables."""
    variables = [keras.Variable(value) for value in start]
    optimizer = make_optimizer(variables)
    weights, losses = [[variable.numpy() for variable in variables]], [float(loss(tf, *variables))]
    for _ in range(steps):
        with tf.GradientTape() as tape:
            value = loss(tf, *variables)
        optimizer.apply(tape.gradient(value, [variable.value for variable in variables]), variables)
        weights.append([variable.numpy() for variable in variables])
        losses.append(float(loss(tf, *variables)))
    return weights, losses


def check_equal(theirs, ours, tolerance=1e-6):
    for their_weights, our_weights in zip(theirs[0], ours[0], strict=True):
        for a, b in zip(their_weights, our_weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(theirs[1], ours[1], rtol=tolerance, atol=tolerance)


RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 6)).astype("float32")
Y = (X @ np.array([[2.0], [-1.0], [0], [0], [0.5], [0]]) + 0.1).astype("float32")
START = [RANDOM.normal(size=(6, 1)).astype("float32"), np.zeros(1, "float32")]


def squares(tensorflow, w, b):
    return tensorflow.reduce_mean(tensorflow.square(tensorflow.matmul(X, w) + b - Y))


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3), (0.2, 0.4)])
def test_proximal_gradient_descent(l1, l2):
    theirs = trained_by_tf1(lambda: v1.train.ProximalGradientDescentOptimizer(0.1, l1, l2), START, squares, STEPS)
    ours = trained_by_keras(
        lambda variables: tf1.ProximalGradientDescentOptimizer(0.1, l1, l2, var_list=variables), START, squares, STEPS
    )
    check_equal(theirs, ours)
    assert (np.count_nonzero(ours[0][-1][0] == 0) > 0) == (l1 > 0)


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3), (0.2, 0.4)])
def test_proximal_adagrad(l1, l2):
    theirs = trained_by_tf1(lambda: v1.train.ProximalAdagradOptimizer(0.5, 0.1, l1, l2), START, squares, STEPS)
    ours = trained_by_keras(
        lambda variables: tf1.ProximalAdagradOptimizer(0.5, 0.1, l1, l2, var_list=variables), START, squares, STEPS
    )
    check_equal(theirs, ours)


POINTS = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], "float32")
LABELS = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]], "float32")
ARTICLE_START = [RANDOM.normal(size=(2, 3)).astype("float32"), np.zeros(3, "float32")]


def article_data_loss(tensorflow, w, b):
    return tensorflow.reduce_mean(tensorflow.square(tensorflow.matmul(POINTS, w) + b - LABELS))


def article_loss(tensorflow, w, b):
    penalty = 0.1 * tensorflow.reduce_sum(tensorflow.abs(w)) + 0.1 * tensorflow.nn.l2_loss(w)
    return article_data_loss(tensorflow, w, b) + penalty


@pytest.mark.slow
def test_the_program_of_tf1():
    """Gradient descent on mean squared error + 0.1 sum|W| + 0.1 l2_loss(W), 1,000 steps of 0.01."""
    theirs = trained_by_tf1(lambda: v1.train.GradientDescentOptimizer(0.01), ARTICLE_START, article_loss, 1000)
    layer = keras.layers.Dense(3, kernel_regularizer=tf1.l1_l2_regularizer(0.1, 0.1))
    layer.build((None, 2))

    def keras_loss(tensorflow, w, b):
        return article_data_loss(tensorflow, w, b) + layer.kernel.regularizer(w)

    ours = trained_by_keras(lambda _: keras.optimizers.SGD(0.01), ARTICLE_START, keras_loss, 1000)
    check_equal(theirs, ours)


@pytest.mark.slow
def test_the_program_of_tf1_hovers_where_ours_is_zero():
    theirs, _ = trained_by_tf1(lambda: v1.train.GradientDescentOptimizer(0.01), ARTICLE_START, article_loss, 1000)
    w, b = (keras.Variable(value) for value in ARTICLE_START)
    w.regularizer = tf1.l1_l2_regularizer(0.1, 0.1)
    optimizer = tf1._built(keras.optimizers.SGD(0.01), [w, b])
    for _ in range(1000):
        with tf.GradientTape() as tape:
            loss = article_data_loss(tf, w, b)
        optimizer.apply(tape.gradient(loss, [w.value, b.value]), [w, b])
    zero = w.numpy() == 0
    assert 0 < np.count_nonzero(zero) < w.numpy().size
    assert np.count_nonzero(theirs[-1][0] == 0) == 0
    assert np.all(np.abs(theirs[-1][0][zero]) < 1e-2)
    np.testing.assert_allclose(w.numpy(), theirs[-1][0], atol=1e-2)


@pytest.mark.parametrize(("scale", "name"), [(0.3, "l1_regularizer"), (0.3, "l2_regularizer")])
def test_scales_mean_what_they_did(scale, name):
    w = RANDOM.normal(size=(4, 3)).astype("float32")
    expected = {"l1_regularizer": scale * np.sum(np.abs(w)), "l2_regularizer": scale * np.sum(w**2) / 2}[name]
    assert float(getattr(tf1, name)(scale)(w)) == pytest.approx(expected, rel=1e-6)
    assert float(tf1.apply_regularization(getattr(tf1, name)(scale), [w, w])) == pytest.approx(2 * expected, rel=1e-6)


def test_sums():
    assert tf1.sum_regularizer([]) is None
    assert tf1.sum_regularizer([None]) is None
    l1 = tf1.l1_regularizer(0.5)
    assert tf1.sum_regularizer([None, l1]) is l1
    folded = tf1.sum_regularizer([l1, tf1.l2_regularizer(0.5), tf1.l1_l2_regularizer(1.0, 1.0)])
    assert type(folded) is regularizers.L1L2
    assert folded.get_config() == {"l1": 1.5, "l2": 0.75}
    mixed = tf1.sum_regularizer([l1, regularizers.OrthogonalRegularizer(0.1)])
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(mixed))
    w = ops.convert_to_tensor(RANDOM.normal(size=(3, 3)).astype("float32"))
    assert float(restored(w)) == float(mixed(w))
    assert float(mixed(w)) == pytest.approx(sum(float(term(w)) for term in mixed.terms))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tf1.l1_regularizer(-1.0), r"`scale` must be a number, 0 or above\. Received: -1\.0"),
        (lambda: tf1.l2_regularizer("a"), "`scale` must be a number"),
        (lambda: tf1.l1_l2_regularizer(1.0, float("nan")), "`scale_l2` must be"),
        (lambda: tf1.apply_regularization(tf1.l1_regularizer(1.0), []), "`weights_list` must name the weights"),
        (
            lambda: tf1.ProximalGradientDescentOptimizer(0.1, -1.0, var_list=[]),
            "`l1_regularization_strength` must be",
        ),
        (lambda: tf1.ProximalAdagradOptimizer(0.1, var_list=[]), r"Received: var_list=\[\]"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_penalty_that_is_there_already_is_refused():
    layer = keras.layers.Dense(1, kernel_regularizer="l1")
    layer.build((None, 2))
    with pytest.raises(ValueError, match=r"which has one already\. Use tf_reg.Proximal"):
        tf1.ProximalGradientDescentOptimizer(0.1, 1.0, var_list=layer.trainable_variables)
    assert layer.bias.regularizer is None
