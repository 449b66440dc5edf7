"""Models to export, their examples, and what a base folder shows."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers

DETAILS = {"classes": ["a", "b", "c"], "config": {"l2": 1e-4}, "metrics": {"test_accuracy": 0.9}}  # for a manifest


def classifier(**options):
    """Augmentation, dropout, a penalty and batch normalisation on images of 8x8 pixels, to three classes."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="pixels"),
            layers.RandomTranslation(0.4, 0.4),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(16, activation="relu", kernel_regularizer="l1l2"),
            layers.BatchNormalization(),
            layers.Dense(3, activation="softmax", **options),
        ]
    )


def small():
    """One dense layer on four numbers, to three classes: the cheapest model whose outputs are probabilities."""
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])


def everything():
    """Augmentation, batch norm, dropout, L1 and L2, a nested model, two inputs and two outputs."""
    left, right = keras.Input((8, 8, 1), name="left"), keras.Input((4,), name="right")
    x = left
    for layer in (layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomZoom(0.2), layers.RandomContrast(0.3)):
        x = layer(x)
    x = layers.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L1L2(1e-3, 1e-3))(x)
    x = layers.SpatialDropout2D(0.5)(layers.BatchNormalization()(x))
    nested = [
        keras.Input((144,)),
        layers.Dropout(0.3),
        layers.GaussianNoise(0.3),
        layers.Dense(5, activation="relu", kernel_regularizer="l2", bias_regularizer="l1"),
        layers.BatchNormalization(),
    ]
    x = keras.Sequential(nested, name="nested")(layers.Flatten()(x))
    x = layers.Concatenate()([x, right])
    return keras.Model([left, right], [layers.Dense(3, "softmax", name="kind")(x), layers.Dense(1, name="size")(x)])


def pixels(examples):
    return np.random.default_rng(0).uniform(0, 255, (examples, 8, 8, 1)).astype("float32")


def serve(path, x, name="inputs"):
    return tf.saved_model.load(str(path)).signatures["serving_default"](**{name: tf.constant(x)})


def predicted(model, x):
    """What `predict` returns, without the seconds that it takes to compile a function."""
    return np.asarray(model(x, training=False))


def published(base):
    """The names in a base folder that are no configuration file: the versions, and what should not be there."""
    return sorted(child.name for child in base.iterdir() if not child.name.endswith(".config"))
