"""Penalties of channels with factors, averages of gradients and targets."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests.rules.coupled_networks import IMAGES, LABELS, compiled, residual
from tests.tools import slow_on_tensorflow
from tf_reg.penalties.channel_penalty import ChannelLasso, ChannelPenalty

pytestmark = pytest.mark.contract


def test_sizes_are_those_of_whole_channels():
    """The root mean square of all numbers, at each place of a weight; those of a pilot where one is given."""
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.02))
    group = next(one for one in tf_reg.channels(model).free if "stem" in one.producers)
    made = [one for one in group.slices if one.role == "made" and one.trains]
    for times, weights in ((1, None), (3, {id(one.variable): 3 * ops.convert_to_numpy(one.variable) for one in made})):
        expected = times * np.sqrt(np.square(np.concatenate([one.numbers() for one in made], axis=1)).mean(axis=1))
        for one in made:
            value = one.variable if weights is None else ops.convert_to_tensor(weights[id(one.variable)])
            penalty = one.variable.regularizer
            found = ops.convert_to_numpy(penalty.sizes(ops.convert_to_tensor(value), weights))
            assert found.shape == penalty.factor_shape(one.variable.shape)
            np.testing.assert_allclose(found.ravel(), expected, rtol=1e-5)


@pytest.mark.parametrize("inner", ["sgd", "adam"])
def test_factors_are_those_of_channels(inner):
    """With the factors of one channel at zero, the penalty leaves it alone."""
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.02))
    optimizer = tf_reg.Proximal(keras.optimizers.get(inner), 1e6, penalty_factors=True)
    optimizer.learning_rate = 1.0
    optimizer.build(model)
    for name in ("stem", "outer"):
        factor = optimizer.penalty_factor_of(model.get_layer(name).kernel)
        assert factor.shape == (1, 1, 1, 5)
        factor.assign(ops.reshape(ops.convert_to_tensor([1.0, 0.0, 1.0, 1.0, 1.0]), (1, 1, 1, 5)))
    before = [layer.get_weights()[0] for layer in (model.get_layer("stem"), model.get_layer("outer"))]
    ones = [ops.ones(variable.shape) * 1e-9 for variable in model.trainable_variables]
    optimizer.apply(ones)
    for name, old in zip(("stem", "outer"), before, strict=True):
        new = model.get_layer(name).get_weights()[0]
        gone = [0, 2, 3, 4]
        if inner == "sgd":
            assert not new[..., gone].any()
            np.testing.assert_allclose(new[..., 1], old[..., 1], atol=1e-6)
        else:  # in its first step Adam moves each weight by the learning rate, and the penalty by about as much
            assert np.abs(new[..., gone]).sum() < np.abs(new[..., 1]).sum() * 4


def test_the_loss_in_training_has_each_channel_once():
    """There a group's first weight reports all of it; asked alone, each weight reports its share."""
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.02))
    compiled(model, tf_reg.Proximal(keras.optimizers.SGD(0.0)))
    expected = sum(float(ops.convert_to_numpy(one)) for one in model.losses)
    data = float(ops.convert_to_numpy(ops.mean(model.loss(LABELS, model(IMAGES, training=True)))))
    assert expected > 0.1
    assert float(model.train_on_batch(IMAGES, LABELS)) == pytest.approx(data + expected, rel=1e-4)


@slow_on_tensorflow
def test_reweighted_channels_and_averages():
    """Callbacks and dual averaging work on channels: the factors of all weights of a channel are equal."""
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.005))
    optimizer = tf_reg.Proximal(keras.optimizers.SGD(0.05), penalty_factors=True, dual_averaging=True)
    compiled(model, optimizer)
    model.fit(IMAGES, LABELS, epochs=3, verbose=0, callbacks=[tf_reg.Reweight(scale=0.1)])
    for group in tf_reg.channels(model).free:
        made = [one for one in group.slices if one.role == "made" and one.trains]
        found = [np.ravel(ops.convert_to_numpy(optimizer.penalty_factor_of(one.variable))) for one in made]
        for one in found[1:]:
            np.testing.assert_allclose(one, found[0], rtol=1e-5)
        assert found[0].min() < found[0].max()


def test_concave_channel_penalties_and_averages_are_refused():
    model = residual()
    tf_reg.regularize(model, ChannelPenalty(tf_reg.MCP(0.1)))
    with pytest.raises(ValueError, match=r"needs convex penalties.*MCP"):
        tf_reg.Proximal("sgd", dual_averaging=True).build(model)


@slow_on_tensorflow
@pytest.mark.filterwarnings("ignore:TargetSparsity.* steps to search")
def test_the_target_is_a_share_of_channels():
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.01))
    compiled(model, tf_reg.Proximal(keras.optimizers.SGD(0.02, momentum=0.9)))
    target = tf_reg.TargetSparsity(0.2, of="channels", exact=True)
    model.fit(IMAGES, LABELS, batch_size=8, epochs=12, verbose=0, callbacks=[target])
    free = tf_reg.channels(model).free
    assert sum(one.dead().sum() for one in free) == round(0.2 * sum(one.size for one in free))


def test_models_of_the_same_names_in_one_step():
    """And a penalty that only one weight has: these layers have no biases."""
    parts = [keras.Sequential(name=name) for name in ("one", "two")]
    for part in parts:
        for layer in (keras.Input((3,)), layers.Dense(4, use_bias=False, name="a"), layers.Dense(1, name="b")):
            part.add(layer)
        tf_reg.regularize(part, ChannelLasso(0.1))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Add()([part(inputs) for part in parts]))
    optimizer = tf_reg.Proximal(keras.optimizers.SGD(1.0), strength=1e3)
    optimizer.build(model)
    optimizer.apply([ops.zeros(variable.shape) for variable in model.trainable_variables])
    assert [np.count_nonzero(part.get_layer("a").get_weights()[0]) for part in parts] == [0, 0]


@pytest.mark.parametrize("inner", ["sgd", pytest.param("adam", marks=pytest.mark.slow)])
def test_the_optimizer_of_a_compacted_model_keeps_factors(inner):
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.02))
    compiled(model, tf_reg.Proximal(inner, penalty_factors=True))
    tf_reg.set_penalty_factors(model, model)
    for layer, index in (("inner", 0), ("inner_norm", 0), ("inner_norm", 1), ("depthwise", 0)):
        weights = model.get_layer(layer).get_weights()
        for value in weights[: index + 1] + weights[1:2]:
            value[..., 1 if layer != "depthwise" or value.ndim == 1 else slice(1, 2)] *= 0
        if layer == "depthwise":
            weights[0][:, :, 1] = 0
        model.get_layer(layer).set_weights(weights)
    small = tf_reg.compact(model, keep_optimizer=True)
    for layer in ("inner", "stem"):
        old, new = (one.optimizer.penalty_factor_of(one.get_layer(layer).kernel) for one in (model, small))
        stays = [0, 2, 3] if layer == "inner" else slice(None)
        np.testing.assert_array_equal(ops.convert_to_numpy(new), ops.convert_to_numpy(old)[..., stays])


def test_a_concave_penalty_that_averages_refuse_changes_nothing():
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.02))
    compiled(model, tf_reg.Proximal("sgd", dual_averaging=True))
    model.optimizer.build(model)
    before = float(ops.convert_to_numpy(sum(model.losses)))
    with pytest.raises(ValueError, match=r"needs convex penalties.*MCP"):
        tf_reg.regularize(model, tf_reg.MCP(0.1))
    assert float(ops.convert_to_numpy(sum(model.losses))) == before
    assert model.optimizer.pays(model.get_layer("stem").kernel)


@slow_on_tensorflow
def test_the_logger_counts_dead_channels():
    model = compiled(residual(), tf_reg.Proximal("sgd"))
    tf_reg.regularize(model, ChannelLasso(0.02))
    for weight in ("kernel", "bias"):
        variable = getattr(model.get_layer("dense"), weight)
        variable.assign(variable * ops.convert_to_tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]))
    logger, logs = tf_reg.RegularizationLogger(), {}
    logger.set_model(model)
    logger.on_epoch_end(0, logs)
    assert logs["dead_channels"] == 2
    assert logs["penalty"] == pytest.approx(float(ops.convert_to_numpy(sum(model.losses))), rel=1e-5)


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_a_clip_below_the_slope_is_said(clip):
    for limit, warns in ((1e-3, True), (10.0, False)):
        model = residual()
        tf_reg.regularize(model, ChannelLasso(1.0))
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            tf_reg.Proximal(keras.optimizers.SGD(0.1, **{clip: limit})).build(model.trainable_variables)
        assert any("is clipped at" in str(one.message) for one in found) == warns
