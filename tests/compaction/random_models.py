"""Random networks with random dead units, and numbers in all of their weights."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from tests.compaction.random_sequences import SequenceBlocks
from tf_reg._graph import as_graph
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.plan import RULES


class Builder(SequenceBlocks):
    """Draws a network, of images, sequences or vectors.

    Args:
        seed: The same seed gives the same network.
    """

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        keras.utils.set_random_seed(seed)

    def one_of(self, *choices):
        return choices[self.random.integers(len(choices))]

    def model(self):
        kind = self.one_of("image", "image", "dense", "sequence", "sequence")
        inputs, x = self.sequence() if kind == "sequence" else (None, None)
        if inputs is None:
            inputs = x = keras.Input((8, 8, 3) if kind == "image" else (12,))
        block = {"image": self.block, "dense": self.dense_block, "sequence": self.sequence_block}[kind]
        for _ in range(self.random.integers(2, 5 if kind != "sequence" else 4)):
            x = block(x)
        if kind == "image":
            x = self.one_of(layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)()(x)
        if kind != "dense":
            x = self.dense_block(self.pooled(x) if kind == "sequence" else x)
        return keras.Model(inputs, layers.Dense(3)(x))

    def activation(self):
        return self.one_of("relu", "tanh", "linear", "gelu", "sigmoid", "elu")

    def normalized(self, x):
        if self.random.random() < 0.5:
            x = layers.BatchNormalization(scale=self.one_of(True, False), center=self.one_of(True, False))(x)
        return layers.Activation(self.activation())(x) if self.random.random() < 0.5 else x

    def conv(self, width, **options):
        size = int(self.one_of(1, 3))
        padding = options.pop("padding", self.one_of("same", "valid"))
        options |= {"use_bias": bool(self.one_of(True, False)), "activation": self.activation()}
        return layers.Conv2D(width, size, padding=padding, **options)

    def block(self, x):
        width = x.shape[-1]
        kinds = ("plain", "residual", "dense net", "depthwise", "squeeze", "separable", "pool", "shared", "nested")
        kind = self.one_of(*kinds, "grouped")
        if kind == "residual":
            y = self.normalized(self.conv(width, padding="same")(x))
            return self.one_of(layers.Add, layers.Maximum, layers.Subtract, layers.Average)()([x, y])
        if kind == "dense net":
            return layers.Concatenate()([x, self.conv(int(self.random.integers(2, 6)), padding="same")(x)])
        if kind == "depthwise":
            x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=int(self.one_of(1, 2)))(x)
            return self.normalized(x)
        if kind == "squeeze":
            gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
            gate = layers.Conv2D(4, 1, activation="relu")(gate)
            return layers.Multiply()([x, layers.Conv2D(width, 1, activation="sigmoid")(gate)])
        if kind == "separable":
            return layers.SeparableConv2D(int(self.random.integers(3, 8)), 3, padding="same")(x)
        if kind == "pool" and x.shape[1] >= 4:
            return self.one_of(layers.MaxPooling2D, layers.AveragePooling2D)(2)(layers.ZeroPadding2D()(x))
        if kind == "shared":
            shared = self.conv(width, padding="same")
            return layers.Dropout(0.5)(shared(keras.ops.add(shared(x), 0.5)))
        if kind == "nested":
            inner = keras.Input(x.shape[1:])
            return keras.Model(inner, self.normalized(self.conv(5, padding="same")(inner)))(x)
        if kind == "grouped":
            x = layers.Conv2D(8, 3, padding="same", groups=int(self.one_of(2, 4)))(self.conv(8)(x))
            return self.one_of(layers.GroupNormalization(4), layers.Activation("relu"))(x)
        return self.normalized(self.conv(int(self.random.integers(3, 9)), padding="same")(x))

    def dense_block(self, x):
        width = x.shape[-1]
        kind = self.one_of("plain", "residual", "gate", "concatenate", "reshape")
        if kind == "residual":
            return x + layers.Dense(width, self.activation())(x)
        if kind == "gate":
            return x * layers.Dense(width, "sigmoid")(x)
        if kind == "concatenate":
            return layers.Concatenate()([layers.Dense(5, self.activation())(x), layers.Dense(4, self.activation())(x)])
        if kind == "reshape":
            x = layers.Reshape((4, 3))(layers.Dense(12, self.activation())(x))
            return layers.Flatten()(layers.Permute((2, 1))(x))
        x = layers.Dense(int(self.random.integers(4, 10)), self.activation())(x)
        return layers.Dropout(0.3)(self.normalized(x))

    def fill(self, model):
        """Draw all weights, then kill random inputs and outputs of kernels, and some scales of normalizations."""
        for variable in model.variables:
            statistic = not variable.trainable and not variable.name.startswith("moving_")
            if statistic or not keras.backend.is_float_dtype(variable.dtype):
                continue  # such as the rate of a dropout layer
            value = self.random.normal(size=variable.shape) * (0.3 if len(variable.shape) > 1 else 1.0)
            if variable.name == "moving_variance":
                value = np.abs(value) + 0.5
            elif variable.name == "gamma":
                value *= self.random.random(variable.shape) > 0.2
            elif len(variable.shape) > 1:
                for axis in (-2, -1):
                    if variable.shape[axis] > 3:
                        dead = self.random.random(variable.shape[axis]) < self.one_of(0.0, 0.2, 0.4)
                        dead[self.random.integers(len(dead))] = False
                        np.moveaxis(value, axis, 0)[dead] = 0
            variable.assign(value.astype(keras.backend.standardize_dtype(variable.dtype)))
        self.kill_together(model)
        return model

    def kill_together(self, model):
        """Nobody reads some channels any more, wherever they are read."""
        analysis = Analysis(as_graph(model), RULES)
        gone = self.random.random(len(analysis.labels)) < self.one_of(0.0, 0.2, 0.3)
        for read in analysis.reads:
            value = keras.ops.convert_to_numpy(read.kernel).copy()
            dead = gone[analysis.labels.roots(read.channels.ids)]
            dead[self.random.integers(len(dead))] = False
            np.moveaxis(value, read.inputs, 0)[dead] = 0
            read.kernel.assign(value)


def random_model(seed):
    """A network of a seed."""
    builder = Builder(seed)
    return builder.fill(builder.model())
