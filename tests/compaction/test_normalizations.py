"""Normalizations over channels keep them, or whole groups of them go."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from tests.compaction.filling import filled, kept, numpy, same, stack, zero
from tests.tools import needs_keras
from tf_reg._keras import application_layers
from tf_reg.compaction import plan
from tf_reg.compaction.channelwise import channelwise
from tf_reg.compaction.compact import compact

pytestmark = pytest.mark.contract


def test_layer_normalization_holds_channels_and_its_dead_ones_are_left_out():
    norm = layers.LayerNormalization(name="norm")
    model = stack(layers.Dense(8, name="first"), norm, layers.Dense(3, "relu", name="next"))
    norm.gamma.assign([1.0, 0.0, 2.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    zero(model.get_layer("next").kernel, 0, [6])
    small = compact(model)
    assert same(model, small)
    assert small.get_layer("first").units == 8
    assert small.get_layer("next").kernel.shape == (5, 3), "the bias has taken two constants over"
    assert plan.plan_compaction(model).held == {"norm (LayerNormalization)": 3}


@pytest.mark.slow
@needs_keras("layers.RMSNormalization")
def test_rms_normalization_holds_channels():
    model = stack(layers.Dense(6, name="first"), layers.RMSNormalization(name="norm"))
    zero(model.get_layer("norm").scale, 0, [0])
    small = compact(model)
    assert same(model, small)
    assert (small.get_layer("first").units, small.get_layer("last").kernel.shape) == (6, (5, 2))


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras 3.15 on torch normalizes the last axes only")
def test_along_another_axis_channels_go():
    model = stack(layers.Dense(6, name="first"), layers.LayerNormalization(axis=1), layers.UnitNormalization(axis=1))
    zero(model.get_layer("last").kernel, 0, [0, 3])
    assert kept(model)["first"] == 4


def test_whole_groups_go():
    norm = layers.GroupNormalization(4, name="norm")
    model = stack(layers.Dense(8, name="first"), norm)
    zero(model.get_layer("last").kernel, 0, [2, 3, 4])
    small = compact(model)
    assert same(model, small)
    assert (small.get_layer("first").units, small.get_layer("norm").groups) == (6, 3)
    for variable in (norm.gamma,):
        zero(variable, 0, [0, 1])
    assert kept(model)["first"] == 4, "a group of constants goes too"


@pytest.mark.slow
def test_zeros_have_no_part_in_a_norm():
    model = stack(layers.Dense(6, "tanh", name="first"), layers.UnitNormalization(name="norm"))
    first = model.get_layer("first")
    for variable in (first.kernel, first.bias):
        zero(variable, -1, [1, 4])
    zero(model.get_layer("last").kernel, 0, [2])
    assert kept(model)["first"] == 4
    assert plan.plan_compaction(model).held == {"norm (UnitNormalization)": 1}


@pytest.mark.slow
@pytest.mark.parametrize("scale", [3.0, [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_rescaling(scale):
    model = stack(layers.Dense(5, name="first"), layers.Rescaling(scale, offset=1.0))
    zero(model.get_layer("last").kernel, 0, [0])
    zero(model.get_layer("first").kernel, 1, [1])
    assert kept(model)["first"] == (3 if scale == 3.0 else 5)


def test_a_layer_scale_of_zero_makes_constants():
    [layer_scale], [depth] = (application_layers("convnext", name) for name in ("LayerScale", "StochasticDepth"))
    scale = layer_scale(0.1, 6, name="scale")
    model = stack(layers.Dense(6, name="first"), scale, depth(0.2))
    scale.gamma.assign([1.0, 0.0, 2.0, 0.0, 1.0, 1.0])
    small = compact(model)
    assert same(model, small)
    assert (small.get_layer("first").units, small.get_layer("scale").projection_dim) == (4, 4)
    np.testing.assert_array_equal(numpy(small.get_layer("scale").gamma), [1.0, 2.0, 1.0, 1.0])


@pytest.mark.slow
def test_groups_of_a_convolution_go_as_wholes():
    inputs = keras.Input((6, 8))
    conv = layers.Conv1D(12, 3, padding="same", groups=4, activation="relu", name="conv")
    last = layers.Dense(2, name="last")
    model = filled(keras.Model(inputs, last(conv(layers.Dense(8, name="first")(inputs)))))
    zero(last.kernel, 0, [3, 4, 5, 6])
    small = compact(model)
    assert same(model, small)
    assert (small.get_layer("conv").groups, small.get_layer("conv").filters) == (3, 9)
    assert small.get_layer("first").units == 6
    zero(conv.kernel, -1, [9, 10, 11])
    assert kept(model)["conv"] == 6, "a group of constants goes too"


def test_a_normalization_that_forgets_the_other_channels_is_caught(monkeypatch):
    model = stack(layers.Dense(6), layers.LayerNormalization(scale=False, center=False))
    zero(model.get_layer("last").kernel, 0, [1])
    monkeypatch.setitem(plan.RULES, layers.LayerNormalization, channelwise)
    with pytest.raises(RuntimeError, match="computes something else"):
        compact(model)
