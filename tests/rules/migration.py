"""The page for people who come from other libraries, and what the tests of its rows share."""

import re

import keras
import numpy as np
import tensorflow as tf

import tf_reg
from tests.tools import ROOT

PAGE = (ROOT / "docs/migration.md").read_text().partition("\n## PyTorch")[2].partition("\n## Old names")[0]

RANDOM = np.random.default_rng(0)
N, D = 60, 6
X = RANDOM.normal(size=(N, D)).astype("float32")
TRUE = np.array([2.0, -1.0, 0.5, 0.0, 0.0, 0.1])
Y = (X @ TRUE + 0.3 + 0.1 * RANDOM.normal(size=N)).astype("float32")
LABELS = (Y > 0.3).astype("float32")
START = RANDOM.normal(size=(D, 1)).astype("float32")


def row(text):
    """Say which row of the page a test is about: the text of its first cell."""

    def keep(function):
        function.row = text
        return function

    return keep


def covered(module):
    """The rows that a module's tests are about."""
    return {value.row for value in vars(module).values() if hasattr(value, "row")}


def rows(library):
    """The first cells of the page's table for a library."""
    [table] = re.findall(rf"^\| {re.escape(library)} \|.*\n\|---.*\n((?:\|.*\n?)+)", PAGE, flags=re.MULTILINE)
    return {line.removeprefix("| ").partition(" | ")[0] for line in table.splitlines()}


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
