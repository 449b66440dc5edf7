"""Models of the matrix that take vectors."""

import keras
import numpy as np
from keras import layers, ops

from tests.matrix.cases import Case, Takes, case

FOUR = Takes((4,))


def mlp():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.GaussianNoise(0.5),
            layers.Dense(8, kernel_regularizer="l1l2"),
            layers.BatchNormalization(),
            layers.Activation("gelu"),
            layers.Dropout(0.5),
            layers.Dense(6, "selu"),
            layers.AlphaDropout(0.5),
            layers.GaussianDropout(0.5),
            layers.ActivityRegularization(l2=1e-3),
            layers.Identity(),
            layers.Dense(3, "softmax"),
        ]
    )


def activations():
    x = inputs = keras.Input((4,))
    for layer in (
        layers.ReLU(max_value=6, negative_slope=0.1),
        layers.LeakyReLU(0.2),
        layers.ELU(),
        layers.PReLU(alpha_initializer="ones"),
        layers.UnitNormalization(),
    ):
        x = layer(layers.Dense(6)(x))
    for name in ("tanh", "silu", "softplus", "hard_sigmoid", "mish", "log_softmax", "exponential"):
        x = layers.Dense(6, name)(x)
    return keras.Model(inputs, layers.Softmax()(x))


def merges():
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    kinds = (layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply, layers.Subtract)
    merged = [kind()([left, right]) for kind in kinds]
    x = layers.Concatenate()([*merged, layers.Dot(axes=1, normalize=True)([left, right])])
    return keras.Model([left, right], layers.Dense(3, "softmax")(x))


def normalizations():
    adapted = layers.Normalization()
    adapted.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)))
    x = inputs = keras.Input((4,))
    for layer in (
        adapted,
        layers.SpectralNormalization(layers.Dense(6)),
        layers.LayerNormalization(),
        layers.RMSNormalization(),
        layers.GroupNormalization(3),
    ):
        x = layer(x)
    return keras.Model(inputs, layers.Dense(3, "softmax")(x))


def shapes():
    x = inputs = keras.Input((4,))
    x = layers.Permute((2, 1))(layers.Reshape((4, 2))(layers.Dense(8)(x)))
    x = layers.EinsumDense("abc,cd->abd", output_shape=(2, 5), bias_axes="d")(x)
    x = layers.Flatten()(layers.Concatenate(axis=1)([x, layers.RepeatVector(3)(layers.Dense(5)(inputs))]))
    return keras.Model(inputs, layers.Dense(3, "softmax")(x))


def residual_shared():
    shared = keras.Sequential([keras.Input((4,)), layers.Dense(4, "relu"), layers.Dense(4)], name="shared")
    x = inputs = keras.Input((4,))
    for _ in range(3):
        x = layers.Add()([x, shared(x)])
    return keras.Model(inputs, layers.Dense(3, "softmax")(x))


def several_outputs():
    left, right = keras.Input((4,), name="left"), keras.Input((2,), name="right")
    x = layers.Dense(6, "relu")(layers.Concatenate()([left, right]))
    outputs = {"kind": layers.Dense(3, "softmax")(x), "size": layers.Dense(1)(x), "code": x}
    return keras.Model({"left": left, "right": right}, outputs)


def lambda_layer():
    square = layers.Lambda(lambda x: ops.sqrt(ops.square(x) + 1))
    return keras.Sequential([keras.Input((4,)), layers.Dense(6), square, layers.Dense(3, "softmax")])


def buckets():
    inputs = keras.Input((4,))
    numbers = layers.Discretization(bin_boundaries=[-1.0, 0.0, 0.5])(inputs)
    hot = layers.CategoryEncoding(4, output_mode="multi_hot")(numbers)
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.Concatenate()([hot, inputs])))


def ops_alone():
    inputs = keras.Input((4,))
    x = ops.matmul(inputs, ops.convert_to_tensor(np.random.default_rng(0).normal(size=(4, 5)).astype("float32")))
    x = ops.where(x > 0, ops.log1p(ops.abs(x)), ops.tanh(x))
    x = ops.concatenate([ops.sort(x, axis=-1), ops.cumsum(x, axis=-1), ops.max(x, axis=-1, keepdims=True)], axis=-1)
    return keras.Model(inputs, ops.softmax(x / ops.norm(x, axis=-1, keepdims=True)))


class Gated(layers.Layer):
    """Multiplies by a learnt gate, adds noise in training, and takes another branch for big vectors."""

    def build(self, shape):
        self.gate = self.add_weight(shape=(shape[-1],), name="gate")

    def call(self, x, training=False):
        if training:
            x = x + keras.random.normal(ops.shape(x))
        big = ops.sum(ops.square(x), axis=-1, keepdims=True) > 2
        return ops.where(big, ops.sigmoid(self.gate) * x, -x)


def own_layer():
    return keras.Sequential([keras.Input((4,)), layers.Dense(4), Gated(), layers.Dense(3, "softmax")])


def autoencoder():
    return keras.Sequential([keras.Input((4,)), layers.Dense(2, "tanh"), layers.Dense(4)])


TWO = {"left": FOUR, "right": FOUR}
NUMBERS = {"output_name": "numbers"}
MODELS = {
    "MLP with dropout and batch norm": case(mlp, FOUR),
    "activations": case(activations, FOUR),
    "merging layers": Case(merges, TWO),
    "normalizations": case(normalizations, FOUR),
    "reshaping and EinsumDense": case(shapes, FOUR),
    "residual, one block thrice": case(residual_shared, FOUR),
    "two inputs, three outputs": Case(several_outputs, {"left": FOUR, "right": Takes((2,))}),
    "Lambda": case(lambda_layer, FOUR),
    "Discretization": case(buckets, FOUR, options={"gpu": False}),
    "keras.ops alone": case(ops_alone, FOUR),
    "a layer of one's own": case(own_layer, FOUR),
    "autoencoder": case(autoencoder, FOUR, options=NUMBERS),
}
