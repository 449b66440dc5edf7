"""The networks of images whose training steps are timed with penalties."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

CLASSES = 10


class Network(NamedTuple):
    """A network and its batch.

    Args:
        make: Makes the network.
        image: The shape of an image.
        batch_size: How many images are in a batch.
    """

    make: Callable[[], keras.Model]
    image: tuple[int, int, int]
    batch_size: int

    def batch(self) -> tuple[Any, Any]:
        """Return random images and labels."""
        random = np.random.default_rng(0)
        images = random.normal(size=(self.batch_size, *self.image)).astype("float32")
        return images, random.integers(0, CLASSES, self.batch_size)


def _cnn() -> keras.Model:
    """The `cnn` of `scripts/train.py`."""
    convolutions = [keras.layers.Conv2D(filters, 3, padding="same", activation="relu") for filters in (32, 64)]
    parts = [part for one in convolutions for part in (one, keras.layers.MaxPooling2D(padding="same"))]
    dense = [keras.layers.Dense(128, activation="relu"), keras.layers.Dropout(0.5), keras.layers.Dense(CLASSES)]
    return keras.Sequential([keras.Input((28, 28, 1)), *parts, keras.layers.Flatten(), *dense])


def _application(name: str) -> Network:
    """A network of `keras.applications` for small images."""
    image = (64, 64, 3)
    settings = {"input_shape": image, "weights": None, "classes": CLASSES, "classifier_activation": None}
    return Network(functools.partial(getattr(keras.applications, name), **settings), image, 32)


MOBILE_NET = {"MobileNetV2": _application("MobileNetV2")}
NETWORKS = {"CNN": Network(_cnn, (28, 28, 1), 128), **MOBILE_NET}
DEEP = {**MOBILE_NET, "ResNet50": _application("ResNet50")}  # with many kernels to compile
