"""Models of the matrix that take images and volumes."""

import keras
import numpy as np
from keras import layers

from tests.matrix.cases import Takes, case

PIXELS = Takes((16, 16, 3), low=0, high=255)
VOLUME = Takes((8, 8, 8, 1))


def classified(*body, shape=(16, 16, 3)):
    return keras.Sequential([keras.Input(shape), *body, layers.Dense(3, "softmax")])


def cnn():
    return classified(
        layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        layers.SpatialDropout2D(0.5),
        layers.Conv2D(6, 3, strides=2, padding="same", dilation_rate=1, groups=2),
        layers.AveragePooling2D(2, padding="same"),
        layers.Flatten(),
    )


def separable():
    return classified(
        layers.Rescaling(1 / 255),
        layers.ZeroPadding2D(((0, 1), (0, 1))),
        layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2),
        layers.BatchNormalization(),
        layers.ReLU(6.0),
        layers.SeparableConv2D(6, 3, padding="same"),
        layers.Cropping2D(1),
        layers.GlobalAveragePooling2D(),
    )


def unet():
    inputs = keras.Input((16, 16, 3))
    down = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(inputs))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(layers.MaxPooling2D()(down))
    x = layers.UpSampling2D(interpolation="bilinear")(layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x))
    x = layers.Concatenate()([layers.MaxPooling2D()(x), down])
    return keras.Model(inputs, layers.Conv2D(2, 1, activation="softmax")(x))


def free_size():
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(inputs))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    return keras.Model(inputs, layers.Dense(3, "softmax")(x))


def adaptive():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(inputs))
    pooled = [layers.AdaptiveAveragePooling2D(3)(x), layers.AdaptiveMaxPooling2D(3)(x)]
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.Flatten()(layers.Concatenate()(pooled))))


def moved():
    kinds = (
        layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomZoom(0.2), layers.RandomTranslation(0.2, 0.2),
        layers.RandomShear(0.2, 0.2), layers.RandomPerspective(), layers.RandomElasticTransform(),
        layers.RandomErasing(), layers.RandomCrop(16, 16), layers.RandomGaussianBlur(),
    )  # fmt: skip
    return classified(*kinds, layers.Rescaling(1 / 255), layers.Flatten())


def coloured():
    kinds = (
        layers.RandomBrightness(0.2), layers.RandomContrast(0.2), layers.RandomColorDegeneration(0.5),
        layers.RandomColorJitter(saturation_factor=0.3), layers.RandomGrayscale(0.5), layers.RandomHue(0.2),
        layers.RandomInvert(0.5), layers.RandomPosterization(4), layers.RandomSaturation(0.5),
        layers.RandomSharpness(0.5),
    )  # fmt: skip
    return classified(*kinds, layers.Rescaling(1 / 255), layers.Flatten())


def mixed():
    kinds = (layers.AugMix(), layers.CutMix(), layers.MixUp(), layers.RandAugment(), layers.RandomColorJitter(0.2))
    return classified(layers.Pipeline(list(kinds)), layers.Rescaling(1 / 255), layers.Flatten())


def resized():
    return classified(
        layers.Resizing(12, 20, interpolation="bilinear", crop_to_aspect_ratio=True),
        layers.CenterCrop(8, 10),
        layers.Solarization(threshold_factor=0.5, value_range=(0, 255)),
        layers.Rescaling(1 / 255, offset=-0.5),
        layers.Flatten(),
    )


class Equalized(keras.Model):
    """Keras 3.15 takes no `Equalization` into a functional model, so this one is subclassed."""

    def __init__(self):
        super().__init__()
        self.contrast, self.equal = layers.AutoContrast(value_range=(0, 255)), layers.Equalization()
        self.end = layers.Dense(3, "softmax")

    def call(self, x):
        return self.end(keras.ops.reshape(self.equal(self.contrast(x)) / 255, (-1, 768)))


def equalized():
    model = Equalized()
    model(np.zeros((2, 16, 16, 3), "float32"))
    return model


def contrasted():
    return classified(
        layers.ContrastLimitedAdaptiveHistogramEqualization(value_range=(0, 255), tile_grid_size=(4, 4)),
        layers.Rescaling(1 / 255),
        layers.Flatten(),
    )


def resnet():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same")(layers.Rescaling(1 / 255)(inputs))
    for _ in range(2):
        y = layers.Conv2D(4, 3, padding="same", use_bias=False)(layers.ReLU()(layers.BatchNormalization()(x)))
        x = layers.Add()([x, y])
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x)))


def mobilenet():
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=3)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):  # as after training: what a layer gives is not close to zero
            layer.moving_variance.assign(0.15 * layer.moving_variance)
    return model


def volumes():
    inputs = keras.Input((8, 8, 8, 1))
    x = layers.SpatialDropout3D(0.5)(layers.Conv3D(3, 3, padding="same", activation="relu")(inputs))
    ways = [
        layers.GlobalMaxPooling3D()(layers.Conv3DTranspose(2, 2, strides=2)(layers.MaxPooling3D()(x))),
        layers.GlobalAveragePooling3D()(layers.ZeroPadding3D()(layers.AveragePooling3D(2)(x))),
        layers.GlobalMaxPooling3D()(layers.UpSampling3D()(layers.Cropping3D(2)(x))),
        layers.Flatten()(layers.AdaptiveAveragePooling3D(2)(x)),
        layers.Flatten()(layers.AdaptiveMaxPooling3D(2)(x)),
    ]
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.Concatenate()(ways)))


MODELS = {
    "CNN": case(cnn, PIXELS),
    "depthwise and separable CNN": case(separable, PIXELS),
    "U-net": case(unet, PIXELS),
    "CNN, images of any size": case(free_size, Takes((None, None, 3), low=0, high=255), lengths=(8, 13)),
    "adaptive pooling": case(adaptive, PIXELS),
    "augmentation that moves": case(moved, PIXELS),
    "augmentation that colours": case(coloured, PIXELS),
    "augmentation that mixes": case(mixed, PIXELS),
    "resizing and cropping": case(resized, PIXELS),
    "equalization": case(equalized, PIXELS),
    "adaptive equalization": case(contrasted, PIXELS),
    "ResNet": case(resnet, PIXELS),
    "MobileNetV2": case(mobilenet, Takes((32, 32, 3))),
    "Conv3D": case(volumes, VOLUME),
}
