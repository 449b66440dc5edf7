"""A small network on a small task, and the register of the probes that train it."""

import functools

import keras
import numpy as np
from keras import layers, optimizers

import tf_reg

BACKEND = keras.backend.backend()
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(192, 8)).astype("float32")
Y = (X[:, 0] + X[:, 1] > 0).astype("int32") + (X[:, 2] > 0)  # five inputs of eight say nothing
PROBES = {}


def probe(*rows):
    """Make a function the probe of a row, or of several, whose names are its argument then."""

    def add(function):
        for row in rows:
            PROBES[row] = functools.partial(function, row) if len(rows) > 1 else function
        return function

    return add


def network(penalty=None, rate=0.0):
    hidden = [layers.Dense(16, "relu", kernel_regularizer=penalty), layers.Dropout(rate)]
    return keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(3, "softmax")])


def trained(optimizer, penalty=None, epochs=10, callbacks=(), model=None, **options):
    """A network whose loss has fallen in `fit`."""
    model = model or network(penalty)
    model.compile(optimizer, "sparse_categorical_crossentropy", **options)
    history = model.fit(X, Y, batch_size=32, epochs=epochs, verbose=0, callbacks=list(callbacks)).history
    assert history["loss"][-1] < history["loss"][0], history["loss"]
    assert np.isfinite(model.predict(X, verbose=0)).all()
    return model


def zeros(model):
    return tf_reg.sparsity(model).total.zeros


def proximal(rate=0.02, strength=1.0):
    return tf_reg.Proximal(optimizers.Adam(rate), strength)
