"""The page for people who come from another library: every row of its tables against that library."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.regularizers import L1, L1L2, L2

import tf_reg
from tests.tools import ROOT, require_module

v1 = tf.compat.v1
PAGE = (ROOT / "docs/migration.md").read_text().partition("\n## PyTorch")[2].partition("\n## Old names")[0]
ROWS = {}

RANDOM = np.random.default_rng(0)
N, D = 60, 6
X = RANDOM.normal(size=(N, D)).astype("float32")
TRUE = np.array([2.0, -1.0, 0.5, 0.0, 0.0, 0.1])
Y = (X @ TRUE + 0.3 + 0.1 * RANDOM.normal(size=N)).astype("float32")
LABELS = (Y > 0.3).astype("float32")


def row(text):
    """Say which row of the page a function tests."""

    def keep(function):
        ROWS[text] = function
        return function

    return keep


def dense(kernel, bias=0.0, activation=None):
    """A model of one layer, with these weights."""
    kernel = np.asarray(kernel, "float32").reshape(X.shape[1], -1)
    layer = keras.layers.Dense(kernel.shape[1], activation)
    model = keras.Sequential([keras.Input((X.shape[1],)), layer])
    model.set_weights([kernel, np.broadcast_to(np.asarray(bias, "float32"), kernel.shape[1:])])
    return model


def train(model, optimizer, steps=20, loss="mse"):
    model.compile(optimizer, loss)
    for _ in range(steps):
        model.train_on_batch(X, Y[:, None] if loss == "mse" else LABELS[:, None])
    return model.get_weights()


def check_minimum(model, loss, y):
    """The weights are where the proximal gradient map of the reported loss leaves them: nothing is to be gained."""
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(keras.losses.get(loss)(y, model(X)))
    kernel, bias = model.trainable_variables
    gradients = tape.gradient(value, [kernel.value, bias.value])
    moved = tf_reg.proximal_map(kernel.regularizer)(kernel.value - 0.1 * gradients[0], 0.1)
    np.testing.assert_allclose(moved, kernel.value, atol=2e-5)
    np.testing.assert_allclose(gradients[1], 0, atol=2e-4)
    assert float(kernel.regularizer(kernel)) > 1e-3, "no penalty to speak of"


# --- PyTorch


def trained_by_torch(make_optimizer, start, steps=20, penalty=None):
    """Weight and bias of a linear layer, trained on the mean squared error by a torch optimizer."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(D, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(start.T))
        layer.bias.zero_()
    optimizer = make_optimizer(torch, layer)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(layer(torch.tensor(X)), torch.tensor(Y[:, None]))
        (loss if penalty is None else loss + penalty(layer)).backward()
        optimizer.step()
    return layer.weight.detach().numpy().T, layer.bias.detach().numpy()


START = RANDOM.normal(size=(D, 1)).astype("float32")
EVERYTHING = {lambda path, layer, variable: True: L2(0.3 / 2)}


def check_torch(make_optimizer, rules, optimizer, penalty=None):
    require_module("torch")
    model = dense(START)
    if rules is not None:
        tf_reg.regularize(model, rules)
    ours = train(model, optimizer)
    for a, b in zip(trained_by_torch(make_optimizer, START, penalty=penalty), ours, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@row("`torch.optim.SGD(..., weight_decay=d)`")
def _():
    check_torch(
        lambda torch, layer: torch.optim.SGD(layer.parameters(), 0.05, momentum=0.9, weight_decay=0.3),
        EVERYTHING,
        keras.optimizers.SGD(0.05, momentum=0.9),
    )


@row("the same, with a group of parameters without decay for biases and norms")
def _():
    check_torch(
        lambda torch, layer: torch.optim.SGD(
            [{"params": [layer.weight], "weight_decay": 0.3}, {"params": [layer.bias]}], 0.05
        ),
        L2(0.3 / 2),
        keras.optimizers.SGD(0.05),
    )


@row("`torch.optim.Adam(..., weight_decay=d)`")
def _():
    check_torch(
        lambda torch, layer: torch.optim.Adam(layer.parameters(), 0.05, weight_decay=0.3),
        EVERYTHING,
        keras.optimizers.Adam(0.05, epsilon=1e-8),
    )


@row("`torch.optim.AdamW(..., weight_decay=d)`")
def _():
    check_torch(
        lambda torch, layer: torch.optim.AdamW(layer.parameters(), 0.05, weight_decay=0.3),
        None,
        keras.optimizers.AdamW(0.05, weight_decay=0.3, epsilon=1e-8),
    )


@row("`loss + l * sum(p.abs().sum() for p in weights)`")
def _():
    check_torch(
        lambda torch, layer: torch.optim.SGD(layer.parameters(), 0.05),
        L1(0.2),
        keras.optimizers.SGD(0.05),
        penalty=lambda layer: 0.2 * layer.weight.abs().sum(),
    )


@row("`loss + l * sum(p.square().sum() for p in weights)`")
def _():
    check_torch(
        lambda torch, layer: torch.optim.SGD(layer.parameters(), 0.05),
        L2(0.2),
        keras.optimizers.SGD(0.05),
        penalty=lambda layer: 0.2 * layer.weight.square().sum(),
    )


@row("`torch.nn.CrossEntropyLoss(label_smoothing=s)`")
def _():
    require_module("torch")
    import torch

    logits, labels = RANDOM.normal(size=(5, 3)).astype("float32"), np.array([0, 1, 2, 1, 0])
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(torch.tensor(logits), torch.tensor(labels))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    assert float(loss(np.eye(3)[labels], logits)) == pytest.approx(float(theirs), rel=1e-5)


@row("`torch.nn.Dropout(p)`")
def _():
    require_module("torch")
    import torch

    ones = np.ones((100, 1000), "float32")
    theirs = torch.nn.Dropout(0.2)(torch.tensor(ones)).numpy()
    ours = np.asarray(keras.layers.Dropout(0.2)(ones, training=True))
    np.testing.assert_allclose(np.unique(theirs), [0, 1.25], rtol=1e-6)
    np.testing.assert_allclose(np.unique(ours), [0, 1.25], rtol=1e-6)
    assert np.mean(ours == 0) == pytest.approx(np.mean(theirs == 0), abs=0.01)


@row("`torch.nn.utils.prune.l1_unstructured(layer, 'weight', 0.5)`")
def _():
    require_module("torch")
    import torch
    from torch.nn.utils import prune

    layer = torch.nn.Linear(D, 1)
    prune.l1_unstructured(layer, "weight", 0.5)
    model = dense(START)
    tf_reg.regularize(model, L1(0.1))
    model.compile(tf_reg.Proximal(keras.optimizers.SGD(0.1)), "mse")
    model.fit(X, Y, epochs=12, batch_size=20, verbose=0, callbacks=[tf_reg.TargetSparsity(0.5)])
    assert int((layer.weight == 0).sum()) == tf_reg.sparsity(model).total.zeros == 3


# --- TensorFlow 1


@row("`tf.get_variable(..., regularizer=...)`, `tf.losses.get_regularization_loss()`")
def _():
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("w", initializer=START, regularizer=lambda w: 0.3 * tf.nn.l2_loss(w))
        loss = v1.losses.get_regularization_loss()
        session.run(v1.global_variables_initializer())
        theirs = session.run(loss)
    model = dense(START)
    tf_reg.regularize(model, tf_reg.tf1.l2_regularizer(0.3))
    assert float(sum(model.losses)) == pytest.approx(theirs, rel=1e-6)


@row("`loss + s * tf.nn.l2_loss(w)`")
def _():
    with tf.Graph().as_default(), v1.Session() as session:
        theirs = session.run(0.3 * tf.nn.l2_loss(START))
    model = dense(START)
    tf_reg.regularize(model, L2(0.3 / 2))
    assert float(sum(model.losses)) == pytest.approx(theirs, rel=1e-6)


@row("`tf.nn.dropout(x, keep_prob=k)`")
def _():
    ones = np.ones((100, 1000), "float32")
    with tf.Graph().as_default(), v1.Session() as session:
        theirs = session.run(v1.nn.dropout(ones, keep_prob=0.8))
    ours = np.asarray(keras.layers.Dropout(1 - 0.8)(ones, training=True))
    np.testing.assert_allclose(np.unique(ours), np.unique(theirs), rtol=1e-6)
    assert np.mean(ours == 0) == pytest.approx(np.mean(theirs == 0), abs=0.01)


# --- Keras 2


@row("`keras.regularizers.l2(s)` (or `l1`, `l1_l2`)")
def _():
    for old, new in (
        (keras.regularizers.l2(0.3), L2(0.3)),
        (keras.regularizers.l1(0.3), L1(0.3)),
        (keras.regularizers.l1_l2(0.3, 0.2), L1L2(0.3, 0.2)),
    ):
        assert float(old(START)) == pytest.approx(float(new(START)), rel=1e-6)
    assert float(L2(0.3)(START)) == pytest.approx(0.3 * np.sum(START**2), rel=1e-6)


@row("`layer.kernel_regularizer = l2(s)` on every layer, then `model_from_json(model.to_json())` and the weights again")
def _():
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
def _():
    model = dense(START)
    tf_reg.regularize(model, {"*": L2(0.3)})
    ours, _ = train(model, keras.optimizers.SGD(0.05), 1)
    gradient = 2 / N * X.T @ (X @ START - Y[:, None]) + 2 * 0.3 * START
    np.testing.assert_allclose(ours, START - 0.05 * gradient, atol=1e-6)


# --- scikit-learn


def fitted_by(estimator, y):
    estimator.fit(X.astype("float64"), y.astype("float64"))
    return estimator


@row("`Ridge(alpha)`, n examples")
def _():
    from sklearn.linear_model import Ridge

    found = fitted_by(Ridge(5.0, tol=1e-8), Y)
    model = dense(found.coef_, found.intercept_)
    tf_reg.regularize(model, L2(5.0 / N))
    check_minimum(model, "mse", Y[:, None])


@row("`Lasso(alpha)`")
def _():
    from sklearn.linear_model import Lasso

    found = fitted_by(Lasso(0.1, tol=1e-8), Y)
    model = dense(found.coef_, found.intercept_)
    tf_reg.regularize(model, L1(2 * 0.1))
    check_minimum(model, "mse", Y[:, None])


@row("`ElasticNet(alpha, l1_ratio=r)`")
def _():
    from sklearn.linear_model import ElasticNet

    found = fitted_by(ElasticNet(0.2, l1_ratio=0.3, tol=1e-8), Y)
    model = dense(found.coef_, found.intercept_)
    tf_reg.regularize(model, L1L2(2 * 0.2 * 0.3, 0.2 * 0.7))
    check_minimum(model, "mse", Y[:, None])


@row("`MultiTaskLasso(alpha)`, k targets")
def _():
    from sklearn.linear_model import MultiTaskLasso

    targets = np.stack([Y, 2 * Y + X[:, 3], X[:, 0]], axis=1)
    found = fitted_by(MultiTaskLasso(0.3, tol=1e-8), targets)
    model = dense(found.coef_.T, found.intercept_)
    tf_reg.regularize(model, tf_reg.GroupLasso(2 * 0.3 / 3, groups="inputs", size_weights=False))
    check_minimum(model, "mse", targets)


@row("`LogisticRegression(C)`, n examples")
def _():
    from sklearn.linear_model import LogisticRegression

    found = fitted_by(LogisticRegression(C=0.5, tol=1e-8), LABELS)
    model = dense(found.coef_, found.intercept_, "sigmoid")
    tf_reg.regularize(model, L2(1 / (2 * 0.5 * N)))
    check_minimum(model, "binary_crossentropy", LABELS[:, None])


@row("the same, with an L1 penalty")
def _():
    from sklearn.linear_model import LogisticRegression

    settings = {"C": 0.5, "l1_ratio": 1.0, "solver": "saga", "tol": 1e-8, "max_iter": 20000}
    found = fitted_by(LogisticRegression(**settings), LABELS)
    model = dense(found.coef_, found.intercept_, "sigmoid")
    tf_reg.regularize(model, L1(1 / (0.5 * N)))
    check_minimum(model, "binary_crossentropy", LABELS[:, None])


@row("`MLPClassifier(alpha=a, batch_size=b)`, also `MLPRegressor`")
def _():
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


@pytest.mark.parametrize("text", ROWS)
def test_rows(text):
    ROWS[text]()


def test_every_row_of_the_page_is_tested_and_the_other_way_round():
    first_cells = re.findall(r"^\| (.+?) \| ", PAGE, flags=re.MULTILINE)
    heads = {"PyTorch", "TensorFlow 1", "Keras 2", "scikit-learn"}
    assert heads < set(first_cells)
    assert {cell for cell in first_cells if cell not in heads} == set(ROWS)
