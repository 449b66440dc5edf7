"""`TimeDistributed` over sequences of any length is served for any length."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tests.exports import predicted, serve
from tests.tools import mostly_slow


def tagger():
    words = keras.Input((None,), dtype="int32")
    x = layers.Embedding(50, 8, mask_zero=True)(words)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    return keras.Model(words, layers.TimeDistributed(layers.Dense(5, activation="softmax"))(x))


def scorer():
    words = keras.Input((None,), dtype="int32")
    x = layers.Embedding(50, 8, mask_zero=True)(words)
    return keras.Model(words, layers.TimeDistributed(layers.Dense(5, activation="softmax"))(x))


def video():
    frames = keras.Input((None, 8, 8, 1))
    body = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Flatten()]
    )
    x = layers.TimeDistributed(layers.Dropout(0.5))(layers.TimeDistributed(body)(frames))
    return keras.Model(frames, layers.Dense(2, activation="softmax")(layers.GRU(4)(x)))


def sentences():
    words = keras.Input((None, None), dtype="int32")
    x = layers.TimeDistributed(layers.TimeDistributed(layers.Dense(3)))(layers.Embedding(50, 8)(words))
    x = layers.TimeDistributed(layers.LSTM(3))(x)
    return keras.Model(words, layers.Dense(2, activation="softmax")(layers.GlobalMaxPooling1D()(x)))


MODELS = {"scorer": (scorer, ()), "tagger": (tagger, ()), "video": (video, (8, 8, 1)), "sentences": (sentences, (6,))}


@pytest.mark.parametrize("kind", mostly_slow(MODELS, "scorer"))
def test_every_length_is_served(tmp_path, kind):
    make, shape = MODELS[kind]
    model, random = make(), np.random.default_rng(0)
    path = tf_reg.export(model, tmp_path / "m", examples=random.integers(0, 50, (3, 9, *shape)))
    for examples, length in ((1, 1), (2, 4), (5, 13)):
        x = random.integers(0, 50, (examples, length, *shape))
        x = x.astype("float32" if kind == "video" else "int32")
        np.testing.assert_allclose(serve(path, x)["probabilities"], predicted(model, x), atol=1e-5)
    assert all("call" not in vars(layer) for layer in model.layers)


@pytest.mark.slow
def test_a_layer_that_mixes_its_examples_is_refused(tmp_path):
    class Centred(layers.Layer):
        def call(self, x):
            return x - keras.ops.mean(x, axis=0, keepdims=True)

        def compute_output_shape(self, shape):
            return shape

    inputs = keras.Input((None, 4))
    x = layers.GlobalMaxPooling1D()(layers.TimeDistributed(Centred())(inputs))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    with pytest.raises(RuntimeError, match="the layer 'time_distributed/centred'"):
        tf_reg.export(model, tmp_path / "m", examples=np.random.default_rng(0).normal(size=(3, 5, 4)))
