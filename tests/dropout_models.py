"""Small models with dropout layers of every kind, for the tests of mc_predict."""

import keras
import numpy as np
from keras import layers, ops

from tf_reg import DropBlock2D, DropConnect, StochasticDepth


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


class Subclassed(keras.Model):
    """Hands `training` on by hand, and returns a dict."""

    def __init__(self, dropout=None, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.out = layers.Dense(6, "relu"), layers.Dense(2)
        self.norm, self.dropout = layers.BatchNormalization(), dropout or layers.Dropout(0.5)

    def call(self, x, training=False):
        hidden = self.dropout(self.norm(self.hidden(x), training=training), training=training)
        return {"logits": self.out(hidden), "hidden": hidden}


class Conditional(layers.Layer):
    """Calls its dropout in training alone, as custom layers do."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dropout = layers.Dropout(0.5)

    def call(self, x, training=False):
        return self.dropout(x) if training else x


def mlp(dropout):
    return keras.Sequential([keras.Input((4,)), layers.Dense(6, "relu"), dropout, layers.Dense(2)])


def nested():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(6, "relu"), layers.Dropout(0.5)], name="inner")
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(inner(layers.Dense(4)(inputs))))


def residual():
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs))
    x = DropBlock2D(0.2, 3)(x)
    x = x + StochasticDepth(0.3)(DropConnect(layers.Conv2D(4, 3, padding="same"), 0.2)(x))
    return keras.Model(inputs, [layers.GlobalAveragePooling2D()(x), x])


def images(*stack):
    return keras.Sequential([keras.Input((8, 8, 3)), *stack, layers.Flatten(), layers.Dense(2)])


def sequences(make):
    inputs = keras.Input((5, 3))
    return keras.Model(inputs, make(inputs))


def words():
    ids = keras.Input((5,), dtype="int32")
    embedded = layers.Dropout(0.4)(layers.Embedding(10, 4, mask_zero=True)(ids))
    return keras.Model(ids, layers.LSTM(3)(embedded))


def two_inputs():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    return keras.Model({"a": a, "b": b}, layers.Dense(2)(layers.Concatenate()([a, layers.Dropout(0.5)(b)])))


IMAGES, SEQUENCES = (8, 8, 3), (5, 3)
MODELS = {
    "dropout": (lambda: mlp(layers.Dropout(0.5)), (4,)),
    "noise shape": (lambda: mlp(layers.Dropout(0.5, noise_shape=(1, 6))), (4,)),
    "gaussian": (lambda: mlp(layers.GaussianDropout(0.5)), (4,)),
    "alpha": (lambda: mlp(layers.AlphaDropout(0.5)), (4,)),
    "connections": (lambda: mlp(DropConnect(layers.Dense(5), 0.4)), (4,)),
    "nested": (nested, (4,)),
    "subclassed": (Subclassed, (4,)),
    "spatial": (lambda: images(layers.SpatialDropout2D(0.4)), IMAGES),
    "residual": (residual, IMAGES),
    "lstm": (lambda: sequences(layers.LSTM(3, dropout=0.3, recurrent_dropout=0.3)), SEQUENCES),
    "both ways": (lambda: sequences(layers.Bidirectional(layers.GRU(3, dropout=0.3))), SEQUENCES),
    "cells": (lambda: sequences(layers.RNN([layers.LSTMCell(3, dropout=0.3), layers.GRUCell(2)])), SEQUENCES),
    "attention": (lambda: sequences(lambda x: layers.MultiHeadAttention(2, 3, dropout=0.3)(x, x)), SEQUENCES),
    "attention layer": (lambda: sequences(lambda x: layers.Attention(dropout=0.3)([x, x])), SEQUENCES),
    "each step": (lambda: sequences(layers.TimeDistributed(layers.Dropout(0.3))), SEQUENCES),
    "words with a mask": (words, None),
}


def example(shape, count):
    return np.random.default_rng(0).integers(0, 10, (count, 5)) if shape is None else random(count, *shape)
