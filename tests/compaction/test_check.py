"""The check sees planted differences, calls with legal inputs, says what it saw, and leaves no trace."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.compaction.test_compact import filled, kill, mlp, numpy
from tests.tools import mostly_slow
from tf_reg.compaction.check import compare
from tf_reg.compaction.compact import compact

pytestmark = pytest.mark.contract
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
words = pytest.mark.skipif(not ON_TENSORFLOW, reason="strings are known to TensorFlow alone")


def twin(model, layer, change):
    """A copy of a model in which a bias is another one."""
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    bias = other.get_layer(layer).bias
    bias.assign(numpy(bias) + change)
    return other


def nested_softmax():
    inputs, inner = keras.Input((5,)), keras.Input((4,))
    head = keras.Model(inner, layers.Softmax()(layers.Dense(3, name="last")(inner)), name="head")
    return keras.Model(inputs, layers.Reshape((3, 1))(head(layers.Dense(4)(inputs))))


def sequential(*end):
    return keras.Sequential([keras.Input((5,)), layers.Dense(4), *end])


def by_operation():
    inputs = keras.Input((5,))
    return keras.Model(inputs, ops.softmax(layers.Dense(3, name="last")(inputs)))


ENDS = {
    "softmax within a layer": lambda: sequential(layers.Dense(3, "softmax", name="last")),
    "a layer Softmax": lambda: sequential(layers.Dense(3, name="last"), layers.Softmax()),
    "an activation": lambda: sequential(layers.Dense(3, name="last"), layers.Activation("sigmoid")),
    "an operation": by_operation,
    "in a nested model": nested_softmax,
}


@pytest.mark.parametrize("end", mostly_slow(ENDS, "softmax within a layer", "in a nested model"))
def test_what_a_saturated_softmax_hides_is_seen(end):
    """With a bias of 1,000 a probability is 1, whatever the inputs are."""
    model = filled(ENDS[end]())
    flat = model.get_layer("head") if end == "in a nested model" else model
    flat.get_layer("last").bias.assign([900.0, 1000.0, -1000.0])
    x = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
    assert np.ptp(numpy(model(x)), axis=0).max() < 1e-6, "the outputs are constant"
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    assert compare(model, other).within_rounding
    assert compare(model, other).checks >= 2
    inner = other.get_layer("head") if end == "in a nested model" else other
    inner.get_layer("last").bias.assign([900.0, 1000.0, -999.0])
    found = compare(model, other)
    assert np.abs(numpy(model(x)) - numpy(other(x))).max() < 1e-6, "the outputs are the same"
    assert found.largest == pytest.approx(1e-3, rel=0.2)
    assert not found.within_rounding


def test_the_models_are_as_before():
    """Activations are put back, and neither seeds nor statistics have moved."""
    last = layers.Dense(3, "softmax", name="last")
    stack = [layers.Dropout(0.5), layers.BatchNormalization(), layers.Softmax(name="end")]
    model = filled(keras.Sequential([keras.Input((5,)), layers.Dense(4), *stack[:2], last, stack[2]]))
    before = [numpy(variable) for variable in model.variables]
    assert compare(model, twin(model, "last", 0)).largest == 0
    assert all((numpy(now) == old).all() for now, old in zip(model.variables, before, strict=True))
    assert last.activation is keras.activations.softmax
    assert "call" not in vars(stack[2])


def test_constant_outputs_are_no_check():
    model = mlp()
    for layer in model.layers[-1:]:
        layer.kernel.assign(numpy(layer.kernel) * 1e-9)
    found = compare(model, twin(model, "last", 0))
    assert (found.checks, len(found.tried)) == (0, 6)
    assert found.reasons == "the outputs of your model are constant on random inputs"


def test_the_difference_says_which_checks_count():
    model = mlp()
    found = compare(model, twin(model, "last", 0), examples=np.ones((2, 5)))
    assert found.checks == 7
    assert str(found) == (
        "7 of 7 checks count (batch 3 at magnitude 1, batch 1 at magnitude 1, batch 3 at magnitude 100, batch 1 at "
        "magnitude 100, pixels, constants, examples): the largest difference is 0.0e+00 of the largest output, the "
        "limit 1e-05"
    )


class Overflow(layers.Layer):
    """Large numbers become infinite."""

    def call(self, x):
        return ops.where(x > 30, np.inf, x)

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize("change", [1e-7, 0.1])
def test_outputs_that_are_not_finite_are_compared_where_they_are(change):
    model = filled(sequential(layers.Dense(3, name="last"), Overflow()))
    found = compare(model, twin(model, "last", [change, 0, 0]))
    assert "not finite" in found.reasons
    assert 0 < found.checks < len(found.tried)
    assert found.within_rounding == (change < 1e-2)


class Always(layers.Dropout):
    """Dropout that is never off, as for Monte Carlo."""

    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


class ByChance(layers.Layer):
    """Random numbers that Keras knows nothing of."""

    random = np.random.default_rng(0)

    def call(self, x):
        return x + float(self.random.normal())

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize("layer", [Always(0.5), layers.GaussianNoise(0.5)])
def test_random_layers_draw_the_same_in_both_models(layer):
    inputs = keras.Input((5,))
    hidden = layers.Dense(4, name="first")(inputs)
    drawn = layer(layers.Dense(6, name="hidden")(hidden), training=True)
    model = filled(keras.Model(inputs, layers.Dense(2, name="last")(drawn)))
    kill(model.get_layer("hidden"), inputs=[1, 2])
    assert compact(model).get_layer("first").units == 2


def test_outputs_by_chance_are_refused_in_a_sentence():
    model = filled(keras.Sequential([keras.Input((5,)), layers.Dense(4), ByChance(), layers.Dense(2, name="last")]))
    with pytest.raises(ValueError, match=r"must not be random in inference. Received: a model that answers"):
        compact(model)


def ids_by(*between, dtype="int32", size=6):
    """A model of words whose numbers reach the embedding through other layers."""
    inputs = x = keras.Input((size,), dtype=dtype, name="ids")
    for layer in between:
        x = layer(x)
    x = layers.Flatten()(layers.Embedding(11, 3)(x))
    return filled(keras.Model(inputs, layers.Dense(2, name="last")(x)))


def concatenated():
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    inner = keras.Input((5,))
    nested = keras.Model(inner, layers.Embedding(11, 3)(layers.Reshape((5,))(inner)))
    pooled = layers.Flatten()(nested(layers.Concatenate()([a, b])))
    return filled(keras.Model([a, b], layers.Dense(2, name="last")(pooled)))


LEGAL = {
    "reshape": lambda: ids_by(layers.Reshape((3, 2))),
    "float ids": lambda: ids_by(dtype="float32"),
    "nested and concatenated": concatenated,
    "categories": lambda: filled(
        keras.Sequential(
            [keras.Input((3,), dtype="int32"), layers.CategoryEncoding(5, "multi_hot"), layers.Dense(2, name="last")]
        )
    ),
}


@pytest.mark.parametrize("kind", mostly_slow(LEGAL, "nested and concatenated"))
def test_whole_numbers_are_legal_wherever_they_are_used(kind):
    """TensorFlow raises for a number beyond the vocabulary, JAX answers NaN."""
    model = LEGAL[kind]()
    found = compare(model, twin(model, "last", 0))
    assert (found.checks, found.reasons) == (6, "")
    assert not compare(model, twin(model, "last", 0.01)).within_rounding


@pytest.mark.slow
def test_masks_are_among_the_made_up_words():
    inputs = keras.Input((20,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(500, 3, mask_zero=True)(inputs))
    model = filled(keras.Model(inputs, layers.Dense(2, name="last")(x)))
    unmasked = keras.Model(inputs, model.layers[-1](layers.GlobalAveragePooling1D()(ops.copy(model.layers[1].output))))
    assert not compare(model, unmasked).within_rounding


class Lengths(layers.Layer):
    """How long strings are."""

    def call(self, x):
        import tensorflow as tf

        return tf.strings.length(x)

    def compute_output_shape(self, shape):
        return shape


def of_strings(layer):
    inputs = keras.Input((4,), dtype="string", name="text")
    x = layers.Flatten()(layers.Embedding(4, 3)(layer(inputs)))
    return filled(keras.Model(inputs, layers.Dense(2, name="last")(x)))


@words
def test_strings_of_a_vocabulary_are_made_up():
    vocabulary = ["a", "b", "c"]
    for layer in (layers.StringLookup(vocabulary=vocabulary), layers.Hashing(4)):
        model = of_strings(layer)
        assert compare(model, twin(model, "last", 0)).checks >= 4
    text = layers.TextVectorization(vocabulary=vocabulary, output_sequence_length=3)
    inputs = keras.Input((1,), dtype="string")
    x = layers.Dense(2)(layers.Flatten()(layers.Embedding(5, 3)(text(inputs))))
    model = filled(keras.Model(inputs, x))
    assert compare(model, model).checks >= 4


@words
def test_other_strings_must_be_given():
    model = of_strings(Lengths())
    found = compare(model, model)
    assert not found.checks
    assert found.reasons == "the input text takes strings, which can't be made up"
    with pytest.warns(UserWarning, match=r"the input text takes strings.*Give it some inputs"):
        compact(model)
    examples = np.array([["a", "bb", "ccc", ""], ["cc", "", "d", "e"]])
    assert compare(model, model, examples).checks == 1
    compact(model, examples)


@pytest.mark.slow
def test_sizes_that_are_not_known_and_a_fixed_batch():
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 5, strides=4)(layers.Conv2D(4, 7, strides=8)(inputs))  # 32 pixels are too few
    model = filled(keras.Model(inputs, layers.Dense(2, name="last")(layers.GlobalAveragePooling2D()(x))))
    assert compare(model, twin(model, "last", 0)).checks == 6
    fixed = filled(keras.Sequential([keras.Input(batch_shape=(1, 5)), layers.Dense(4), layers.Dense(2, name="last")]))
    assert compare(fixed, twin(fixed, "last", 0)).checks == 5


@pytest.mark.slow
def test_half_precision_is_judged_as_such():
    mixed = keras.DTypePolicy("mixed_bfloat16")
    stack = [layers.Dense(16, "relu", dtype=mixed), layers.Dense(3, "softmax", name="last")]
    model = filled(keras.Sequential([keras.Input((5,)), *stack]))
    kill(model.get_layer("last"), inputs=range(8))
    assert compare(model, twin(model, "last", 0)).limit == 5e-2
    assert compact(model).layers[0].units == 8


def test_examples_that_the_model_does_not_take_are_one_sentence():
    model = ids_by()
    for wrong in (np.ones((2, 5)), "a", [np.ones((2, 6))]):
        with pytest.raises(ValueError, match=r"examples are inputs of the model.*Received"):
            compare(model, model, wrong)
