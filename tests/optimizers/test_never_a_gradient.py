"""Weights whose gradient is zero in the first steps: an adaptive optimizer's step size has no bound there."""

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers

import tf_reg
from tests.tools import mostly_slow, slow_on_tensorflow
from tf_reg.optimizers import preconditioner

pytestmark = pytest.mark.contract

X = np.random.default_rng(0).normal(size=(128, 20)).astype("float32")
Y = X[:, :1]
L1 = keras.regularizers.L1

ADAPTIVE = {
    "adam": lambda: optimizers.Adam(1e-2),
    "amsgrad": lambda: optimizers.Adam(1e-2, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(1e-2, weight_decay=1e-3),
    "long memory": lambda: optimizers.Adam(1e-2, beta_1=0.95, beta_2=0.9),
    "rmsprop": lambda: optimizers.RMSprop(1e-2),
    "rmsprop momentum": lambda: optimizers.RMSprop(3e-3, momentum=0.9),
    "rmsprop centered": lambda: optimizers.RMSprop(1e-2, centered=True),
    "adagrad": lambda: optimizers.Adagrad(1e-2, initial_accumulator_value=0.0),
}


@keras.saving.register_keras_serializable("tests")
class Scale(layers.Layer):
    """Multiplies by trainable numbers that start at a value near or at zero."""

    def __init__(self, start, shape=(), **options):
        super().__init__(**options)
        self.start, self.shape = start, shape

    def build(self, input_shape):
        self.scale = self.add_weight(shape=self.shape, initializer=keras.initializers.Constant(self.start))

    def call(self, inputs):
        return inputs * self.scale


def hidden(name="hidden", penalty=None):
    return layers.Dense(16, "relu", kernel_regularizer=penalty or L1(1e-3), name=name)


def residual(*branch):
    inputs = keras.Input((20,))
    x = hidden()(inputs)
    for layer in branch:
        x = layer(x)
    return keras.Model(inputs, layers.Dense(1)(layers.ReLU()(inputs + x)))


def lora():
    """A frozen network with a low-rank update whose second factor starts at zero (Hu et al. 2021)."""
    inputs = keras.Input((20,))
    base = layers.Dense(1, use_bias=False, trainable=False)(inputs)
    down = layers.Dense(4, use_bias=False, kernel_regularizer=L1(1e-3), name="hidden")(inputs)
    up = layers.Dense(1, use_bias=False, kernel_initializer="zeros", kernel_regularizer=L1(1e-3))(down)
    return keras.Model(inputs, base + up)


ARCHITECTURES = {
    "last layer at zero": lambda: keras.Sequential(
        [keras.Input((20,)), hidden(), layers.Dense(1, kernel_initializer="zeros")]
    ),
    "gamma at zero (Goyal et al. 2017)": lambda: residual(
        layers.Dense(20, kernel_regularizer=L1(1e-3)), layers.BatchNormalization(gamma_initializer="zeros")
    ),
    "Fixup (Zhang et al. 2019)": lambda: residual(layers.Dense(20, kernel_initializer="zeros")),
    "ReZero (Bachlechner et al. 2020)": lambda: residual(layers.Dense(20, kernel_regularizer=L1(1e-3)), Scale(0.0)),
    "LayerScale (Touvron et al. 2021)": lambda: residual(
        layers.Dense(20, kernel_regularizer=L1(1e-3)), Scale(1e-6, (20,))
    ),
    "LoRA": lora,
}


def final_loss(make, optimizer):
    keras.utils.set_random_seed(1)
    model = make()
    model.compile(optimizer, "mse", metrics=["mse"])
    loss = model.fit(X, Y, epochs=15, verbose=0).history["mse"][-1]
    return loss, tf_reg.sparsity(model).layers["hidden"]


@pytest.mark.parametrize("name", mostly_slow(ARCHITECTURES))
def test_architectures_that_start_at_zero_are_trained(name):
    plain, _ = final_loss(ARCHITECTURES[name], optimizers.Adam(1e-2))
    loss, zeros = final_loss(ARCHITECTURES[name], tf_reg.Proximal(optimizers.Adam(1e-2)))
    assert loss < 1.3 * plain + 0.01
    assert zeros.dead_outputs < zeros.outputs


def penalties():
    return {
        "L1": L1(1e-3),
        "L2": keras.regularizers.L2(1e-2),
        "L1L2": keras.regularizers.L1L2(1e-3, 1e-2),
        "groups": tf_reg.GroupLasso(1e-3),
        "sparse groups": tf_reg.SparseGroupLasso(1e-3, 1e-3),
    }


@pytest.mark.parametrize("inner", ADAPTIVE)
def test_a_weight_without_a_gradient_moves_as_far_as_the_optimizer_would(inner):
    for name, penalty in penalties().items():
        variable = keras.Variable(np.random.default_rng(0).normal(size=(6, 4)).astype("float32"))
        variable.regularizer = penalty
        before = ops.convert_to_numpy(variable.value).copy()
        optimizer = tf_reg.Proximal(ADAPTIVE[inner]())
        optimizer.build([variable])
        optimizer.apply([ops.zeros((6, 4))], [variable])
        optimizer.apply([ops.zeros((6, 4))], [variable])
        after = ops.convert_to_numpy(variable.value)
        assert 0 < np.abs(after - before).max() < 0.35, name
        assert (np.abs(after) <= np.abs(before)).all(), name


def test_a_penalty_of_ones_own_waits_for_the_first_gradient():
    @keras.saving.register_keras_serializable("tests")
    class Twice(keras.Regularizer):
        def __call__(self, x):
            return 2 * ops.sum(ops.square(x))

    @tf_reg.register_prox(Twice)
    def shrink(regularizer, value, step):
        return value / (1 + 4 * step)

    variable = keras.Variable(np.ones((2,), "float32"))
    variable.regularizer = Twice()
    optimizer = tf_reg.Proximal(optimizers.Adam(1e-2))
    optimizer.build([variable])
    optimizer.apply([ops.convert_to_tensor(np.array([0.0, 1.0], "float32"))], [variable])
    first, second = ops.convert_to_numpy(variable.value)
    assert (first, second < 0.99) == (1.0, True)


@slow_on_tensorflow
def test_a_branch_without_labels_is_not_wiped_out():
    inputs = keras.Input((20,))
    second = layers.Dense(1, kernel_regularizer=L1(1e-3), name="second")(hidden()(inputs))
    model = keras.Model(inputs, [layers.Dense(1, name="first")(inputs), second])
    model.compile(tf_reg.Proximal(optimizers.Adam(1e-2)), ["mse", "mse"])
    for _ in range(3):
        model.train_on_batch(X, [Y, Y], sample_weight=[np.ones(128), np.zeros(128)])
    assert tf_reg.sparsity(model).total.dead_outputs == 0
    assert model.fit(X, [Y, Y], epochs=15, verbose=0).history["second_loss"][-1] < 0.2


@pytest.mark.parametrize("inner", mostly_slow([name for name in ADAPTIVE if name != "adamw"], "adam", "rmsprop"))
def test_no_gradients_move_a_weight_farther_than_the_bound(inner):
    """Silence, then the same gradient again and again: what moves an adaptive optimizer the farthest."""
    optimizer = ADAPTIVE[inner]()
    if not preconditioner.is_bounded(optimizer):
        pytest.skip(f"{inner} has no bound")
    variable = keras.Variable(np.zeros((3,), "float32"))
    optimizer.build([variable])
    tau, farthest = 0.0, 0.0
    for step in range(300):
        gradient = 1e-6 if step < 200 else 10.0 ** (step % 3)
        old = ops.convert_to_numpy(variable.value).copy()
        optimizer.apply([ops.full((3,), gradient)], [variable])
        tau = tau * getattr(optimizer, "momentum", 0.0) + float(optimizer.learning_rate)
        bound = float(preconditioner.reach(optimizer, ops.convert_to_tensor(optimizer.learning_rate), ops.array(tau)))
        share = np.abs(ops.convert_to_numpy(variable.value) - old).max() / bound
        farthest = max(farthest, share)
    assert 0.2 < farthest <= 1.0 + 1e-4


def test_sgd_is_left_alone():
    variable = keras.Variable(np.ones((2,), "float32"))
    variable.regularizer = L1(50.0)
    optimizer = tf_reg.Proximal(optimizers.SGD(0.1))
    optimizer.build([variable])
    optimizer.apply([ops.zeros((2,))], [variable])
    assert not ops.convert_to_numpy(variable.value).any()
