"""What a compacted model was compiled with, and how its training goes on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers
from sklearn.datasets import load_digits

import tf_reg

pytestmark = pytest.mark.contract
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(24, 6)).astype("float32"), RANDOM.normal(size=(24, 2)).astype("float32")


def dead_units(penalty=None):
    """Three of eight units are dead and stay so: ReLU has no gradient at 0."""
    keras.utils.set_random_seed(0)
    first = layers.Dense(8, "relu", name="first", kernel_regularizer=penalty)
    model = keras.Sequential([keras.Input((6,)), first, layers.Dense(2, name="last")])
    gone = [1, 2, 6]
    kernel, last = ops.convert_to_numpy(first.kernel).copy(), ops.convert_to_numpy(model.layers[1].kernel).copy()
    kernel[:, gone], last[gone] = 0, 0
    first.kernel.assign(kernel)
    model.layers[1].kernel.assign(last)
    return model


OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(1e-2),
    "momentum": lambda: optimizers.SGD(1e-2, momentum=0.9),
    "plain": lambda: optimizers.SGD(1e-2),
    "centered": lambda: optimizers.RMSprop(1e-2, momentum=0.5, centered=True),
    "average": lambda: optimizers.Adam(1e-2, use_ema=True, amsgrad=True),
    "accumulation": lambda: optimizers.Adam(1e-2, gradient_accumulation_steps=2),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(1e-2, 2, 0.5)),
    "proximal": lambda: tf_reg.Proximal(optimizers.Adam(1e-2), strength=0.5),
    "proximal rmsprop": lambda: tf_reg.Proximal(optimizers.RMSprop(1e-2, momentum=0.5)),
    "loss scale": lambda: optimizers.LossScaleOptimizer(tf_reg.Proximal(optimizers.Adam(1e-2))),
    "all": lambda: optimizers.LossScaleOptimizer(
        tf_reg.Proximal(optimizers.SGD(1e-2), penalty_factors=True, dual_averaging=True)
    ),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "adam" else pytest.mark.slow) for n in OPTIMIZERS])
def test_training_goes_on_as_if_nothing_was_cut(name):
    if name == "average" and keras.backend.backend() == "jax":
        pytest.skip("on JAX, Keras can't call fit twice with use_ema: it donates one buffer twice")
    model = dead_units(tf_reg.GroupLasso(1e-3))
    model.compile(OPTIMIZERS[name](), "mse")
    model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    small = tf_reg.compact(model, keep_optimizer=True)
    assert small.layers[0].units <= 5
    losses = [one.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0).history["loss"] for one in (model, small)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    np.testing.assert_allclose(
        *[ops.convert_to_numpy(one(X, training=False)) for one in (model, small)], rtol=1e-4, atol=1e-5
    )
    assert int(small.optimizer.iterations) == int(model.optimizer.iterations)


FACTORED = {
    "single": (keras.regularizers.L1(1e-3), (6, 5)),
    "outputs": (tf_reg.GroupLasso(1e-3), (1, 5)),
    "inputs": (tf_reg.MCP(1e-3, groups="inputs"), (6, 1)),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "outputs" else pytest.mark.slow) for n in FACTORED])
def test_the_factors_of_what_stays_are_kept(name):
    """Those of single weights and of groups, those that are cut and those that are not."""
    penalty, shape = FACTORED[name]
    model = dead_units(penalty)
    model.compile(tf_reg.Proximal(optimizers.SGD(0.1), penalty_factors=True), "mse")
    tf_reg.set_penalty_factors(model, [RANDOM.normal(size=weight.shape) for weight in model.weights])
    factors = ops.convert_to_numpy(model.optimizer.penalty_factor_of(model.layers[0].kernel))
    small = tf_reg.compact(model, keep_optimizer=True)
    found = ops.convert_to_numpy(small.optimizer.penalty_factor_of(small.layers[0].kernel))
    assert found.shape == shape
    np.testing.assert_array_equal(found, factors if name == "inputs" else factors[:, [0, 3, 4, 5, 7]])
    losses = [one.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0).history["loss"] for one in (model, small)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@pytest.mark.slow
def test_the_factors_of_channels_that_stay_are_kept():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(8, name="a"), layers.Dense(6, name="b"), layers.Dense(2)])
    tf_reg.regularize(model, tf_reg.ChannelLasso(0.1))
    model.compile(tf_reg.Proximal(optimizers.SGD(0.1), penalty_factors=True), "mse")
    tf_reg.set_penalty_factors(model, [RANDOM.normal(size=weight.shape) for weight in model.weights])
    for weight in model.get_layer("a").weights:
        value = ops.convert_to_numpy(weight.value).copy()
        value[..., [1, 4]] = 0
        weight.assign(value)
    small = tf_reg.compact(model, keep_optimizer=True)
    for name, kept in (("a", [0, 2, 3, 5, 6, 7]), ("b", range(6))):
        for before, after in zip(model.get_layer(name).weights, small.get_layer(name).weights, strict=True):
            factors = ops.convert_to_numpy(model.optimizer.penalty_factor_of(before))
            found = ops.convert_to_numpy(small.optimizer.penalty_factor_of(after))
            np.testing.assert_array_equal(found, factors[..., kept])


def test_padding_keeps_its_factors():
    model = dead_units(tf_reg.GroupLasso(1e-3))
    model.compile(tf_reg.Proximal(optimizers.SGD(0.1), penalty_factors=True), "mse")
    tf_reg.set_penalty_factors(model, [RANDOM.normal(size=weight.shape) for weight in model.weights])
    small = tf_reg.compact(model, keep_optimizer=True, round_to=4)
    found = ops.convert_to_numpy(small.optimizer.penalty_factor_of(small.layers[0].kernel))
    assert found.shape == (1, 8)
    assert (found > 0).all()


@pytest.mark.slow
def test_without_keep_optimizer_it_starts_anew():
    model = dead_units()
    model.compile(optimizers.Adam(1e-2), "mse")
    model.fit(X, Y, verbose=0)
    small = tf_reg.compact(model)
    assert int(small.optimizer.iterations) == 0
    assert int(model.optimizer.iterations) == 1
    assert float(small.optimizer.learning_rate) == pytest.approx(1e-2)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_schedule_of_a_class_that_keras_does_not_know(scaled):
    class Halved(optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.005

        def get_config(self):
            return {}

    optimizer = tf_reg.Proximal(optimizers.SGD(Halved()))
    model = dead_units()
    model.compile(optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer, "mse")
    small = tf_reg.compact(model)
    assert float(small.optimizer.learning_rate) == pytest.approx(0.005)


def test_an_optimizer_that_has_no_state_yet_and_none_at_all():
    model = dead_units()
    with pytest.raises(ValueError, match="takes a model that is compiled"):
        tf_reg.compact(model, keep_optimizer=True)
    model.compile(optimizers.Adam(1e-2), "mse")
    small = tf_reg.compact(model, keep_optimizer=True)
    assert small.layers[0].units == 5
    small.fit(X, Y, verbose=0)


@pytest.mark.slow
def test_slots_of_other_shapes_are_refused():
    model = dead_units()
    model.compile(optimizers.Adafactor(1e-2), "mse")
    model.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match=r"slots have the shapes of their weights.*adafactor"):
        tf_reg.compact(model, keep_optimizer=True)
    tf_reg.compact(model).fit(X, Y, verbose=0)


@pytest.mark.slow
def test_two_weights_of_one_path_keep_their_own_slots():
    def net():
        inputs = keras.Input((6,))
        return keras.Model(inputs, layers.Dense(6, name="same")(inputs))

    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(2, name="last")(net()(net()(inputs))))
    model.compile(optimizers.SGD(1e-2, momentum=0.9), "mse")
    model.fit(X, Y, verbose=0)
    small = tf_reg.compact(model, keep_optimizer=True)
    for old, new in zip(model.optimizer.variables, small.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(old.value), ops.convert_to_numpy(new.value))


def test_functions_and_classes_that_only_exist_in_memory():
    def my_loss(true, predicted):
        return ops.mean(ops.abs(true - predicted), axis=-1)

    def my_activation(x):
        return ops.tanh(x) * 2

    class MyPenalty(keras.regularizers.Regularizer):
        def __call__(self, x):
            return 0.1 * ops.sum(ops.abs(x))

        def get_config(self):
            return {}

    class MyMetric(keras.metrics.Mean):
        def update_state(self, true, predicted, sample_weight=None):
            super().update_state(true - predicted)

    inputs = keras.Input((6,))
    x = layers.Dense(8, my_activation, kernel_regularizer=MyPenalty(), name="first")(inputs)
    model = keras.Model(inputs, layers.Dense(2, lambda x: x * 3)(layers.Dense(4, "relu", name="middle")(x)))
    model.compile("adam", my_loss, metrics=[MyMetric(), "mae", lambda true, predicted: true - predicted])
    kernel = ops.convert_to_numpy(model.get_layer("middle").kernel).copy()
    kernel[:, 2] = 0
    model.get_layer("middle").kernel.assign(kernel)
    small = tf_reg.compact(model)
    assert small.get_layer("middle").units == 3
    np.testing.assert_allclose(small.evaluate(X, Y, verbose=0), model.evaluate(X, Y, verbose=0), rtol=1e-5)
    assert small.metrics[1] is not model.metrics[1]


def test_a_layer_that_its_config_cannot_make_is_named():
    class Scale(layers.Layer):
        def __init__(self, table):
            super().__init__(name="scale")
            self.table = table

        def call(self, x):
            return x * self.table[0]

    model = keras.Sequential([keras.Input((6,)), Scale(np.ones(3)), layers.Dense(2)])
    with pytest.raises(ValueError, match="Scale 'scale' can't be made so"):
        tf_reg.compact(model)


@pytest.mark.slow
def test_the_first_epoch_after_compaction_does_not_jump():
    """Dead filters before a batch normalization are constants in inference, and 0 in training."""
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype("float32") / 16
    stack = [
        part for filters in (16, 32) for part in (layers.Conv2D(filters, 3), layers.BatchNormalization(), layers.ReLU())
    ]
    model = keras.Sequential([keras.Input((8, 8, 1)), *stack, layers.GlobalAveragePooling2D(), layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    model.fit(x, y, epochs=6, verbose=0)
    for conv in (stack[0], stack[3]):
        kernel = ops.convert_to_numpy(conv.kernel).copy()
        kernel[..., ::8] = 0
        conv.kernel.assign(kernel)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[KeepsZeros(stack[0], stack[3])])
    small = tf_reg.compact(model, keep_optimizer=True)
    assert [small.layers[0].filters, small.layers[3].filters] == [14, 28]
    found = [one.evaluate(x, y, verbose=0) for one in (model, small)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)
    after = small.fit(x, y, epochs=1, verbose=0).history
    assert after["loss"][0] < 1.2 * model.history.history["loss"][-1]
    assert after["accuracy"][0] > model.history.history["accuracy"][-1] - 0.02


class KeepsZeros(keras.callbacks.Callback):
    """The filters that are zero stay zero."""

    def __init__(self, *convolutions):
        super().__init__()
        self.convolutions = convolutions

    def on_train_batch_end(self, batch, logs=None):
        for conv in self.convolutions:
            kernel = ops.convert_to_numpy(conv.kernel).copy()
            kernel[..., ::8] = 0
            conv.kernel.assign(kernel)
