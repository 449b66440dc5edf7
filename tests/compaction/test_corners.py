"""Rare ways to call layers: what they make is the same after compaction, or nothing is cut out."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests.compaction.filling import filled, zero
from tests.tools import mostly_slow
from tf_reg.compaction.compact import compact

pytestmark = pytest.mark.contract


def dead_rows(layer, rows):
    zero(layer.kernel, -2, rows)


def shared_reshape():
    inputs, reshape = keras.Input((5,)), layers.Reshape((1, 1, 8))
    found = [reshape(layers.Dense(8)(inputs)) for _ in range(2)]
    readers = [layers.Conv2D(3, 1, name=name) for name in ("one", "other")]
    model = filled(keras.Model(inputs, [reader(x) for reader, x in zip(readers, found, strict=True)]))
    dead_rows(readers[0], [0, 1])
    dead_rows(readers[1], [0, 4, 5])
    return model


def nested_with_two_widths():
    free = keras.Input((None,))
    inner, inputs = keras.Model(free, ops.relu(free * 2)), keras.Input((5,))
    found = [layers.Dense(2, name=f"last_{width}")(inner(layers.Dense(width)(inputs))) for width in (4, 8)]
    model = filled(keras.Model(inputs, layers.Concatenate()(found)))
    dead_rows(model.get_layer("last_4"), [0])
    dead_rows(model.get_layer("last_8"), [1, 2])
    return model


def attention_pooling():
    inputs = keras.Input((None, 5))
    hidden = layers.Dense(8)(inputs)
    weights = ops.transpose(ops.softmax(layers.Dense(1)(hidden), axis=1), (0, 2, 1))
    return filled(keras.Model(inputs, ops.squeeze(ops.matmul(weights * 2 + weights, hidden), 1)))


def arrays(combine):
    def build():
        inputs = keras.Input((5,))
        last = layers.Dense(2, name="last")
        model = filled(keras.Model(inputs, last(combine(layers.Dense(8)(inputs)))))
        dead_rows(last, [0, 1])
        return model

    return build


def another_axis():
    """A mixer: the units of `tokens` are read along the axis of the channels before a transposition."""
    inputs = keras.Input((6, 5))
    x = layers.Permute((2, 1))(layers.Dense(5)(inputs))
    x = layers.Dense(4, name="mixed")(layers.Dense(16, "relu", name="tokens")(x))
    model = filled(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    dead_rows(model.get_layer("mixed"), [0, 3, 7])
    return model


def words_that_are_computed():
    inputs = keras.Input((5,))
    words = layers.Dense(4, "sigmoid")(inputs) * 19
    return filled(keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(layers.Embedding(20, 3)(words)))))


def a_name_that_is_taken():
    inputs = keras.Input((16,), name="first_inputs")
    model = filled(keras.Model(inputs, layers.Dense(2)(layers.Dense(4, "tanh", name="first")(inputs))))
    dead_rows(model.get_layer("first"), range(8))
    return model


def a_small_cropping():
    inputs = keras.Input((None, None, 3))
    conv = layers.Conv2D(4, 1)
    x = layers.GlobalMaxPooling2D()(layers.Cropping2D(12)(conv(inputs)))
    model = filled(keras.Model(inputs, layers.Dense(2)(x)))
    zero(conv.kernel, -1, [0])
    return model


def an_activation_that_is_not_zero_at_zero():
    inputs = keras.Input((4, 5))
    lstm = layers.LSTM(6, activation="hard_sigmoid")
    model = filled(keras.Model(inputs, layers.Dense(2)(lstm(inputs))))
    zero(lstm.cell.kernel, 1, [12])
    zero(lstm.cell.recurrent_kernel, 1, [12])
    bias = ops.convert_to_numpy(lstm.cell.bias).copy()
    bias[12] = -4
    lstm.cell.bias.assign(bias)
    return model


CASES = {
    "another axis": another_axis,
    "shared reshape": shared_reshape,
    "nested model with two widths": nested_with_two_widths,
    "attention pooling": attention_pooling,
    "added array": arrays(lambda x: layers.Add()([x, ops.ones((1, 8))])),
    "concatenated array": arrays(lambda x: ops.concatenate([x, ops.ones_like(x)], axis=-1)),
    "clipped by arrays": arrays(lambda x: ops.clip(x, np.zeros(8), np.ones(8))),
    "computed words": words_that_are_computed,
    "name that is taken": a_name_that_is_taken,
    "small cropping": a_small_cropping,
    "activation that isn't zero at zero": an_activation_that_is_not_zero_at_zero,
}


@pytest.mark.parametrize("name", mostly_slow(CASES, "another axis", "shared reshape"))
def test_it_computes_the_same(name):
    model = CASES[name]()
    assert compact(model).count_params() <= model.count_params()
    tf_reg.channels(model)


def test_a_layer_that_reads_along_another_axis_loses_its_units():
    assert compact(another_axis()).get_layer("tokens").units == 13


def test_noise_over_the_channels_still_draws():
    inputs = keras.Input((6, 5))
    x = layers.Dropout(0.5, noise_shape=(None, 1, 8))(layers.Dense(8)(inputs))
    model = filled(keras.Model(inputs, layers.Dense(2, name="last")(x)))
    dead_rows(model.get_layer("last"), [0, 1])
    assert compact(model)(np.ones((2, 6, 5), "float32"), training=True).shape == (2, 6, 2)


def test_a_layer_in_two_places_is_refused():
    inner, first, second = layers.Dense(6, name="tied"), keras.Input((4, 5)), keras.Input((5,))
    model = keras.Model([first, second], [layers.TimeDistributed(inner)(first), inner(second)])
    with pytest.raises(ValueError, match="'tied', whose weights are used by"):
        compact(model)
