"""Every channel is known with all of its numbers: killed, it can be removed, and nothing else."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.compaction.filling import no_warning_of_masks
from tests.compaction.random_models import random_model
from tests.compaction.test_compact import filled
from tf_reg.compaction.check import compare
from tf_reg.compaction.compact import compact
from tf_reg.compaction.coupled import channels
from tf_reg.compaction.plan import plan_compaction

pytestmark = [pytest.mark.contract, no_warning_of_masks]
PLAIN, SLOW = 2 if keras.backend.backend() == "jax" else 4, 40  # random models


def set_to(slices, chosen, number):
    """Set all numbers of one channel in some slices."""
    for one in slices:
        value = ops.convert_to_numpy(one.variable.value).copy()
        np.moveaxis(value, one.axis, 0)[one.places[chosen].ravel()] = number
        one.variable.assign(value)


def removed(model):
    """Which places along which axes of which variables go."""
    removal = plan_compaction(model).removal
    kept = {id(variable): removal.along(variable) for variable in model.variables}
    return {
        (key, axis, int(at)) for key, along in kept.items() for axis, k in enumerate(along) for at in np.where(~k)[0]
    }


def expected(group, chosen):
    return {(id(one.variable), one.axis, int(at)) for one in group.slices for at in one.places[chosen]}


@pytest.mark.parametrize("seed", [pytest.param(s, marks=[] if s < PLAIN else pytest.mark.slow) for s in range(SLOW)])
def test_a_killed_channel_is_removed_with_all_of_its_numbers_and_no_other(seed):
    model = filled(random_model(seed), seed)
    random = np.random.default_rng(seed)
    assert removed(model) == set()
    free = [group for group in channels(model).free if group.size > 1]
    for group in free:
        before = [ops.convert_to_numpy(variable.value) for variable in model.variables]
        chosen = random.integers(group.size)
        set_to(group.with_role("read"), chosen, 0)
        assert removed(model) == expected(group, chosen), group
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)
        # Without the numbers that make it, it is the constant zero up to its first activation.
        set_to([one for one in group.with_role("made") if one.trains], chosen, 0)
        np.testing.assert_array_equal(np.flatnonzero(group.dead()), [chosen])
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)
    assert free or seed >= PLAIN


def residual():
    """A residual stream of a shared layer, a nested model and a depthwise convolution; an unknown layer behind it."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    shared = layers.Conv2D(4, 3, padding="same", use_bias=False, name="shared")
    inside = keras.Input((6, 6, 4))
    inner = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(layers.BatchNormalization(name="bn")(inside))
    nested = keras.Model(inside, layers.Conv2D(5, 1, name="project")(inner), name="nested")
    x = layers.Add()([x, shared(x), shared(shared(x))])
    x = layers.Flatten()(nested(x))
    held = layers.LayerNormalization(name="barrier")(layers.Dense(3, name="held")(x))
    return keras.Model(inputs, layers.Dense(2, name="last")(held))


def test_the_report_names_producers_readers_and_what_holds():
    report = channels(residual())
    found = {group.name: group for group in report.groups}
    assert set(found) == {"stem + shared", "project", "held", "last"}
    stream = found["stem + shared"]
    roles = [(one.layer.name, one.variable.name, one.axis, one.role, one.count) for one in stream.slices]
    assert roles == [
        ("stem", "kernel", 3, "made", 27),
        ("stem", "bias", 0, "made", 1),
        ("shared", "kernel", 2, "read", 36),
        ("shared", "kernel", 3, "made", 36),
        ("bn", "gamma", 0, "made", 1),
        ("bn", "beta", 0, "made", 1),
        ("bn", "moving_mean", 0, "made", 1),
        ("bn", "moving_variance", 0, "made", 1),
        ("depthwise", "kernel", 2, "made", 9),
        ("depthwise", "bias", 0, "made", 1),
        ("project", "kernel", 2, "read", 5),
    ]
    assert [one.trains for one in stream.slices] == [one.variable.name[:6] != "moving" for one in stream.slices]
    assert (stream.size, stream.readers, stream.held) == (4, ("shared", "project"), None)
    [rows] = found["project"].with_role("read")
    assert rows.places.shape == (5, 36), "after Flatten a channel has a row for each position"
    assert rows.places[1].tolist() == list(range(1, 180, 5))
    np.testing.assert_array_equal(rows.numbers(), ops.convert_to_numpy(rows.variable)[rows.places].reshape(5, -1))
    assert found["held"].held == "barrier (LayerNormalization)"
    assert found["last"].held == "output of the model"
    assert str(report).splitlines()[0].startswith("made by        held by")
    assert str(report).splitlines()[-1] == "9 channels can be removed, 5 are held"


def test_frozen_layers_count_as_dead_too():
    model = filled(residual())
    model.trainable = False
    stream = channels(model).groups[0]
    set_to([one for one in stream.with_role("made") if one.trains], 2, 0)
    set_to(stream.with_role("read"), 3, 0)
    assert stream.dead().tolist() == [False, False, True, True]
    small = compact(model)
    assert small.get_layer("stem").filters == 2
    assert compare(model, small).within_rounding


def test_the_channels_of_an_embedding_and_of_a_model_without_any():
    model = keras.Sequential([keras.Input((5,)), layers.Embedding(7, 3), layers.Flatten(), layers.Dense(2)])
    group, last = channels(model).groups
    assert [(one.variable.name, one.axis, one.role) for one in group.slices] == [
        ("embeddings", 1, "made"),
        ("kernel", 0, "read"),
    ]
    assert last.held == "output of the model"
    assert channels(keras.Sequential([keras.Input((5,)), layers.ReLU()])).groups == ()
    with pytest.raises(ValueError, match="functional or sequential"):
        channels(None)
