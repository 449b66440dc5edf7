"""Models of the matrix by the form that they have: subclassed, quantised, of several precisions, with LoRA."""

import tempfile

import keras
import numpy as np
from keras import layers, ops

from tests.matrix.cases import Case, Takes, case

FOUR = Takes((4,))
TEXTS = ("good", "bad")


class Classifier(keras.Model):
    """A subclassed model with dropout."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense, self.drop, self.end = layers.Dense(6, "relu"), layers.Dropout(0.5), layers.Dense(3, "softmax")

    def call(self, x, training=False):
        return self.end(self.drop(self.dense(x), training=training))


class Tagger(keras.Model):
    """A subclassed model of tokens and lengths, with two outputs."""

    def __init__(self):
        super().__init__()
        self.embedding, self.rnn = layers.Embedding(20, 6), layers.GRU(5, return_sequences=True)
        self.tags, self.whole = layers.Dense(4, "softmax"), layers.Dense(1)

    def call(self, inputs):
        x = self.rnn(self.embedding(inputs["tokens"]))
        return {"tags": self.tags(x), "score": self.whole(ops.max(x, axis=1)) * inputs["weight"]}


def subclassed():
    model = Classifier()
    model(np.zeros((2, 4), "float32"))
    return model


def tagger():
    model = Tagger()
    model({"tokens": np.zeros((2, 3), "int32"), "weight": np.zeros((2, 1), "float32")})
    return model


def dense():
    return keras.Sequential([keras.Input((16,)), layers.Dense(32, "relu"), layers.Dense(3, "softmax")])


def quantized(model, mode):
    for layer in model.layers:  # `model.quantize` warns of the InputLayer
        layer.quantize(mode)
    return model


def int8():
    return quantized(dense(), "int8")


def int4():
    return quantized(dense(), "int4")


def lora():
    model = keras.Sequential(
        [keras.Input((None,), dtype="int32"), layers.Embedding(20, 8), layers.GlobalMaxPooling1D(), dense_of(8)]
    )
    model.layers[0].enable_lora(2)
    model.layers[2].enable_lora(2)
    return model


def dense_of(size):
    layer = layers.Dense(3, "softmax")
    layer.build((None, size))
    return layer


def int8_lora():
    model = dense()
    model.layers[0].enable_lora(2)
    return quantized(model, "int8")


def half(policy):
    def make():
        body = [layers.Conv2D(4, 3, dtype=policy), layers.LayerNormalization(dtype=policy), layers.Flatten()]
        return keras.Sequential([keras.Input((8, 8, 1)), *body, layers.Dense(3, "softmax", dtype="float32")])

    return make


def float64():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, "softmax", dtype="float64")])


def nested():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu"), layers.BatchNormalization()], name="inner")
    middle = keras.Sequential([keras.Input((4,)), inner, layers.Dense(4)], name="middle")
    return keras.Sequential([keras.Input((4,)), middle, layers.Dense(3, "softmax")])


def saved_model():
    """A SavedModel as a layer: what `TFSMLayer` is for."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu")])
    with tempfile.TemporaryDirectory() as folder:
        inner.export(folder, verbose=False)
        return keras.Sequential([keras.Input((4,)), layers.TFSMLayer(folder), layers.Dense(3, "softmax")])


TAGS = {"tokens": Takes((None,), "int32", 0, 20), "weight": Takes((1,))}
MODELS = {
    "subclassed": case(subclassed, FOUR),
    "subclassed, two inputs and outputs": Case(tagger, TAGS, lengths=(6, 11)),
    "models in models": case(nested, FOUR),
    "a SavedModel in a layer": case(saved_model, FOUR),
    "LoRA": case(lora, Takes((None,), "int32", 0, 20), lengths=(6, 11)),
    "int8": case(int8, Takes((16,)), options={"gpu": False}),
    "int4": case(int4, Takes((16,)), options={"gpu": False}),
    "int8 with LoRA": case(int8_lora, Takes((16,)), options={"gpu": False}),
    "mixed_bfloat16": case(half("mixed_bfloat16"), Takes((8, 8, 1)), tolerance=1e-2),
    "mixed_float16": case(half("mixed_float16"), Takes((8, 8, 1)), tolerance=2e-3),
    "float64": case(float64, FOUR),
}
