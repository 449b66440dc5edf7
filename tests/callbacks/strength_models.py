"""A small model whose strength callbacks move, and what its weights look like afterwards."""

import keras
import numpy as np
from keras import layers, ops, optimizers

from tf_reg.callbacks.strength import proximal_of
from tf_reg.optimizers.proximal import Proximal

L1 = keras.regularizers.L1


def data(examples=256, features=30, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, features)).astype("float32")
    y = x[:, :5] @ rng.normal(size=(5, 2)) + 0.1 * rng.normal(size=(examples, 2))
    return x, y.astype("float32")


def mlp(*regularizers, optimizer=None, units=40, **options):
    """A dense layer of each regularizer; the last one is the output."""
    sizes = [units] * (len(regularizers) - 1)
    hidden = [layers.Dense(n, "tanh", kernel_regularizer=r) for n, r in zip(sizes, regularizers[:-1], strict=True)]
    model = keras.Sequential([keras.Input((30,)), *hidden, layers.Dense(2, kernel_regularizer=regularizers[-1])])
    optimizer = optimizer or Proximal(optimizers.Adam(3e-3))
    model.compile(optimizer, "mse", **options)
    return model


def fit(model, *callbacks, epochs=12, **options):
    x, y = data()
    options = {"batch_size": 16, "verbose": 0, **options}
    return model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **options).history


def strength(model):
    return float(ops.convert_to_numpy(proximal_of(model.optimizer).strength))


def kernels(model):
    return [ops.convert_to_numpy(layer.kernel) for layer in model.layers if layer.weights and layer.kernel.regularizer]


def zero_share(model):
    return float(np.mean(np.concatenate([kernel.ravel() for kernel in kernels(model)]) == 0))
