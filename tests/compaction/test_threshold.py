"""Small numbers become zero in a copy of the model that has lost nothing else."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from keras import layers

from tests.compaction.filling import no_warning_of_checks, no_warning_of_masks
from tests.compaction.random_models import random_model
from tests.compaction.test_compact import filled, numpy
from tests.compaction.test_coupled import residual
from tf_reg import GroupLasso
from tf_reg.compaction.check import compare
from tf_reg.compaction.compact import compact
from tf_reg.compaction.copies import copied
from tf_reg.compaction.coupled import channels
from tf_reg.compaction.threshold import threshold

pytestmark = [pytest.mark.contract, no_warning_of_checks, no_warning_of_masks]


def test_weights():
    model = filled(residual())
    before = [numpy(variable) for variable in model.variables]
    cut = threshold(model, 0.5)
    kernels = 0
    for old, now, value in zip(model.variables, cut.variables, before, strict=True):
        np.testing.assert_array_equal(numpy(old), value)
        kernels += len(value.shape) > 1
        expected = np.where(np.abs(value) <= 0.5, 0, value) if len(value.shape) > 1 else value
        np.testing.assert_array_equal(numpy(now), expected)
        assert old is not now
    assert kernels == 6


def network():
    """Two convolutions are added, the second one behind a batch normalization; then a depthwise and a dense one."""
    inputs = keras.Input((6, 6, 2))
    one = layers.Conv2D(4, 1, name="one")(inputs)
    two = layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3, padding="same", use_bias=False, name="two")(inputs))
    x = layers.DepthwiseConv2D(3, name="depthwise")(layers.Add()([one, two]))
    return filled(keras.Model(inputs, layers.Dense(2, name="last")(layers.GlobalAveragePooling2D()(x))))


def test_the_size_of_a_channel_is_that_of_the_formula():
    model = network()
    one, two, bn = (model.get_layer(name) for name in ("one", "two", "bn"))
    gamma, variance = np.array([1.0, 0.1, 2.0, 0.0]), np.array([1.0, 4.0, 0.25, 1.0])
    bn.gamma.assign(gamma)
    bn.moving_variance.assign(variance)
    first = np.sqrt(np.square(numpy(one.kernel)).mean(axis=(0, 1, 2)))
    second = np.sqrt(np.square(numpy(two.kernel)).mean(axis=(0, 1, 2))) * gamma / np.sqrt(variance + bn.epsilon)
    size = np.maximum(first, second)
    for limit in sorted(size)[1:2]:
        cut = threshold(model, limit * (1 + 1e-6), "channels")
        small = size <= limit * (1 + 1e-6)
        assert 0 < small.sum() < 4
        for layer, name, axis in (
            ("one", "kernel", 3), ("one", "bias", 0), ("two", "kernel", 3), ("bn", "gamma", 0), ("bn", "beta", 0),
            ("depthwise", "kernel", 2), ("depthwise", "bias", 0), ("last", "kernel", 0),
        ):  # fmt: skip
            old, now = (numpy(getattr(m.get_layer(layer), name)) for m in (model, cut))
            expected = np.where(np.moveaxis(np.ones_like(old), axis, -1) * small, 0, np.moveaxis(old, axis, -1))
            np.testing.assert_array_equal(np.moveaxis(now, axis, -1), expected)
        np.testing.assert_array_equal(numpy(cut.get_layer("bn").moving_mean), numpy(bn.moving_mean))
        np.testing.assert_array_equal(numpy(cut.get_layer("last").bias), numpy(model.get_layer("last").bias))
        assert channels(cut).groups[0].dead().tolist() == small.tolist()
        assert compact(cut).get_layer("one").filters == 4 - small.sum()


@pytest.mark.slow
def test_what_something_holds_stays():
    model = filled(residual())
    cut = threshold(model, 1e6, of="channels")
    for name in ("held", "barrier", "last"):
        for old, now in zip(model.get_layer(name).variables[1:], cut.get_layer(name).variables[1:], strict=True):
            np.testing.assert_array_equal(numpy(old), numpy(now))
    np.testing.assert_array_equal(numpy(cut.get_layer("last").kernel), numpy(model.get_layer("last").kernel))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_a_copy_of_a_random_model(seed):
    model = random_model(seed)
    copy = copied(model)
    found = compare(model, copy)
    assert (found.largest, [v.name for v in copy.variables]) == (0, [v.name for v in model.variables])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # where all channels are small, the outputs are constant
        small = compact(threshold(model, 0.25, of="channels"))
    assert small.count_params() <= compact(model).count_params()


@pytest.mark.slow
def test_a_copy_has_all_that_the_model_has():
    numbers = layers.Normalization()
    numbers.adapt(np.random.default_rng(0).normal(3, 2, size=(50, 4)))
    inside = keras.Input((6,))
    nested = keras.Model(inside, layers.Dense(3, name="inner")(layers.Dropout(0.5, seed=7)(inside)), name="nested")
    stack = [layers.Dense(6, kernel_regularizer=GroupLasso(0.1), name="first"), layers.BatchNormalization(name="bn")]
    model = keras.Sequential([keras.Input((4,)), numbers, *stack, nested, layers.Dense(2, name="last")], name="net")
    filled(nested)
    model.get_layer("bn").trainable = False
    nested.trainable = False
    nested.get_layer("inner").trainable = True  # the model around it hides it
    stack[0].bias.trainable = False
    model.compile("adam", "mse", metrics=["mae"])
    model.train_on_batch(np.ones((8, 4), "float32"), np.ones((8, 2), "float32"))
    for copy in (copied(model), compact(model)):
        assert type(copy) is keras.Sequential
        assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
        for old, now in zip(model.variables, copy.variables, strict=True):
            assert (old.name, old.trainable, old.dtype) == (now.name, now.trainable, now.dtype)
            np.testing.assert_array_equal(numpy(old), numpy(now))
        assert len(copy.trainable_variables) == len(model.trainable_variables)
        assert copy.get_layer("nested").get_layer("inner").trainable
        np.testing.assert_allclose(numpy(sum(copy.losses)), numpy(sum(model.losses)))
        x = np.random.default_rng(1).normal(size=(8, 4)).astype("float32")
        np.testing.assert_array_equal(numpy(copy(x)), numpy(model(x)))
        assert copy.compiled
        assert copy.optimizer is not model.optimizer
    y = np.ones((8, 2), "float32")
    np.testing.assert_allclose(copied(model).test_on_batch(x, y), model.test_on_batch(x, y), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strings are known to TensorFlow alone")
def test_a_vocabulary_that_was_learned():
    text = layers.TextVectorization(output_sequence_length=4)
    text.adapt(["the cat sat", "the dog sat", "a dog"])
    inputs = keras.Input((1,), dtype="string")
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Embedding(9, 3)(text(inputs)))))
    copy = compact(filled(model))
    words = np.array([["the dog"], ["a cat"]], dtype=object)
    np.testing.assert_array_equal(numpy(copy(keras.ops.convert_to_tensor(words))), numpy(model(words)))
    assert copy.layers[1].get_vocabulary() == text.get_vocabulary()


@pytest.mark.slow
def test_a_state_that_goes_on():
    memory = layers.SimpleRNN(3, stateful=True, name="memory")
    model = filled(keras.Sequential([keras.Input(batch_shape=(2, 4, 3)), memory, layers.Dense(2)]))
    model(np.ones((2, 4, 3), "float32"))
    state = numpy(memory.states[0])
    copy = copied(model)
    assert np.abs(state).max() > 0
    np.testing.assert_array_equal(numpy(copy.get_layer("memory").states[0]), state)
    compare(model, copy)
    np.testing.assert_array_equal(numpy(memory.states[0]), state)
