"""How many channels are made zero, and which."""

import keras
import numpy as np
import pytest

from tf_reg.compaction.coupled import channels
from tf_reg.selection.frontier import size_of
from tf_reg.selection.zeroing import importance, make_zero

pytestmark = pytest.mark.contract


@pytest.fixture
def model():
    hidden = [keras.layers.Dense(units, "relu", name=name) for name, units in (("a", 16), ("b", 8))]
    return keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(2, name="last")])


@pytest.mark.parametrize("share", [0.9, 0.5, 0.25])
def test_just_enough(model, share):
    whole = size_of(model).cost
    before = [np.array(weight) for weight in model.get_weights()]
    make_zero(model, share * whole)
    left = size_of(model, compacted=True).cost
    assert left <= share * whole
    one_more = max(4 + 8, 16 + 2)  # multiply-adds of a unit of either layer
    assert left > share * whole - one_more
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isin(new, [*old.ravel(), 0]).all()


def test_a_quarter_of_each_layer_stays(model):
    make_zero(model, 0)
    assert size_of(model, compacted=True).cost == 4 * 4 + 4 * 2 + 2 * 2


def test_the_smallest_beside_the_others_of_its_layer_goes_first(model):
    for name, small, scale in (("a", 3, 100.0), ("b", 5, 1.0)):
        layer = model.get_layer(name)
        kernel = np.full(layer.kernel.shape, scale)
        kernel[:, small] *= 0.1 if name == "a" else 0.2
        layer.set_weights([kernel, np.zeros(layer.units)])
    model.get_layer("last").set_weights([np.ones((8, 2)), np.zeros(2)])
    sizes = {group.producers: importance(group) for group in channels(model).free}
    assert np.argmin(sizes[("a",)]) == 3
    assert sizes[("a",)].mean() == pytest.approx(1)
    make_zero(model, size_of(model).cost - 1)
    dead = [np.flatnonzero(~np.array(model.get_layer(name).kernel).any(axis=0)).tolist() for name in "ab"]
    assert dead == [[3], []]
