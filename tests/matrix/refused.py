"""Models of the matrix that no server can run, and what is said of them."""

import keras
import numpy as np
from keras import layers, ops

from tests.matrix.cases import Takes, case

STEPS = Takes((6, 4))


def stateful():
    return keras.Sequential(
        [keras.Input((6, 4), batch_size=7), layers.LSTM(3, stateful=True), layers.Dense(2, "softmax")]
    )


class Centred(layers.Layer):
    """Subtracts the mean of the batch."""

    def call(self, x):
        return x - ops.mean(x, axis=0, keepdims=True)


def mixing():
    return keras.Sequential([keras.Input((6, 4)), Centred(), layers.Flatten(), layers.Dense(2, "softmax")])


class Drawing(layers.Layer):
    """Adds noise in inference too."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seed = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(ops.shape(x), seed=self.seed)


def drawing():
    return keras.Sequential([keras.Input((6, 4)), Drawing(), layers.Flatten(), layers.Dense(2, "softmax")])


class Python(layers.Layer):
    """Takes the values out of a tensor."""

    def call(self, x):
        return ops.convert_to_tensor(np.sort(ops.convert_to_numpy(x), axis=-1))

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def python():
    return keras.Sequential([keras.Input((6, 4)), Python(), layers.Flatten(), layers.Dense(2, "softmax")])


MODELS = {
    "LSTM with stateful=True": case(stateful, STEPS),
    "a layer that mixes its batch": case(mixing, STEPS),
    "a layer that draws in inference": case(drawing, STEPS),
    "a layer that leaves TensorFlow": case(python, STEPS),
}
