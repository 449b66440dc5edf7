"""Operations of `keras.ops`, wrappers, masks and activities in functional models."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.compaction.filling import filled, kept, no_warning_of_masks, numpy, same, stack, zero
from tests.tools import mostly_slow
from tf_reg.compaction.compact import compact
from tf_reg.compaction.plan import plan_compaction

pytestmark = pytest.mark.contract

PASSING = {  # what a tensor `(batch, 4, 6)` goes through; the last axis is that of the channels before and after
    "relu": ops.relu,
    "cast": lambda x: ops.cast(ops.clip(ops.exp(-ops.abs(x)), 0.1, 0.9), "float32"),
    "numbers": lambda x: (2.0 * x - 1.0) / 3.0 + ops.square(x) ** 2,
    "mean": lambda x: ops.mean(x, axis=1),
    "sum": lambda x: ops.sum(x, axis=-2, keepdims=True),
    "item": lambda x: x[:, 1],
    "slices": lambda x: x[:, None, 1:3],
    "transpose": lambda x: ops.transpose(ops.transpose(x, (0, 2, 1)), (0, 2, 1)),
    "moveaxis": lambda x: ops.swapaxes(ops.moveaxis(x, 1, -1), 1, 2),
    "squeeze": lambda x: ops.squeeze(ops.expand_dims(x, 2), 2),
    "reshape": lambda x: ops.reshape(x, (-1, 2, 2, 6)),
    "stack": lambda x: ops.stack([x, ops.tanh(x)], axis=1),
    "softmax": lambda x: ops.softmax(x, axis=1),
    "softmax layer": layers.Softmax(axis=1),
    "steps": layers.TimeDistributed(layers.Activation("relu")),
    "repeat": lambda x: layers.RepeatVector(3)(x[:, 0]),
    "dropout": layers.SpatialDropout1D(0.2),
}
HOLDING = {
    "softmax": ops.softmax,
    "activation": layers.Activation("softmax"),
    "mean": lambda x: x - ops.mean(x, axis=-1, keepdims=True),
    "item": lambda x: x[..., :4],
    "examples": lambda x: ops.reshape(x, (-1, 6)),
    "array": lambda x: x * np.arange(1.0, 7.0, dtype="float32"),
    "masking": layers.Masking(),
    "attention": lambda x: layers.Attention()([x, x]),
}


def between(move):
    """A model in which an operation stands between two dense layers, of which the second reads 5 of 6 channels."""
    inputs = keras.Input((4, 3))
    last = layers.Dense(2, name="last")
    model = filled(keras.Model(inputs, last(move(layers.Dense(6, name="first")(inputs)))))
    zero(last.kernel, 0, [2])
    return model


@pytest.mark.parametrize("name", mostly_slow(PASSING, "numbers", "item", "reshape"))
def test_channels_pass(name):
    assert kept(between(PASSING[name]))["first"] == 5


@pytest.mark.parametrize("name", mostly_slow(HOLDING, "softmax", "array"))
def test_channels_are_held(name):
    model = between(HOLDING[name])
    assert kept(model)["first"] == 6
    assert sum(plan_compaction(model).held.values()) == 1


@pytest.mark.slow
def test_constants_pass_where_they_stay_the_same_number():
    """A sum over steps of which the number isn't known makes another constant of each length."""
    for move, after in ((lambda x: ops.mean(ops.exp(x), axis=1), 5), (lambda x: ops.sum(x, axis=1), 6)):
        inputs = keras.Input((None, 3))
        first = layers.Dense(6, name="first")
        model = filled(keras.Model(inputs, layers.Dense(2)(move(first(inputs)))))
        zero(first.kernel, 1, [2])
        assert kept(model)["first"] == after


@pytest.mark.slow
@pytest.mark.parametrize("layer", [layers.Dense(6, "relu"), layers.Conv1D(6, 1, use_bias=False)])
def test_a_layer_for_every_step(layer):
    shape = (4, 5) if isinstance(layer, layers.Dense) else (4, 3, 5)
    wrapper = layers.TimeDistributed(layer, name="steps")
    model = stack(layers.Dense(5, name="first"), wrapper, shape=shape)
    zero(layer.kernel, -2, [0, 1])
    zero(layer.kernel, -1, [2])
    zero(model.get_layer("last").kernel, 0, [5])
    zero(model.get_layer("first").kernel, 1, [3])
    small = compact(model)
    assert same(model, small)
    assert (small.get_layer("first").units, small.get_layer("steps").layer.kernel.shape[-2:]) == (2, (2, 4))


@pytest.mark.slow
def test_a_word_that_is_masked_leaves_the_columns_free():
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 6, mask_zero=True, name="words")(words)
    last = layers.Dense(2)
    model = filled(keras.Model(words, last(layers.GlobalAveragePooling1D()(layers.Dropout(0.1)(x)))))
    zero(last.kernel, 0, [1, 4])
    assert compact(model).get_layer("words").output_dim == 4
    assert same(model, compact(model))


@pytest.mark.slow
@pytest.mark.parametrize(
    "penalty",
    ["l1", pytest.param(keras.regularizers.OrthogonalRegularizer(), id="another")],
)
def test_a_unit_whose_activity_costs_something_stays(penalty):
    """Its part of the loss would go with it, unless it is zero."""
    first = layers.Dense(6, "relu", activity_regularizer=penalty, name="first")
    model = stack(first, shape=(5,))
    zero(model.get_layer("last").kernel, 0, [1])
    for variable in (first.kernel, first.bias):
        zero(variable, -1, [4])
    assert kept(model)["first"] == (5 if penalty == "l1" else 6)
    assert plan_compaction(model).held["first (activity regularizer)"] >= 1
    model.compile(loss="mse")
    small = compact(model)
    x, y = np.ones((4, 5), "float32"), np.zeros((4, 2), "float32")
    if penalty == "l1":
        np.testing.assert_allclose(small.evaluate(x, y, verbose=0), model.evaluate(x, y, verbose=0), rtol=1e-5)


def test_a_nested_sequential_model_stays_one_with_its_settings():
    inner = keras.Sequential(
        [keras.Input((5,)), layers.Dense(6, "relu", name="a"), layers.Dense(4, name="b")], name="inner"
    )
    inputs = keras.Input((5,))
    last = layers.Dense(2)
    model = filled(keras.Model(inputs, last(inner(inputs))))
    zero(last.kernel, 0, [1])
    zero(inner.get_layer("b").kernel, 0, [0, 5])
    inner.trainable = False
    small = compact(model).get_layer("inner")
    assert same(model, compact(model))
    assert type(small) is keras.Sequential
    assert [(layer.name, layer.units) for layer in small.layers] == [("a", 4), ("b", 3)]
    assert not small.trainable
    assert not small.layers[0].trainable


@no_warning_of_masks
@pytest.mark.slow
def test_a_nested_model_gets_a_mask():
    inner = keras.Sequential([keras.Input((5, 6)), layers.LSTM(4), layers.Dense(3)], name="inner")
    words = keras.Input((5,), dtype="int32")
    model = filled(keras.Model(words, layers.Dense(2)(inner(layers.Embedding(9, 6, mask_zero=True)(words)))))
    zero(inner.layers[1].kernel, 0, [1])
    zero(inner.layers[0].cell.recurrent_kernel, 0, [1])
    assert kept(model)[inner.layers[0].name] == 3


def test_what_an_adapted_layer_has_learnt_is_kept():
    """A `Normalization` reads its variables when it loads them."""
    norm = layers.Normalization()
    norm.adapt(np.random.default_rng(0).normal(3.0, 5.0, (50, 4)))
    model = keras.Sequential([keras.Input((4,)), norm, layers.Dense(5), layers.Dense(2)])
    zero(model.layers[-1].kernel, 0, [1])
    small = compact(model)
    x = np.random.default_rng(1).normal(size=(6, 4))
    np.testing.assert_allclose(numpy(small(x)), numpy(model(x)), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras' lookups run on TensorFlow")
def test_the_words_of_an_adapted_lookup_are_kept():
    lookup = layers.IntegerLookup()
    lookup.adapt(np.array([3, 7, 9]))
    words = keras.Input((4,), dtype="int64")
    last = layers.Dense(2)
    model = filled(keras.Model(words, last(layers.Flatten()(layers.Embedding(4, 3)(lookup(words))))))
    zero(last.kernel, 0, [1])
    x = np.array([[3, 7, 9, 1], [9, 9, 3, 2]])
    np.testing.assert_allclose(numpy(compact(model, x)(x)), numpy(model(x)), rtol=1e-5)
