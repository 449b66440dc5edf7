"""Penalties of whole channels: which weights have a part of them, and what becomes of it."""

from __future__ import annotations

import copy
import pickle

import keras
import numpy as np
import pytest
from keras import ops

import tf_reg
from tests.rules.coupled_networks import IMAGES, LABELS, compiled, residual
from tests.tools import mostly_slow
from tf_reg.penalties.channel_penalty import ChannelLasso, ChannelPenalty
from tf_reg.penalties.coupled import ChannelMember
from tf_reg.penalties.stand_in import unwrapped

pytestmark = pytest.mark.contract
PENALTIES = {
    "lasso": ChannelLasso(0.02),
    "norms": ChannelLasso(0.02, size_weights=False),
    "flops": ChannelLasso(0.02, size_weights="flops"),
    "mcp": ChannelPenalty(tf_reg.MCP(0.5, 5.0)),
    "scad": ChannelPenalty(tf_reg.SCAD(1.0), size_weights=False),
    "log_sum": ChannelPenalty(tf_reg.LogSum(0.02, 0.2), size_weights="flops"),
}


def loss_of(model):
    return float(ops.convert_to_numpy(sum(model.losses)))


def by_hand(model, penalty, trained=lambda layer: True):
    """The penalty from the numbers of each channel, without `ChannelMember`."""
    total = 0.0
    for group in tf_reg.channels(model).free:
        made = [one for one in group.slices if one.role == "made" and one.trains and trained(one.layer)]
        if made:
            numbers = np.concatenate([one.numbers() for one in made], axis=1)
            total += float(ops.convert_to_numpy(penalty(ops.convert_to_tensor(numbers.T))))
    return total


def test_every_weight_of_a_channel_has_a_part():
    model = residual()
    table = tf_reg.regularize(model, ChannelLasso(0.02))
    with_part = {one.path for one in table.weights}
    expected = {
        "stem/kernel", "stem_norm/gamma", "stem_norm/beta", "inner/kernel", "inner/bias", "inner_norm/gamma",
        "inner_norm/beta", "depthwise/kernel", "depthwise/bias", "outer/kernel", "outer/bias", "dense/kernel",
        "dense/bias",
    }  # fmt: skip
    assert with_part == expected
    assert all(one.saved for one in table.weights)
    assert "ChannelLasso(strength=0.02, size_weights=True)" in str(table)


@pytest.mark.parametrize(
    ("rule", "groups"),
    [
        (ChannelLasso(0.02), tf_reg.GroupLasso(0.02)),
        (ChannelLasso(0.02, size_weights=False), tf_reg.GroupLasso(0.02, size_weights=False)),
        (ChannelPenalty(tf_reg.MCP(0.02, 5.0)), tf_reg.MCP(0.02, 5.0, groups="outputs")),
        (ChannelPenalty(tf_reg.SCAD(0.02), False), tf_reg.SCAD(0.02, groups="outputs", size_weights=False)),
        (ChannelPenalty(tf_reg.LogSum(0.02, 0.2)), tf_reg.LogSum(0.02, 0.2, groups="outputs")),
    ],
    ids=lambda one: getattr(getattr(one, "penalty", one), "__class__", type(one)).__name__,
)
def test_the_value_is_that_of_the_channels_as_columns(rule, groups):
    model = residual()
    tf_reg.regularize(model, rule)
    assert loss_of(model) == pytest.approx(by_hand(model, groups), rel=1e-5)


def test_weights_by_multiply_adds():
    """One channel of `stem + outer` costs 36 * (18 + 4) to make and 36 * 36 to read; 36 numbers of 4 for `dense`."""
    model = residual()
    tf_reg.regularize(model, ChannelLasso(1.0, size_weights="flops"))
    stem, inner, dense = (
        unwrapped(model.get_layer(name).kernel.regularizer).parts[0] for name in ("stem", "inner", "dense")
    )
    costs = np.array([36 * (18 + 4 + 36) + 4 * 6, 36 * (45 + 9 + 5), 20 + 3])
    found = np.array([one.unit * one.factor for one in (stem, inner, dense)])
    np.testing.assert_allclose(found / found[0], costs / costs[0], rtol=1e-6)
    counts = np.array([18 + 2 + 4 + 1, 45 + 1 + 2 + 9 + 1, 20 + 1])
    sizes = np.array([5, 4, 6])
    assert (found * sizes).sum() == pytest.approx((np.sqrt(counts) * sizes).sum(), rel=1e-6)


@pytest.mark.parametrize("name", mostly_slow(PENALTIES, "lasso"))
def test_the_gradient_is_that_of_the_whole_penalty(name):
    model = residual()
    tf_reg.regularize(model, PENALTIES[name])
    paths = ("stem/kernel", "stem_norm/gamma", "depthwise/kernel", "dense/kernel")
    for variable in [one for one in model.trainable_variables if one.path.endswith(paths)]:
        value = ops.convert_to_numpy(variable.value).copy()
        slope = gradient(model, variable)
        direction = slope / np.linalg.norm(slope)
        ends = []
        for shift in (1e-2, -1e-2):
            variable.assign(value + shift * direction)
            ends.append(loss_of(model))
        variable.assign(value)
        assert (slope * direction).sum() == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=1e-2), variable.path


def gradient(model, variable):
    """Of the sum of the losses, by one variable."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = sum(model.losses)
        return tape.gradient(loss, variable.value).numpy()
    if keras.backend.backend() == "torch":
        variable.value.grad = None
        sum(model.losses).backward()
        return variable.value.grad.numpy()
    import jax

    def losses(value):
        others = [(one, one.value) for one in model.variables if one is not variable]
        with keras.StatelessScope(state_mapping=[(variable, value), *others]):
            return sum(model.losses)

    return np.asarray(jax.grad(losses)(variable.value))


@pytest.mark.parametrize("frozen", ["stem", "stem_norm", "outer", "inner", "dense", "depthwise"])
def test_a_frozen_layer_has_no_part(frozen):
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.02, size_weights=False))
    model.get_layer(frozen).trainable = False
    expected = by_hand(model, tf_reg.GroupLasso(0.02, size_weights=False), lambda layer: layer.name != frozen)
    assert loss_of(model) == pytest.approx(expected, rel=1e-5)
    before = model.get_layer(frozen).get_weights()[0]
    step(model)
    np.testing.assert_array_equal(model.get_layer(frozen).get_weights()[0], before)
    for name in {"stem", "outer", "inner", "dense", "depthwise"} - {frozen}:
        assert not model.get_layer(name).get_weights()[0].any(), name


def step(model, strength=1e6):
    """A proximal step without a gradient."""
    optimizer = tf_reg.Proximal(keras.optimizers.SGD(1.0), strength)
    optimizer.build(model)
    optimizer.apply([ops.zeros(variable.shape) for variable in model.trainable_variables])


# What keeps the penalty.
def saved(model, path):
    model.save(path / "model.keras")
    return keras.models.load_model(path / "model.keras")


def cloned(model, path):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


KEPT_BY = {
    "save and load": saved,
    "clone_model": cloned,
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "deepcopy": lambda model, path: copy.deepcopy(model),
    "from_config": lambda model, path: with_weights(keras.Model.from_config(model.get_config()), model),
    "compact": lambda model, path: tf_reg.compact(model),
    "threshold": lambda model, path: tf_reg.threshold(model, 0.0),
    "nested": lambda model, path: keras.Sequential([keras.Input((6, 6, 2)), cloned(model, path)]),
    "nested and saved": lambda model, path: saved(keras.Sequential([keras.Input((6, 6, 2)), model]), path),
}


def with_weights(model, other):
    model.set_weights(other.get_weights())
    return model


@pytest.mark.parametrize("way", KEPT_BY)
def test_what_keeps_the_penalty(way, tmp_path):
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.02))
    expected = loss_of(model)
    other = KEPT_BY[way](model, tmp_path)
    assert loss_of(other) == pytest.approx(expected, rel=1e-6)
    step(other)
    inner = other if "nested" not in way else other.layers[-1]
    assert not inner.get_layer("stem").get_weights()[0].any()


def test_a_compacted_model_keeps_the_penalty_of_each_channel():
    """Numbers that have gone were zeros, so that the value is the same, whatever the size of a channel is now."""
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.02))
    for group in tf_reg.channels(model).free:
        for one in group.slices:
            value = np.array(one.variable)
            np.moveaxis(value, one.axis, 0)[one.places[:2].ravel()] = 0
            one.variable.assign(value)
    small = tf_reg.compact(model)
    assert small.count_params() < model.count_params()
    assert loss_of(small) == pytest.approx(loss_of(model), rel=1e-6)
    assert isinstance(small.get_layer("dense").kernel.regularizer, ChannelMember)


@pytest.mark.parametrize("optimizer", mostly_slow(["plain", "scaled"], "plain"))
def test_compiled_with_a_plain_optimizer_it_is_in_the_gradient_again(optimizer):
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.5))
    compiled(model, tf_reg.Proximal("adam")).fit(IMAGES, LABELS, verbose=0)
    inner = keras.optimizers.SGD(1e-2)
    compiled(model, inner if optimizer == "plain" else keras.optimizers.LossScaleOptimizer(inner))
    before = loss_of(model)
    model.fit(IMAGES, LABELS, epochs=5, verbose=0)
    assert loss_of(model) < 0.95 * before
    assert not any((np.array(v) == 0).all() for v in model.trainable_variables if v.name == "kernel")


def test_it_is_in_the_loss_once():
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.02))
    compiled(model, tf_reg.Proximal("sgd"))
    penalty = loss_of(model)
    logits = ops.convert_to_tensor(model(IMAGES))
    data = float(ops.convert_to_numpy(keras.losses.SparseCategoricalCrossentropy(True)(LABELS, logits)))
    assert model.evaluate(IMAGES, LABELS, verbose=0) == pytest.approx(data + penalty, rel=1e-5)
