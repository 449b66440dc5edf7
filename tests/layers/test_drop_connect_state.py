"""DropConnect: what the wrapped layer writes into its variables in training stays, and its kernel is its own."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg

pytestmark = pytest.mark.contract


@keras.saving.register_keras_serializable(package="tests")
class Counting(layers.Dense):
    """It counts its calls, keeps a moving average and draws noise."""

    def build(self, shape):
        super().build(shape)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
        self.average = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False, name="average")
        self.noise = keras.random.SeedGenerator(0)

    def call(self, inputs):
        self.count.assign_add(1.0)
        self.average.assign(0.5 * self.average + 0.5 * ops.mean(inputs, axis=0))
        return super().call(inputs) + keras.random.normal((self.units,), seed=self.noise)


def read(variable):
    return ops.convert_to_numpy(variable.value)


def test_calls_of_ones_own():
    inner = Counting(2, use_bias=False)
    layer = tf_reg.DropConnect(inner, 0.5)
    x = np.ones((3, 4), "float32")
    layer.build(x.shape)
    kernel, state = read(inner.kernel), read(inner.noise.state)
    first, second = (ops.convert_to_numpy(layer(0 * x, training=True)) for _ in range(2))
    assert read(inner.count) == 2.0
    assert not np.array_equal(first, second)  # with inputs of zero, they differ by their noise
    assert not np.array_equal(read(inner.noise.state), state)
    np.testing.assert_array_equal(read(inner.kernel), kernel)
    layer(x, training=True)
    np.testing.assert_allclose(read(inner.average), 0.5)
    layer(x)
    assert read(inner.count) == 4.0


def test_in_fit():
    inner = Counting(1)
    model = keras.Sequential([keras.Input((4,)), tf_reg.DropConnect(inner, 0.5)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    kernel = read(inner.kernel)
    model.fit(np.ones((8, 4)), np.ones((8, 1)), batch_size=4, epochs=3, verbose=0)
    assert read(inner.count) == 6.0
    np.testing.assert_allclose(read(inner.average), 1 - 0.5**6, rtol=1e-6)
    np.testing.assert_array_equal(read(inner.kernel), kernel)


def test_mixed_precision_changes_no_variable_that_the_layer_leaves():
    inner = layers.Dense(2, dtype="mixed_bfloat16")
    layer = tf_reg.DropConnect(inner, 0.5, dtype="mixed_bfloat16")
    layer.build((3, 4))
    inner.kernel.assign(np.full((4, 2), 1.0001, "float32"))
    layer(np.ones((3, 4), "float32"), training=True)
    np.testing.assert_array_equal(read(inner.kernel), np.float32(1.0001))
