"""Penalties of channels with factors, averages of gradients and targets."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

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
def test_the_target_is_a_share_of_channels():
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.01))
    compiled(model, tf_reg.Proximal(keras.optimizers.SGD(0.02, momentum=0.9)))
    target = tf_reg.TargetSparsity(0.2, of="channels", exact=True)
    model.fit(IMAGES, LABELS, batch_size=8, epochs=12, verbose=0, callbacks=[target])
    free = tf_reg.channels(model).free
    assert sum(one.dead().sum() for one in free) == round(0.2 * sum(one.size for one in free))
