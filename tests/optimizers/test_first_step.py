"""The first steps of Proximal, computed by hand: in `fit`, in a `train_step` and in a loop of one's own."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers

import tf_reg
from tests.optimizers.training import X, Y, array, fit, gradient, kernel, make, soft
from tests.tools import mostly_slow
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("eager", [False, True], ids=["compiled", "eager"])
def test_the_first_step_by_hand(eager):
    """Gradient of the data, then the map, and the penalty paid once: also before the optimizer was ever built."""
    sgd, adam = make(Proximal(optimizers.SGD(0.1)), run_eagerly=eager), make(Proximal("adam"), run_eagerly=eager)
    start, slope = kernel(sgd), gradient(sgd)
    fit(sgd)
    np.testing.assert_allclose(kernel(sgd), soft(start - 0.1 * slope, 0.1 * 0.3), atol=1e-6)
    fit(adam)
    step = 0.001 / (np.abs(slope) + 1e-7 / np.sqrt(0.001))  # at the first step Adam's v is gradient^2 / 1000
    moved = start - step * slope
    farthest = 0.001 * 0.1 / np.sqrt(0.001 * (1 - 0.9**2 / 0.999))  # that Adam itself could move a weight
    change = np.clip(soft(moved, step * 0.3) - moved, -farthest, farthest)
    np.testing.assert_allclose(kernel(adam), moved + change, atol=1e-6)


class OwnStep(keras.Sequential):
    """The training step that Keras' guides show: no word of the loss scale, or of building."""

    def train_step(self, data):
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"loss": loss}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a step of one's own, written for TensorFlow")
@pytest.mark.parametrize("eager", [False, True], ids=["compiled", "eager"])
@pytest.mark.parametrize("way", mostly_slow(["train_step", "loss_scale", "loop", "loop_built"], "train_step"))
def test_the_penalty_is_paid_once_from_the_first_step_on(way, eager):
    """The data has no say, and nobody built the optimizer but in the last case."""
    import tensorflow as tf

    penalty, dtype = keras.regularizers.L1(1.0), "mixed_float16" if way == "loss_scale" else "float32"
    layer = layers.Dense(1, use_bias=False, kernel_initializer="ones", kernel_regularizer=penalty, dtype=dtype)
    model = (OwnStep if way == "train_step" else keras.Sequential)([keras.Input((1,)), layer])
    optimizer = Proximal(optimizers.SGD(0.1))
    if way == "loop_built":
        optimizer.build(model.trainable_variables)
    if way == "loss_scale":
        optimizer = optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(0.0 * layer.kernel) + sum(model.losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    if way.startswith("loop"):
        step = step if eager else tf.function(step)
    else:
        model.compile(optimizer, lambda y, p: ops.mean(p * 0.0), run_eagerly=eager)
        step = functools.partial(model.fit, np.ones((2, 1)), np.ones((2, 1)), verbose=0)
    for count in (1, 2, 3):
        step()
        np.testing.assert_allclose(array(layer.kernel), 1 - 0.1 * count, rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function is TensorFlow's")
@pytest.mark.parametrize(
    ("penalty", "accumulated"),
    [
        (keras.regularizers.L1(0.3), None),
        pytest.param(keras.regularizers.L2(0.3), 2, marks=pytest.mark.slow),
        pytest.param(keras.regularizers.L1L2(0.3, 0.3), None, marks=pytest.mark.slow),
        (GroupLasso(0.3), 2),
        pytest.param(SparseGroupLasso(0.2, 0.2), None, marks=pytest.mark.slow),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_loop_of_ones_own_that_autograph_converts(penalty, accumulated):
    """`tf.function` rewrites the Python that it traces, unlike `fit`: the same weights in the end."""
    import tensorflow as tf

    options = {"gradient_accumulation_steps": accumulated}
    fitted, looped = (make(Proximal(optimizers.Adam(0.05, **options)), penalty) for _ in range(2))
    optimizer = looped.optimizer
    optimizer.build(looped.trainable_variables)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(looped(x) - y)) + sum(looped.losses)
        optimizer.apply(tape.gradient(loss, looped.trainable_variables), looped.trainable_variables)

    for _ in range(4):
        step(tf.constant(X), tf.constant(Y))
        fitted.train_on_batch(X, Y)
    np.testing.assert_allclose(kernel(looped), kernel(fitted), atol=1e-6)


@pytest.mark.parametrize(
    ("returned", "received"),
    [(lambda value: None, "None"), (ops.sum, r"\(\)"), (lambda value: value[:1], r"\(1, \d+\)")],
    ids=["nothing", "a number", "a row"],
)
def test_a_map_that_returns_no_weights(returned, received):
    class Careless(keras.Regularizer):
        def __call__(self, x):
            return 0.0 * ops.sum(x)

    tf_reg.register_prox(Careless)(lambda regularizer, value, step: returned(value))
    with pytest.raises(ValueError, match=rf"returns the new weights, .* Received {received} for .*Careless"):
        fit(make(Proximal("sgd"), Careless()))


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="Keras on JAX asks for a new optimizer then")
def test_a_layer_that_stops_training_keeps_its_weights():
    model = keras.Sequential([keras.Input((10,))] + [layers.Dense(2, kernel_regularizer="l1") for _ in range(2)])
    optimizer = Proximal("sgd", strength=1e5)
    model.compile(optimizer, "mse")
    optimizer.build(model.trainable_variables)
    first, second = model.layers
    first.trainable = False
    before = array(first.kernel)
    model.compile(optimizer, "mse")
    fit(model)
    np.testing.assert_array_equal(array(first.kernel), before)
    assert (array(second.kernel) == 0).all()
