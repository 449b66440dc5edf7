"""A small regression whose training with Proximal can be computed by hand."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops, optimizers

INNER = {
    "sgd": lambda **k: optimizers.SGD(0.05, **k),
    "momentum": lambda **k: optimizers.SGD(0.02, momentum=0.9, **k),
    "nesterov": lambda **k: optimizers.SGD(0.02, momentum=0.9, nesterov=True, **k),
    "adam": lambda **k: optimizers.Adam(0.05, **k),
    "amsgrad": lambda **k: optimizers.Adam(0.05, amsgrad=True, **k),
    "adamw": lambda **k: optimizers.AdamW(0.05, weight_decay=0.01, **k),
    "rmsprop": lambda **k: optimizers.RMSprop(0.02, **k),
    "rmsprop_centered": lambda **k: optimizers.RMSprop(0.02, momentum=0.5, centered=True, **k),
    "adagrad": lambda **k: optimizers.Adagrad(0.5, **k),
}


X = np.random.default_rng(0).normal(size=(32, 10)).astype("float32")


Y = X[:, :3] @ np.array([[2.0, 0.0], [0.0, -1.0], [1.0, 1.0]], "float32")


def make(optimizer, penalty=None, units=2, **options):
    keras.utils.set_random_seed(1)
    penalty = penalty or keras.regularizers.L1(0.3)
    model = keras.Sequential([keras.Input((10,)), layers.Dense(units, kernel_regularizer=penalty)])
    model.compile(optimizer, "mse", **options)
    return model


def fit(model, epochs=1, batch_size=32, **options):
    options = {"verbose": 0, "shuffle": False, **options}
    return model.fit(X, Y, epochs=epochs, batch_size=batch_size, **options).history


def train(model, steps):
    """Full-batch steps, without the overhead of an epoch."""
    for _ in range(steps):
        model.train_on_batch(X, Y)


def array(x):
    return ops.convert_to_numpy(x).copy()


def kernel(model):
    return array(model.layers[0].kernel)


def soft(value, threshold):
    return np.sign(value) * np.maximum(np.abs(value) - threshold, 0)


def gradient(model):
    """Of the data loss alone."""
    weights, bias = (array(w) for w in model.layers[0].weights)
    return 2 * X.T @ (X @ weights + bias - Y) / Y.size
