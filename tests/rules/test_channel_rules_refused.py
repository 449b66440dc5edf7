"""Rules about channels that are refused, and several rules at once."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests.rules.coupled_networks import residual, two_branches
from tf_reg.penalties.channel_penalty import ChannelLasso

pytestmark = pytest.mark.contract


# What is refused.
def test_a_rule_for_one_of_two_coupled_layers_is_refused():
    model = residual()
    with pytest.raises(ValueError, match=r"\['stem'\].*'stem \+ outer'"):
        tf_reg.regularize(model, {"stem": ChannelLasso(0.02)})
    assert all(variable.regularizer is None for variable in model.trainable_variables)
    tf_reg.regularize(model, {"stem": (rule := ChannelLasso(0.02)), "outer": rule})


def test_two_rules_are_two_penalties():
    model = residual()
    tf_reg.regularize(model, {"inner": ChannelLasso(0.5), "dense": ChannelLasso(0.25), "*": keras.regularizers.L2(0.1)})
    kinds = {
        one.path: getattr(one.regularizer, "rule", one.regularizer) for one in tf_reg.regularizers_of(model).weights
    }
    assert kinds["inner_norm/gamma"].strength == 0.5
    assert kinds["dense/bias"].strength == 0.25
    assert isinstance(kinds["stem/kernel"], keras.regularizers.L2)
    assert isinstance(kinds["last/kernel"], keras.regularizers.L2)


def test_a_channel_penalty_without_channels_is_refused():
    model = residual()
    with pytest.raises(ValueError, match=r"last \(output of the model\)"):
        tf_reg.regularize(model, {"last": ChannelLasso(0.02)})


def test_a_model_with_a_call_of_its_own_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"A penalty of channels needs to find them.*functional"):
        tf_reg.regularize(model, ChannelLasso(0.02))


def test_as_the_regularizer_of_a_layer_it_is_refused():
    with pytest.raises(ValueError, match=r"tf_reg.regularize\(model, tf_reg.ChannelLasso"):
        keras.Sequential([keras.Input((3,)), layers.Dense(2, kernel_regularizer=ChannelLasso(0.1))]).losses  # noqa: B018


def test_multiply_adds_need_known_sizes():
    inputs = keras.Input((None, None, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3, name="conv")(inputs))
    model = keras.Model(inputs, layers.Dense(2)(x))
    with pytest.raises(ValueError, match=r"'conv' aren't known.*keras.Input"):
        tf_reg.regularize(model, ChannelLasso(0.1, size_weights="flops"))


def test_a_weight_that_has_lost_its_part_is_refused():
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.02))
    model.get_layer("outer").kernel.regularizer = keras.regularizers.L2(0.1)
    with pytest.raises(ValueError, match=r"another regularizer since, .*outer"):
        model.losses  # noqa: B018
    tf_reg.remove_regularizers(model)
    assert model.losses == []


def test_other_rules_for_a_part_of_a_channel_are_refused():
    model = residual()
    with pytest.raises(ValueError, match=r"another rule for stem_norm/gamma"):
        tf_reg.regularize(model, {"**/gamma": keras.regularizers.L1(0.1), "*": ChannelLasso(0.02)})
    assert model.losses == []
    tf_reg.regularize(model, ChannelLasso(0.02))
    before = float(ops.convert_to_numpy(sum(model.losses)))
    for name, missing in (("outer", "stem/kernel"), ("stem_norm/gamma", "stem/kernel")):
        with pytest.raises(ValueError, match=rf"lose its penalty together.*{missing}"):
            tf_reg.regularize(model, {name: keras.regularizers.L2(0.1)})
    assert float(ops.convert_to_numpy(sum(model.losses))) == before
    tf_reg.regularize(model, keras.regularizers.L2(0.1))
    assert {one.path.split("/")[1] for one in tf_reg.regularizers_of(model).weights} == {"kernel"}


def test_attention_is_refused():
    inputs = keras.Input((3, 4))
    attention = layers.MultiHeadAttention(2, 2, name="mha")
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(3)(attention(inputs, inputs))))
    with pytest.raises(ValueError, match=r"one for all of its projections.*'mha': None"):
        tf_reg.regularize(model, ChannelLasso(0.02))
    tf_reg.regularize(model, {"mha": None, "*": ChannelLasso(0.02)})


def test_lora_is_refused():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.Dense(2)])
    tf_reg.regularize(model, ChannelLasso(0.02))
    model.layers[0].enable_lora(2)
    with pytest.raises(ValueError, match=r"whole weight, with 4 channels.*\(3, 2\).*before enable_lora"):
        model.losses  # noqa: B018


def test_a_loaded_layer_alone_is_refused():
    model = residual()
    tf_reg.regularize(model, ChannelLasso(0.02))
    layer = keras.models.clone_model(model).get_layer("stem")
    with pytest.raises(ValueError, match="Ask the whole model"):
        layer.losses  # noqa: B018


def test_a_step_without_a_weight_of_the_channels_is_refused():
    model = two_branches()
    tf_reg.regularize(model, ChannelLasso(0.02))
    optimizer = tf_reg.Proximal("sgd")
    optimizer.build(model.trainable_variables)
    kernel = model.get_layer("a").kernel
    with pytest.raises(ValueError, match="all weights of a channel in one step"):
        optimizer.apply([ops.zeros(kernel.shape)], [kernel])
