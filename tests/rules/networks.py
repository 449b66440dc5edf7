"""Models to put rules on, and what the tests of rules read off them."""

import keras
import numpy as np
from keras import layers, ops, regularizers

L1, L2 = regularizers.L1(0.25), regularizers.L2(0.5)


def network():
    encoder = keras.Sequential(
        [keras.Input((6, 6, 2)), layers.Conv2D(3, 3, name="conv1"), layers.DepthwiseConv2D(2, name="conv2")],
        name="encoder",
    )
    inputs = keras.Input((6, 6, 2))
    x = layers.BatchNormalization(name="norm")(encoder(inputs))
    x = layers.Flatten()(x)
    x = layers.Dense(4, name="hidden")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


CONVOLUTIONS = ["encoder/conv1/kernel", "encoder/conv2/kernel"]
KERNELS = [*CONVOLUTIONS, "hidden/kernel", "head/kernel"]
BIASES = ["encoder/conv1/bias", "encoder/conv2/bias", "hidden/bias", "head/bias"]


def total(losses):
    return sum(float(ops.convert_to_numpy(loss)) for loss in losses)


def paths(table):
    return [row.path for row in table.weights]


def data(model, examples=16):
    random = np.random.default_rng(0)
    shapes = [tuple(tensor.shape[1:]) for tensor in (*model.inputs, *model.outputs)]
    return [random.normal(size=(examples, *shape)).astype("float32") for shape in shapes]


def linear(optimizer, **compile_arguments):
    model = keras.Sequential([keras.Input((5,)), layers.Dense(2, name="dense")])
    model.compile(optimizer, "mse", **compile_arguments)
    x, y = data(model)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0)
    model.evaluate(x, y, verbose=0)
    return model, x, y


def one_step(model, x, y):
    model.fit(x, y, batch_size=len(x), epochs=1, verbose=0)


def weights_and_gradients(model, x, y):
    """Kernel and bias as float64, and the gradients of the mean squared error."""
    kernel, bias = (w.astype("float64") for w in model.get_weights())
    error = x @ kernel + bias - y
    return kernel, bias, x.T @ error * (2 / y.size), error.sum(axis=0) * (2 / y.size)


def attention():
    inputs = keras.Input((4, 3))
    return keras.Model(inputs, layers.MultiHeadAttention(2, 3, name="heads")(inputs, inputs))
