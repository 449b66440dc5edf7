"""The networks of `keras.applications` by their names, from raw pixels to features."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import layers, ops

from tf_reg_cli.errors import UserError

Tensor = Any  # keras.KerasTensor, which the type checker can't see into

# what the network of a family takes, by the name of its module; the others take raw pixels
_FROM_MINUS_ONE_TO_ONE = (
    "inception_resnet_v2", "inception_v3", "mobilenet", "mobilenet_v2", "nasnet", "resnet_v2", "xception",
)  # fmt: skip
_LIKE_TORCH = ("densenet",)  # standardised by ImageNet's mean and variance
_LIKE_CAFFE = ("resnet", "vgg16", "vgg19")  # blue first, ImageNet's mean taken away

# of the ImageNet training images, per channel, on the scale of raw pixels (0 to 255)
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_VARIANCE = (58.395**2, 57.12**2, 57.375**2)
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red


def names() -> list[str]:
    """The names of all networks, as `MobileNetV2`."""
    return sorted(name for name, value in vars(keras.applications).items() if inspect.isfunction(value))


def features(name: str, inputs: Tensor) -> Tensor:
    """Build the network `name` without its top, as the layer `body`, and return its averaged features.

    Args:
        name: One of `names()`.
        inputs: Raw pixels from 0 to 255, `(batch, height, width, channels)` with 1 channel or 3.

    Raises:
        UserError: The network doesn't take images of this shape.
    """
    channels = inputs.shape[-1]
    if channels not in (1, 3):
        raise UserError(f"--model {name} takes grey or colour images. The data have {channels} channels.")
    x = layers.Concatenate()([inputs] * 3) if channels == 1 else inputs
    x = _as_trained(x, name)
    try:
        body = getattr(keras.applications, name)(
            include_top=False, weights=None, input_shape=tuple(x.shape[1:]), pooling="avg", name="body"
        )
    except ValueError as error:
        height, width = inputs.shape[1:3]
        raise UserError(
            f"--model {name} doesn't take images of {height} x {width} pixels: {error} Give --image-size."
        ) from error
    return body(x)


def _as_trained(x: Tensor, name: str) -> Tensor:
    """Scale raw pixels as the published weights of a network expect them."""
    family = getattr(keras.applications, name).__module__.rpartition(".")[2]
    if family in _FROM_MINUS_ONE_TO_ONE:
        return layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    if family in _LIKE_TORCH:
        return layers.Normalization(mean=IMAGENET_MEAN, variance=IMAGENET_VARIANCE, dtype="float32")(x)
    if family in _LIKE_CAFFE:
        return layers.Normalization(mean=_CAFFE_MEAN, variance=(1.0, 1.0, 1.0), dtype="float32")(ops.flip(x, axis=-1))
    return x
