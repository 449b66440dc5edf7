"""Small models that between them put regularizers everywhere Keras does."""

from __future__ import annotations

import keras
from keras import layers, regularizers


@keras.saving.register_keras_serializable(package="tests")
class FourthPower(keras.Regularizer):
    """A user's own regularizer."""

    def __call__(self, x):
        return 0.1 * keras.ops.sum(keras.ops.power(x, 4))

    def get_config(self):
        return {}


@keras.saving.register_keras_serializable(package="tests")
class TwoKernels(keras.Model):
    """A subclassed model: a weight of its own and two layers of one name."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(4, name="dense", kernel_regularizer="l1")
        self.second = layers.Dense(1, name="dense", kernel_regularizer="l2")
        self.scale = self.add_weight(shape=(4,), name="scale", regularizer=regularizers.L2(0.5))

    def call(self, x):
        return self.second(self.scale * self.first(x))


def dense():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, kernel_regularizer=regularizers.L1(0.01), bias_regularizer="l2"),
            layers.Dense(4, kernel_regularizer=regularizers.L2(0.02)),
            layers.Dense(3, kernel_regularizer=regularizers.L1L2(0.03, 0.04)),
            layers.Dense(1),
        ]
    )


def orthogonal_and_custom():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4, kernel_regularizer=regularizers.OrthogonalRegularizer(0.1)),
            layers.Dense(1, kernel_regularizer=FourthPower()),
        ]
    )


def nested_and_shared():
    def encoder(name):
        inputs = keras.Input((3,))
        return keras.Model(inputs, layers.Dense(2, name="dense", kernel_regularizer="l1")(inputs), name=name)

    left, right, shared = keras.Input((3,)), keras.Input((3,)), encoder("shared")
    merged = layers.Concatenate()([encoder("a")(left), encoder("b")(right), shared(left), shared(right)])
    return keras.Model([left, right], layers.Dense(1, name="dense", kernel_regularizer="l2")(merged))


def recurrent():
    return keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.Bidirectional(
                layers.LSTM(3, kernel_regularizer="l1", recurrent_regularizer="l2", name="lstm"), name="both_ways"
            ),
            layers.Dense(1),
        ]
    )


def convolutions():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.DepthwiseConv2D(3, depthwise_regularizer="l1"),
            layers.SeparableConv2D(3, 2, depthwise_regularizer="l1", pointwise_regularizer="l2"),
            layers.Conv2D(2, 2, kernel_regularizer="l1l2"),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )


def frozen_layer():
    model = dense()
    model.layers[0].trainable = False
    return model


def unregularized():
    return keras.Sequential([keras.Input((6,)), layers.Dense(1)])


def subclassed():
    return TwoKernels(name="two_kernels")


BUILDERS = (
    dense,
    orthogonal_and_custom,
    nested_and_shared,
    recurrent,
    convolutions,
    frozen_layer,
    unregularized,
    subclassed,
)
NAMES = [builder.__name__ for builder in BUILDERS]


def inputs_of(model, examples):
    """Random inputs of the right shapes for one of the models above."""
    shapes = [tensor.shape[1:] for tensor in model.inputs] if getattr(model, "inputs", None) else [(6,)]
    values = [keras.ops.convert_to_numpy(keras.random.normal((examples, *shape))) for shape in shapes]
    return values if len(values) > 1 else values[0]
