"""Networks whose channels lie in several layers."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers


def residual():
    """A residual block with batch normalizations, a depthwise convolution, a flattening and two dense layers."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(5, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="stem_norm")(x))
    y = layers.Conv2D(4, 3, padding="same", name="inner")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(layers.BatchNormalization(name="inner_norm")(y))
    y = layers.Conv2D(5, 1, name="outer")(layers.ReLU()(y))
    x = layers.MaxPooling2D(3)(layers.Add()([x, y]))
    x = layers.Dense(6, activation="relu", name="dense")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(3, name="last")(x))


IMAGES = np.random.default_rng(0).normal(size=(32, 6, 6, 2)).astype("float32")
LABELS = np.random.default_rng(1).integers(0, 3, 32)


def compiled(model, optimizer):
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    return model


def two_branches(channels=3):
    """Two dense layers whose outputs are added, and a layer that reads the sums: a linear model."""
    keras.utils.set_random_seed(0)
    first, second = keras.Input((4,)), keras.Input((2,))
    total = layers.Add()([layers.Dense(channels, name="a")(first), layers.Dense(channels, name="b")(second)])
    return keras.Model([first, second], layers.Dense(channels, name="last", use_bias=False)(total))
