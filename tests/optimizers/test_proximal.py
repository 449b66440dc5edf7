"""Proximal in training: the right step from the first one on, and everything an optimizer is asked to do in Keras."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers

import tf_reg
from tf_reg import _xla
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties import proximal_operators
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

pytestmark = pytest.mark.contract

INNER = {
    "sgd": lambda **k: optimizers.SGD(0.05, **k),
    "momentum": lambda **k: optimizers.SGD(0.02, momentum=0.9, **k),
    "nesterov": lambda **k: optimizers.SGD(0.02, momentum=0.9, nesterov=True, **k),
    "adam": lambda **k: optimizers.Adam(0.05, **k),
    "amsgrad": lambda **k: optimizers.Adam(0.05, amsgrad=True, **k),
    "adamw": lambda **k: optimizers.AdamW(0.05, weight_decay=0.01, **k),
    "rmsprop": lambda **k: optimizers.RMSprop(0.02, **k),
    "rmsprop_centered": lambda **k: optimizers.RMSprop(0.02, momentum=0.5, centered=True, **k),
    "adagrad": lambda **k: optimizers.Adagrad(0.5, **k),
}
X = np.random.default_rng(0).normal(size=(32, 10)).astype("float32")
Y = X[:, :3] @ np.array([[2.0, 0.0], [0.0, -1.0], [1.0, 1.0]], "float32")


def make(optimizer, penalty=None, units=2, **options):
    keras.utils.set_random_seed(1)
    penalty = penalty or keras.regularizers.L1(0.3)
    model = keras.Sequential([keras.Input((10,)), layers.Dense(units, kernel_regularizer=penalty)])
    model.compile(optimizer, "mse", **options)
    return model


def fit(model, epochs=1, batch_size=32, **options):
    options = {"verbose": 0, "shuffle": False, **options}
    return model.fit(X, Y, epochs=epochs, batch_size=batch_size, **options).history


def train(model, steps):
    """Full-batch steps, without the overhead of an epoch."""
    for _ in range(steps):
        model.train_on_batch(X, Y)


def array(x):
    return ops.convert_to_numpy(x).copy()


def kernel(model):
    return array(model.layers[0].kernel)


def soft(value, threshold):
    return np.sign(value) * np.maximum(np.abs(value) - threshold, 0)


def gradient(model):
    """Of the data loss alone."""
    weights, bias = (array(w) for w in model.layers[0].weights)
    return 2 * X.T @ (X @ weights + bias - Y) / Y.size


@pytest.mark.parametrize("eager", [False, True], ids=["compiled", "eager"])
def test_the_first_step_by_hand(eager):
    """Gradient of the data, then the map, and the penalty paid once: also before the optimizer was ever built."""
    sgd, adam = make(Proximal(optimizers.SGD(0.1)), run_eagerly=eager), make(Proximal("adam"), run_eagerly=eager)
    start, slope = kernel(sgd), gradient(sgd)
    fit(sgd)
    np.testing.assert_allclose(kernel(sgd), soft(start - 0.1 * slope, 0.1 * 0.3), atol=1e-6)
    fit(adam)
    step = 0.001 / (np.abs(slope) + 1e-7 / np.sqrt(0.001))  # at the first step Adam's v is gradient^2 / 1000
    np.testing.assert_allclose(kernel(adam), soft(start - step * slope, step * 0.3), atol=1e-6)


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
@pytest.mark.parametrize("way", ["train_step", "loss_scale", "loop", "loop_built"])
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
    ("penalty", "every"),
    [
        (keras.regularizers.L1(0.3), 1),
        (keras.regularizers.L2(0.3), 2),
        (keras.regularizers.L1L2(0.3, 0.3), 1),
        (GroupLasso(0.3), 2),
        (SparseGroupLasso(0.2, 0.2), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_loop_of_ones_own_that_autograph_converts(penalty, every):
    """`tf.function` rewrites the Python that it traces, unlike `fit`: the same weights in the end."""
    import tensorflow as tf

    fitted, looped = (make(Proximal(optimizers.Adam(0.05), every=every), penalty) for _ in range(2))
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


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_zeros_where_plain_keras_has_none(name):
    plain, proximal = make(INNER[name]()), make(Proximal(INNER[name]()))
    history = [fit(model, epochs=25)["loss"] for model in (plain, proximal)]
    assert (kernel(plain) != 0).all()
    assert (kernel(proximal) == 0).sum() >= 8
    assert history[0][0] == pytest.approx(history[1][0], rel=1e-6)
    penalty = 0.3 * np.abs(kernel(proximal)).sum()
    assert float(array(proximal.losses[0])) == pytest.approx(penalty, rel=1e-5)


def test_group_penalties_take_whole_columns_and_rows():
    for groups, axis in (("outputs", 0), ("inputs", 1)):
        model = make(Proximal(optimizers.Adam(0.05)), GroupLasso(0.35, groups=groups))
        train(model, 60)
        dead = (kernel(model) == 0).all(axis=axis)
        assert dead.any() == (groups == "inputs")
        assert not dead.all()
    model = make(Proximal(optimizers.SGD(0.1)), SparseGroupLasso(0.2, 0.2, groups="inputs"))
    train(model, 40)
    zero = kernel(model) == 0
    assert zero.all(axis=1).sum() >= 5
    assert (zero.any(axis=1) & ~zero.all(axis=1)).any()


def test_a_penalty_of_the_users_own():
    class Box(keras.Regularizer):
        """No weight above 0.1 in size."""

        def __call__(self, x):
            return 0.0 * ops.sum(x)

    @tf_reg.register_prox(Box)
    def clip(regularizer, value, step):
        return ops.clip(value, -0.1, 0.1)

    model = make(Proximal(INNER["adam"]()), Box())
    train(model, 10)
    assert np.abs(kernel(model)).max() == pytest.approx(0.1)


class Counting(keras.regularizers.Regularizer):
    """L1 that counts how often its Python code runs: once a trace, on a backend that compiles."""

    def __init__(self):
        self.count = 0

    def __call__(self, x):
        self.count += 1
        return 0.3 * ops.sum(ops.abs(x))


tf_reg.register_prox(Counting)(lambda r, v, s: proximal_operators.soft_threshold(v, s * 0.3))


def test_a_map_that_forgets_to_return():
    class Forgetful(keras.Regularizer):
        def __call__(self, x):
            return 0.0 * ops.sum(x)

    tf_reg.register_prox(Forgetful)(lambda regularizer, value, step: None)
    with pytest.raises(ValueError, match=r"Received None from that of .*Forgetful"):
        fit(make(Proximal("sgd"), Forgetful()))


def test_the_strength_takes_effect_at_the_next_step_without_a_new_trace():
    penalty = Counting()
    model = make(Proximal(optimizers.SGD(0.1)), penalty)
    fit(model)
    traces = penalty.count
    for strength in (0.0, 2.0):
        model.optimizer.strength = strength
        start, slope = kernel(model), gradient(model)
        loss = fit(model)["loss"][0]
        np.testing.assert_allclose(kernel(model), soft(start - 0.1 * slope, 0.1 * 0.3 * strength), atol=1e-6)
        nominal = 0.3 * np.abs(start).sum()
        assert loss > nominal
    if keras.backend.backend() != "torch":
        assert penalty.count == traces


def test_a_callback_sets_the_strength_within_fit():
    class Drop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.strength = 0.0

    model = make(Proximal(optimizers.SGD(0.1), strength=100.0))
    fit(model, callbacks=[Drop()])
    assert (kernel(model) == 0).all()
    fit(model, epochs=2, callbacks=[Drop()])
    assert (kernel(model) != 0).all()


def test_schedules_of_strength_and_learning_rate():
    """Both are those of the step that is made, counted from 0."""
    rate = optimizers.schedules.PiecewiseConstantDecay([0], [0.1, 0.02])
    strength = optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.5])
    model = make(Proximal(optimizers.SGD(rate), strength=strength))
    for lr, factor in ((0.1, 1.0), (0.02, 0.5), (0.02, 0.5)):
        assert float(array(model.optimizer.strength)) == pytest.approx(factor)
        start, slope = kernel(model), gradient(model)
        fit(model)
        np.testing.assert_allclose(kernel(model), soft(start - lr * slope, lr * 0.3 * factor), atol=1e-6)
    with pytest.raises(ValueError, match="was given a schedule"):
        model.optimizer.strength = 0.1


COMPILED = pytest.mark.parametrize(
    "jit_compile", [False, True] if keras.backend.backend() == "tensorflow" else ["auto"]
)


@COMPILED
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_every_k_th_step_with_the_sum_of_the_steps(name, jit_compile):
    """Between two maps the inner optimizer is alone; at the map, the strength of each step counts with its step."""
    plain = make(INNER[name](), keras.regularizers.L1(0.0), jit_compile=jit_compile)
    lazy = make(Proximal(INNER[name](), every=3), jit_compile=jit_compile)
    total, tau = 0.0, 0.0
    for count in (1, 2, 3):
        strength = 1.0 / count
        lazy.optimizer.strength = strength
        before = kernel(lazy)
        train(plain, 1), train(lazy, 1)
        inner = plain.optimizer
        tau = (inner.momentum if name == "momentum" else 0.0) * tau + float(array(inner.learning_rate))
        number = tau * np.sqrt(1 - 0.999**count) if name == "adam" else tau
        total += strength * number
        if count < 3:
            np.testing.assert_allclose(kernel(lazy), kernel(plain), rtol=1e-6)
    assert (before != 0).all()
    factor = 1 / (np.sqrt(array(inner._velocities[0])) + 1e-7) if name == "adam" else 1.0
    np.testing.assert_allclose(kernel(lazy), soft(kernel(plain), total * factor * 0.3), rtol=1e-3, atol=1e-5)


@COMPILED
@pytest.mark.parametrize("every", [1, 3])
def test_frozen_zeros_stay_while_the_rest_is_refitted(every, jit_compile):
    model = make(Proximal(optimizers.Adam(0.05), every=every), jit_compile=jit_compile)
    train(model, 30)
    assert not model.optimizer.frozen
    zeros = kernel(model) == 0
    assert 0 < zeros.sum() < zeros.size
    model.optimizer.freeze()
    model.optimizer.strength = 0.0
    for _ in range(4):
        fit(model)
        assert (kernel(model)[zeros] == 0).all()
    train(model, 100)
    assert model.optimizer.frozen
    support = ~zeros
    for output in range(2):
        chosen = X[:, support[:, output]]
        best, *_ = np.linalg.lstsq(np.c_[chosen, np.ones(len(X))], Y[:, output], rcond=None)
        np.testing.assert_allclose(kernel(model)[support[:, output], output], best[:-1], atol=2e-2)


@pytest.mark.parametrize("options", [{}, {"use_ema": True, "ema_momentum": 0.5}], ids=["weights", "averages"])
def test_zeros_are_zero_when_fit_ends_between_two_maps(options):
    """And before `freeze`; the map that was due later comes early, with the steps that there were."""
    settled, by_hand = (make(Proximal(INNER["momentum"](**options), every=4)) for _ in range(2))
    fit(settled, epochs=30)
    train(by_hand, 30)
    assert np.count_nonzero(kernel(by_hand) == 0) == 0
    by_hand.optimizer.freeze()
    zeros = kernel(by_hand) == 0
    assert zeros.any()
    np.testing.assert_array_equal(kernel(settled) == 0, zeros)
    before = kernel(by_hand)
    by_hand.optimizer.settle()
    np.testing.assert_array_equal(kernel(by_hand), before)


def test_unfrozen_zeros_come_back():
    model = make(Proximal(optimizers.SGD(0.1)))
    train(model, 10)
    model.optimizer.freeze()
    model.optimizer.strength = 0.0
    train(model, 2)
    assert (kernel(model) == 0).any()
    model.optimizer.unfreeze()
    train(model, 2)
    assert not (kernel(model) == 0).any()


def test_frozen_without_strength_zero_still_shrinks():
    model = make(Proximal(optimizers.SGD(0.1)))
    train(model, 10)
    model.optimizer.freeze()
    before = kernel(model)
    model.optimizer.strength = 1e6
    fit(model)
    assert (before != 0).any()
    assert (kernel(model) == 0).all()


@pytest.mark.parametrize("name", ["momentum", "rmsprop"])
def test_gradient_accumulation_is_a_larger_batch(name):
    """Four batches of 8 make the step that one batch of 32 makes; the three calls before it change nothing."""
    whole, parts = make(Proximal(INNER[name]())), make(Proximal(INNER[name](gradient_accumulation_steps=4)))
    for _ in range(3):
        fit(whole)
        fit(parts, batch_size=8)
        np.testing.assert_allclose(kernel(parts), kernel(whole), rtol=1e-4, atol=1e-6)
    before = kernel(parts)
    parts.train_on_batch(X[:8], Y[:8])
    np.testing.assert_array_equal(kernel(parts), before)


def test_moving_average_after_the_map_keeps_zeros():
    ema = {"use_ema": True, "ema_momentum": 0.8}
    model, single = make(Proximal(optimizers.SGD(0.1, **ema))), make(Proximal(optimizers.SGD(0.1)))
    average = None
    for _ in range(6):
        single.train_on_batch(X, Y)
        model.train_on_batch(X, Y)
        now = kernel(single)
        average = now if average is None else 0.8 * average + 0.2 * now
        average = np.where(now == 0, 0.0, average)
        np.testing.assert_allclose(
            array(model.optimizer.inner_optimizer._model_variables_moving_average[0]), average, atol=1e-6
        )
    assert (average == 0).any()
    np.testing.assert_allclose(kernel(model), kernel(single), atol=1e-6)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    np.testing.assert_allclose(kernel(model), average, atol=1e-6)
    fit(model, epochs=2)
    fit(model, epochs=2)
    assert (kernel(model) == 0).any()


def test_moving_average_overwrites_the_weights():
    """As Keras does for a variable without a penalty, step by step."""
    values = {}
    for name, wrap in (("plain", lambda o: o), ("proximal", Proximal)):
        variable = keras.Variable(np.array([3.0, -4.0], "float32"))
        inner = optimizers.SGD(1.0, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3)
        optimizer = wrap(inner)
        optimizer.build([variable])
        values[name] = []
        for _ in range(7):
            optimizer.apply([ops.ones(2)], [variable])
            values[name].append(array(variable))
    np.testing.assert_allclose(values["proximal"], values["plain"], rtol=1e-6)


def test_callbacks_that_look_at_the_optimizer():
    model = make(Proximal(optimizers.SGD(0.1, use_ema=True)))
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    rate = keras.callbacks.LearningRateScheduler(lambda epoch: 0.05 / (1 + epoch))
    history = fit(model, epochs=3, callbacks=[swap, rate], validation_data=(X, Y))
    np.testing.assert_allclose(history["learning_rate"], [0.05, 0.025, 0.05 / 3], rtol=1e-6)
    assert float(array(model.optimizer.learning_rate)) == pytest.approx(0.05 / 3)
    model.optimizer.learning_rate = 0.5
    assert float(array(model.optimizer.inner_optimizer.learning_rate)) == 0.5
    assert int(array(model.optimizer.iterations)) == 3


def test_loss_scale_is_the_inner_optimizers():
    plain, scaled = make(Proximal(optimizers.SGD(0.1))), make(Proximal(optimizers.SGD(0.1, loss_scale_factor=8.0)))
    assert scaled.optimizer.loss_scale_factor == 8.0
    for model in (plain, scaled):
        fit(model, epochs=3)
    np.testing.assert_allclose(kernel(scaled), kernel(plain), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_zeros(policy):
    keras.config.set_dtype_policy(policy)
    model = make(Proximal(optimizers.Adam(0.05)))
    train(model, 40)
    scaled = isinstance(model.optimizer, optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    assert (kernel(model) == 0).sum() >= 8
    assert np.isfinite(kernel(model)).all()
    inner = model.optimizer.inner_optimizer if scaled else model.optimizer
    assert isinstance(inner, Proximal)
    assert inner.loss_scale_factor is None


def test_loss_scale_skips_the_map_with_the_step():
    """A gradient that isn't finite changes nothing, the map's steps neither."""
    model = make(optimizers.LossScaleOptimizer(Proximal(optimizers.SGD(0.1)), initial_scale=2.0))
    fit(model)
    before = kernel(model)
    model.fit(np.full_like(X, np.inf), Y, verbose=0)
    np.testing.assert_array_equal(kernel(model), before)
    fit(model)
    assert (kernel(model) != before).any()


@pytest.mark.parametrize(
    ("clip", "penalty", "warns"),
    [
        ({"clipnorm": 0.1}, keras.regularizers.L1(0.3), True),
        ({"clipnorm": 0.5}, keras.regularizers.L1(0.3), False),
        ({"global_clipnorm": 0.1}, keras.regularizers.L1L2(0.3, 0.1), True),
        ({"clipvalue": 0.1}, keras.regularizers.L1(0.3), True),
        ({"clipnorm": 0.5}, GroupLasso(0.3), True),
        ({"clipnorm": 0.5}, GroupLasso(0.3, size_weights=False), False),
        ({"clipnorm": 0.4}, SparseGroupLasso(0.3, 0.3, size_weights=False), True),
        ({"clipnorm": 0.1}, keras.regularizers.L2(0.3), False),
        ({}, keras.regularizers.L1(0.3), False),
    ],
)
def test_a_clip_below_the_penalty_warns_and_is_right_to(clip, penalty, warns):
    model = make(Proximal(optimizers.SGD(0.1, **clip)), penalty)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.optimizer.build(model.trainable_variables)
    assert [str(w.message).startswith("The gradient of") for w in caught] == [True] * warns
    if warns and "clipvalue" not in clip:
        train(model, 120)
        assert (kernel(model) == 0).all()


@pytest.mark.parametrize("name", INNER)
def test_config_round_trips(name):
    optimizer = Proximal(INNER[name](clipnorm=1.0, use_ema=True), strength=0.5, every=4, name="mine")
    optimizer.build([keras.Variable(np.ones(2, "float32"))])
    config = optimizers.serialize(optimizer)
    copy = optimizers.deserialize(config)
    assert optimizers.serialize(copy) == config
    assert config["config"]["inner_optimizer"]["config"]["use_ema"]
    assert (copy.every, copy.name, float(array(copy.strength))) == (4, "mine", 0.5)


def test_config_keeps_a_schedule_and_a_changed_strength():
    schedule = optimizers.schedules.CosineDecay(1.0, 10)
    copy = Proximal.from_config(Proximal("sgd", strength=schedule).get_config())
    assert float(array(copy._strength(3))) == float(array(schedule(3)))
    optimizer = Proximal("sgd")
    optimizer.strength = 0.25
    assert Proximal.from_config(optimizer.get_config()).get_config()["strength"] == 0.25


@pytest.mark.parametrize(
    ("inner", "options"),
    [
        ({}, {"every": 3}),
        ({}, {"strength": optimizers.schedules.ExponentialDecay(2.0, 1, 0.9)}),
        ({"use_ema": True}, {"every": 3}),
        ({"gradient_accumulation_steps": 3}, {}),
        ({"gradient_accumulation_steps": 3}, {"every": 3}),
    ],
    ids=["every", "schedule", "average, every", "sum", "sum, every"],
)
def test_saved_and_resumed_bit_for_bit(tmp_path, inner, options):
    """Saved in the middle of a window of steps, frozen, and loaded in Keras' safe mode."""
    model = make(Proximal(optimizers.SGD(0.02, momentum=0.9, **inner), **options))
    fit(model, epochs=4, batch_size=8)
    model.fit(X[:8], Y[:8], verbose=0)
    model.optimizer.freeze()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.frozen
    assert fit(loaded, epochs=2, batch_size=8) == fit(model, epochs=2, batch_size=8)
    for mine, theirs in zip(
        loaded.variables + loaded.optimizer.variables, model.variables + model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(array(mine), array(theirs))


def test_what_is_refused():
    for every in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="every is a number of steps"):
            Proximal("sgd", every=every)
    for strength in (-1.0, float("nan"), float("inf"), "1"):
        with pytest.raises(ValueError, match="strength is a finite number"):
            Proximal("sgd", strength=strength)
    for strength in (-0.1, np.float32("nan"), "1"):
        with pytest.raises(ValueError, match="strength is a finite number"):
            Proximal("sgd").strength = strength
    with pytest.raises(ValueError, match=r"give it to the constructor, or use tf_reg\.StrengthSchedule"):
        Proximal("sgd").strength = optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
    proximal = Proximal("sgd", strength=np.float32(0.5))
    proximal.strength = Proximal("sgd", strength=np.int64(2)).strength
    assert float(array(proximal.strength)) == 2.0
    with pytest.raises(ValueError, match="LossScaleOptimizer"):
        Proximal(optimizers.LossScaleOptimizer(optimizers.SGD()))
    with pytest.raises(ValueError, match="Received: Proximal"):
        Proximal(Proximal("sgd"))
    with pytest.raises(ValueError, match="Received: Nadam"):
        Proximal("nadam")


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


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"every": 2}], ids=["every_step", "every_second"])
@pytest.mark.parametrize(
    "penalty",
    [keras.regularizers.L1L2(1e-3, 2e-3), keras.regularizers.L2(1e-3), GroupLasso(1e-3)],
    ids=["l1l2", "l2", "group"],
)
def test_compiled_for_large_kernels_and_not_for_small_ones_alike(monkeypatch, penalty, options):
    """On TensorFlow the map and the penalty of many weights are XLA kernels; elsewhere nothing differs."""
    results, losses = [], []
    for limit in (1, 10**9):
        monkeypatch.setattr(_xla, "WORTH_COMPILING", limit)
        model = make(Proximal(optimizers.Adam(0.01), **options), penalty, jit_compile=False)
        losses.append(fit(model, epochs=6)["loss"])
        results.append(kernel(model))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


OPTIONS = {
    "plain": {},
    "weight_decay": {"weight_decay": 0.1},
    "clipnorm": {"clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.1},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "moving average": {"use_ema": True, "ema_momentum": 0.9},
    "overwriting moving average": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 2},
    "accumulation": {"gradient_accumulation_steps": 2},
    "loss scale": {"loss_scale_factor": 4.0},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_without_penalties_it_is_the_inner_optimizer(name, options):
    """Whatever Keras' optimizers can do. (Keras averages before a constraint, Proximal after it.)"""
    found = []
    for wrap in (lambda inner: inner, Proximal):
        variables = [keras.Variable(np.array(value, "float32")) for value in ([[1.0, -2.0], [0.5, 3.0]], [4.0])]
        variables[0].constraint = None if "use_ema" in options else keras.constraints.NonNeg()
        optimizer = wrap(INNER[name](**options))
        optimizer.build(variables)
        for step in range(5):
            grads = [ops.convert_to_tensor(array(variable) - step) for variable in variables]
            optimizer.apply(grads, variables)
        optimizer.finalize_variable_values(variables)
        found.append([array(variable) for variable in variables])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


@pytest.mark.parametrize("constraint", [keras.constraints.UnitNorm(), keras.constraints.NonNeg()])
def test_constraints_hold_after_the_map(constraint):
    model = make(Proximal(optimizers.SGD(0.1)))
    model.layers[0].kernel.constraint = constraint
    train(model, 5)
    np.testing.assert_allclose(array(constraint(ops.convert_to_tensor(kernel(model)))), kernel(model), atol=1e-6)
    assert (kernel(model) == 0).any()


@pytest.mark.parametrize("option", ["weight_decay", "clipvalue"])
def test_weight_decay_and_clipping_come_before_the_map(option):
    model = make(Proximal(optimizers.SGD(0.1, **{option: 0.4})))
    start, slope = kernel(model), gradient(model)
    fit(model)
    decayed = start * (1 - 0.1 * 0.4) - 0.1 * slope
    moved = decayed if option == "weight_decay" else start - 0.1 * np.clip(slope, -0.4, 0.4)
    np.testing.assert_allclose(kernel(model), soft(moved, 0.1 * 0.3), atol=1e-6)


def test_pickled_and_loaded():
    model = make(Proximal(optimizers.Adam(0.05), strength=0.5))
    fit(model, epochs=2)
    model.optimizer.freeze()
    copy = pickle.loads(pickle.dumps(model))
    assert copy.optimizer.frozen
    assert fit(copy) == fit(model)
    np.testing.assert_array_equal(kernel(copy), kernel(model))


def script(code, *arguments):
    """Run Python in a process of its own, with this backend."""
    environment = {**os.environ, "PYTHONPATH": str(Path(tf_reg.__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_loading_without_the_library_says_what_is_missing(tmp_path):
    model = make(Proximal("adam"))
    fit(model)
    model.save(tmp_path / "model.keras")
    load = "import sys, keras; keras.models.load_model(sys.argv[1])"
    without = script(load, tmp_path / "model.keras")
    assert without.returncode != 0
    assert "Proximal" in without.stderr
    assert "tf_reg" in without.stderr
    assert script("import tf_reg.optimizers\n" + load, tmp_path / "model.keras").returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="MirroredStrategy is TensorFlow's")
def test_two_mirrored_devices_equal_one():
    """20 steps in float64 on two logical devices, then frozen ones: SGD, Adam, groups, `every`, moving averages."""
    code = """
    import contextlib
    import keras, numpy as np, tensorflow as tf
    from tf_reg.optimizers import Proximal
    from tf_reg.penalties import proximal_operators
from tf_reg.penalties.group_lasso import GroupLasso

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    keras.config.set_floatx("float64")
    rng = np.random.default_rng(0)
    data = tf.data.Dataset.from_tensor_slices((rng.normal(size=(40, 6)), rng.normal(size=(40, 3)))).batch(20)

    def run(strategy, inner, every):
        keras.utils.set_random_seed(0)
        with strategy.scope() if strategy else contextlib.nullcontext():
            layers = [keras.layers.Dense(5, "tanh", kernel_regularizer=GroupLasso(0.05)),
                      keras.layers.Dense(3, kernel_regularizer="l1")]
            model = keras.Sequential([keras.Input((6,)), *layers])
            model.compile(Proximal(inner(), every=every), "mse")
        first = model.fit(data, epochs=10, verbose=0, shuffle=False).history["loss"]
        model.optimizer.freeze()
        model.optimizer.strength = 0.5
        second = model.fit(data, epochs=2, verbose=0, shuffle=False).history["loss"]
        return [*model.get_weights(), first, second]

    optimizers = keras.optimizers
    for inner in (lambda: optimizers.SGD(0.05), lambda: optimizers.SGD(0.05, momentum=0.9),
                  lambda: optimizers.Adam(0.02), lambda: optimizers.Adam(0.02, use_ema=True)):
        for every in (1, 3):
            one = run(None, inner, every)
            two = run(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), inner, every)
            for a, b in zip(one, two):
                np.testing.assert_allclose(a, b, atol=1e-10)
    print("equal")
    """
    result = script(code)
    assert result.stdout.endswith("equal\n"), result.stderr
