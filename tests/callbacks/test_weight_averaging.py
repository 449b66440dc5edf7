"""StochasticWeightAveraging: the mean of the last epochs, zeros that stay, renewed batch normalisation."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tests.dropout_models import numpy
from tf_reg.callbacks.weight_averaging import renew_batch_normalization

pytestmark = pytest.mark.contract
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype("float32")
Y = (X[:, :1] - X[:, 1:2]).astype("float32")


class Record(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append([numpy(one).copy() for one in self.model.trainable_variables])


def build(*stack, optimizer="sgd"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), *stack, layers.Dense(1, kernel_regularizer=keras.regularizers.L1(0.1))]
    )
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize("last", [2, 5])
def test_the_weights_are_the_mean_of_those_of_the_last_epochs(last):
    model, record = build(layers.Dense(4)), Record()
    model.fit(X, Y, epochs=5, verbose=0, callbacks=[record, tf_reg.StochasticWeightAveraging(last)])
    for variable, *taken in zip(model.trainable_variables, *record.weights[-last:], strict=True):
        np.testing.assert_allclose(numpy(variable), np.mean(taken, axis=0, dtype="float64"), rtol=1e-6, atol=1e-8)
    assert np.any(numpy(model.trainable_variables[0]) != record.weights[-1][0])


def test_zeros_of_the_last_epoch_stay_zero():
    model, record = build(optimizer=tf_reg.Proximal(keras.optimizers.SGD(0.1))), Record()
    model.fit(X, Y, epochs=6, batch_size=8, verbose=0, callbacks=[record, tf_reg.StochasticWeightAveraging(6)])
    kernels = np.stack([weights[0] for weights in record.weights])
    zero = kernels[-1] == 0
    assert (kernels[:, zero] != 0).any()  # some were not zero before
    np.testing.assert_array_equal(numpy(model.trainable_variables[0]) == 0, zero)


def test_one_epoch_is_its_own_mean():
    model, record = build(), Record()
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[record, tf_reg.StochasticWeightAveraging(1)])
    np.testing.assert_array_equal(numpy(model.trainable_variables[0]), record.weights[-1][0])


def as_batches(x):
    return ((x[start : start + 16], None) for start in range(0, len(x), 16))


class Sequence(keras.utils.PyDataset):
    def __init__(self, x, ends=True):
        super().__init__()
        self.x, self.ends = x, ends

    @property
    def num_batches(self):
        return len(self.x) // 16 if self.ends else None

    def __getitem__(self, index):
        return self.x[16 * index : 16 * index + 16], None


@pytest.mark.parametrize("form", [lambda x: x, as_batches, Sequence], ids=["an array", "batches", "a sequence"])
def test_batch_normalisation_has_the_statistics_of_the_averaged_network(form):
    model = build(layers.Dense(5), layers.BatchNormalization(name="norm"), layers.Dropout(1e-9))
    average = tf_reg.StochasticWeightAveraging(4, form(X))
    model.fit(X, Y, epochs=4, verbose=0, callbacks=[average])
    hidden, norm = numpy(model.layers[0](X)), model.get_layer("norm")
    parts = [hidden] if form not in (as_batches, Sequence) else np.split(hidden, 3)
    np.testing.assert_allclose(numpy(norm.moving_mean), np.mean([p.mean(0) for p in parts], axis=0), atol=1e-5)
    np.testing.assert_allclose(numpy(norm.moving_variance), np.mean([p.var(0) for p in parts], axis=0), rtol=1e-4)
    assert norm.momentum == 0.99


def test_a_frozen_normalisation_and_a_model_without_one_stay_as_they_are():
    model = build(layers.BatchNormalization(name="norm"))
    model.get_layer("norm").trainable = False
    before = [numpy(one).copy() for one in model.weights]
    renew_batch_normalization(model, X)
    for variable, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(numpy(variable), old)
    renew_batch_normalization(build(), X)
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[tf_reg.StochasticWeightAveraging(2)])  # it asks for no data


def test_mistakes_are_said_before_training():
    with pytest.raises(ValueError, match=r"StochasticWeightAveraging\(epochs=3\) needs as many epochs. `fit` has 2"):
        build().fit(X, Y, epochs=2, verbose=0, callbacks=[tf_reg.StochasticWeightAveraging(3)])
    with pytest.raises(ValueError, match="Give the training inputs"):
        build(layers.BatchNormalization()).fit(
            X, Y, epochs=2, verbose=0, callbacks=[tf_reg.StochasticWeightAveraging(2)]
        )


def test_data_without_an_end_are_refused():
    with pytest.raises(ValueError, match="data ends"):
        tf_reg.StochasticWeightAveraging(2, Sequence(X, ends=False))
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(X).batch(16)
    with pytest.raises(ValueError, match=r"take\(steps\) of a tf.data.Dataset makes it end"):
        tf_reg.StochasticWeightAveraging(2, data.repeat())
    tf_reg.StochasticWeightAveraging(2, data.repeat(2))
