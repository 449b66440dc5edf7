"""Data and models whose strengths are chosen in the tests."""

import functools

import keras
import numpy as np
from sklearn.datasets import load_digits

import tf_reg

SGD = functools.partial(keras.optimizers.SGD, 0.05, momentum=0.9, nesterov=True)


@functools.cache
def regression(samples=120, features=8):
    """Correlated features of unit variance, three of which matter, and targets with a mean that isn't zero."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, features)) + 0.5 * rng.normal(size=(samples, 1))
    x = (x / x.std(0)).astype("float32")
    y = (x[:, :3] @ [1.0, -0.5, 0.25] + 0.3 * rng.normal(size=samples) + 2).astype("float32")
    return x, y


def alphas(x, y, l1_ratio, smallest, count):
    """The alphas that scikit-learn chooses for columns and targets, from the one at which all is zero."""
    largest = np.abs((x - x.mean(0)).T @ (y - y.mean())).max() / len(y) / l1_ratio
    return largest * np.geomspace(1, smallest, count)


@functools.cache
def digits():
    """The images of digits as vectors, and their labels."""
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype("float32"), y


def linear(penalty=None, features=8, loss="mse", activation=None, optimizer=SGD):
    """A compiled linear model."""
    layer = keras.layers.Dense(1, activation, kernel_regularizer=penalty or keras.regularizers.L1(1.0))
    model = keras.Sequential([keras.Input((features,)), layer])
    model.compile(tf_reg.Proximal(optimizer()), loss)
    return model


def mlp(penalty=keras.regularizers.L1, units=32, rate=1e-2, seed=0):
    """A compiled classifier of the digits with a penalty on both kernels."""
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(units, "relu", kernel_regularizer=penalty(1.0))
    model = keras.Sequential([keras.Input((64,)), hidden, keras.layers.Dense(10, kernel_regularizer=penalty(1.0))])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_reg.Proximal(keras.optimizers.Adam(rate)), loss, metrics=["accuracy"])
    return model
