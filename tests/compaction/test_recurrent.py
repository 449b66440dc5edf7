"""Recurrent units go as wholes: with all of their gates, and through time."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.compaction.filling import filled, kept, numpy, same, stack, zero
from tests.tools import mostly_slow
from tf_reg import GroupLasso
from tf_reg.compaction.compact import compact
from tf_reg.compaction.plan import plan_compaction

pytestmark = pytest.mark.contract
GATES = {layers.SimpleRNN: 1, layers.LSTM: 4, layers.GRU: 3}
KINDS = {
    "simple": layers.SimpleRNN,
    "lstm": layers.LSTM,
    "gru": layers.GRU,
    "gru that resets before": functools.partial(layers.GRU, reset_after=False),
}


def blocks(layer, units):
    """The places of units along the last axis of a layer's weights."""
    return [unit + layer.units * gate for gate in range(GATES[type(layer)]) for unit in units]


def without_readers(layer, units, last):
    """Nobody reads some units: not the others, and not the next layer."""
    others = [unit for unit in range(layer.units) if unit not in units]
    kernel = numpy(layer.cell.recurrent_kernel).copy()
    kernel[np.ix_(units, blocks(layer, others))] = 0
    layer.cell.recurrent_kernel.assign(kernel)
    zero(last.kernel, 0, units)


@pytest.mark.parametrize("kind", mostly_slow(KINDS, "lstm"))
@pytest.mark.parametrize("sequences", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_units_that_nobody_reads_go_although_they_read_themselves(kind, sequences):
    layer = KINDS[kind](5, return_sequences=sequences, dropout=0.3)
    model = stack(layer)
    without_readers(layer, [1, 3], model.get_layer("last"))
    small = compact(model)
    assert same(model, small)
    assert small.layers[0].units == 3
    places = blocks(layer, [0, 2, 4])
    np.testing.assert_array_equal(numpy(small.layers[0].cell.kernel), numpy(layer.cell.kernel)[:, places])
    np.testing.assert_array_equal(numpy(small.layers[0].cell.bias), numpy(layer.cell.bias)[..., places])


@pytest.mark.slow
def test_a_unit_that_another_one_reads_stays():
    layer = layers.LSTM(5)
    model = stack(layer)
    zero(model.get_layer("last").kernel, 0, [1])
    assert kept(model)[layer.name] == 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS)[1:])
def test_a_unit_whose_new_value_is_zero_is_zero_whatever_its_gates_are(kind):
    layer = KINDS[kind](5)
    words = layers.Embedding(7, 4, mask_zero=True)
    model = filled(keras.Sequential([keras.Input((4,), dtype="int32"), words, layer, layers.Dense(2)]))
    new = [2 * 5 + unit for unit in (0, 3)]
    for variable in layer.cell.trainable_variables:
        zero(variable, -1, new)
    assert kept(model)[layer.name] == 3
    zero(layer.cell.bias, -1, [])
    layer.cell.bias.assign(np.where(numpy(layer.cell.bias) == 0, 0.5, numpy(layer.cell.bias)))
    assert kept(model)[layer.name] == 5, "with a bias it isn't zero"


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_a_constant_of_a_simple_layer_isnt_one_under_a_mask(masked):
    """Where a mask leaves the first step out, the value is still that of the start."""
    layer = layers.SimpleRNN(5)
    words = layers.Embedding(7, 4, mask_zero=masked)
    last = layers.Dense(2)
    model = filled(keras.Sequential([keras.Input((4,), dtype="int32"), words, layer, last]))
    for variable in (layer.cell.kernel, layer.cell.recurrent_kernel):
        zero(variable, -1, [2])
    zero(layer.cell.recurrent_kernel, 0, [2])
    assert kept(model)[layer.name] == (5 if masked else 4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS)[1:])
def test_constant_inputs_move_into_the_bias(kind):
    first, layer = layers.Dense(4, "tanh", name="first"), KINDS[kind](3)
    model = stack(first, layer)
    zero(first.kernel, 1, [0, 2])
    assert kept(model)["first"] == 2


@pytest.mark.slow
def test_a_bias_is_made_where_there_is_none():
    first, layer = layers.Dense(4, "tanh", name="first"), layers.GRU(3, use_bias=False)
    model = stack(first, layer)
    zero(first.kernel, 1, [0, 2])
    assert kept(model)["first"] == 2
    assert compact(model).layers[1].use_bias


@pytest.mark.slow
def test_inputs_that_nobody_reads_are_left_out():
    layer = layers.LSTM(3, name="lstm")
    model = stack(layer)
    zero(layer.cell.kernel, 0, [0, 1, 4])
    small = compact(model)
    assert same(model, small)
    assert small.get_layer("lstm").cell.kernel.shape == (2, 12)


@pytest.mark.slow
def test_states_that_go_on_in_another_layer_go_together():
    inputs = keras.Input((4, 3))
    first, second = layers.LSTM(4, return_state=True, name="first"), layers.LSTM(4, name="second")
    _, *states = first(inputs)
    last = layers.Dense(2)
    model = filled(keras.Model(inputs, last(second(inputs, initial_state=states))))
    without_readers(second, [1], last)
    assert kept(model) == {"first": 4, "second": 4, last.name: 2}, "the first layer still reads its unit"
    without_readers(first, [1], last)
    assert kept(model) == {"first": 3, "second": 3, last.name: 2}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave"])
def test_both_directions_lose_the_same_units(mode):
    both = layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode=mode, name="both")
    model = stack(both)
    last = model.get_layer("last")
    for number, layer in enumerate((both.forward_layer, both.backward_layer)):
        without_readers(layer, [2], last)
        if mode == "concat":
            zero(last.kernel, 0, [2 + 4 * number])
    small = compact(model)
    assert same(model, small)
    assert small.get_layer("both").forward_layer.units == small.get_layer("both").backward_layer.units == 3
    assert keras.models.clone_model(small).output_shape == model.output_shape


@pytest.mark.slow
def test_what_isnt_known_is_a_barrier_with_its_name():
    stateful = keras.Sequential([keras.Input(batch_shape=(2, 4, 3)), layers.LSTM(4, stateful=True, name="mine")])
    stateful.add(layers.Dense(2))
    zero(filled(stateful).layers[-1].kernel, 0, [1])
    assert plan_compaction(stateful).held == {"mine (LSTM)": 1}
    cells = stack(layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)], name="cells"))
    zero(cells.get_layer("last").kernel, 0, [0, 1])
    assert plan_compaction(cells).held == {"cells (RNN)": 2}


@pytest.mark.slow
def test_a_penalty_on_groups_keeps_its_value():
    layer = layers.GRU(5, kernel_regularizer=GroupLasso(0.1), recurrent_regularizer=GroupLasso(0.1, groups="inputs"))
    model = stack(layer)
    for variable in layer.cell.trainable_variables:
        zero(variable, -1, blocks(layer, [1, 3]))
    zero(layer.cell.recurrent_kernel, 0, [1, 3])
    small = compact(model)
    assert small.layers[0].units == 3
    np.testing.assert_allclose(numpy(sum(small.losses)), numpy(sum(model.losses)), rtol=1e-6)


def test_gates_that_are_cut_at_wrong_places_are_caught(monkeypatch):
    layer = layers.LSTM(4)
    model = stack(layer)
    zero(layer.cell.recurrent_kernel, 0, [1])
    zero(model.get_layer("last").kernel, 0, [1])
    assert kept(model)[layer.name] == 3
    monkeypatch.setattr("tf_reg.compaction.recurrent.np.tile", np.repeat)
    with pytest.raises(RuntimeError, match="computes something else"):
        compact(model)


@pytest.mark.slow
def test_a_compacted_recurrent_model_can_be_saved(tmp_path):
    both = layers.Bidirectional(layers.LSTM(4), name="both")
    model = stack(both)
    for number, layer in enumerate((both.forward_layer, both.backward_layer)):
        without_readers(layer, [2], model.get_layer("last"))
        zero(model.get_layer("last").kernel, 0, [2 + 4 * number])
    small = compact(model)
    small.save(tmp_path / "small.keras")
    x = ops.ones((2, 4, 5))
    np.testing.assert_array_equal(numpy(keras.models.load_model(tmp_path / "small.keras")(x)), numpy(small(x)))
