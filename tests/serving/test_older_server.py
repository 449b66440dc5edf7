"""What `export(server="2.18")` lets through, TensorFlow 2.18 loads and runs; what it refuses, that one refuses too.

The libraries of TensorFlow 2.18, in a folder of their own, are asked through their C API in a process apart.
"""

import shutil
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests import loader
from tests.exports import classifier, everything
from tests.newer_graphs import NEWER, newer
from tests.tools import missing, on_tensorflow
from tf_reg.serving.verify import c_api
from tf_reg.serving.verify.verification import VerificationError

pytestmark = [pytest.mark.slow, on_tensorflow("models of strings and tables are TensorFlow's")]
OLD = "2.18"
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def old_tensorflow(script, tmp_path_factory):
    """A folder whose package `tensorflow` is nothing but the libraries of 2.18."""
    folder = tmp_path_factory.mktemp("old")
    try:
        script("server_tables").fetch(OLD, folder)
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:]
        missing(f"tensorflow-{OLD}", f"TensorFlow {OLD} can't be had from the registry: {' '.join(last)}")
    yield folder
    shutil.rmtree(folder)  # 1.3 GB


@pytest.fixture
def verified_there(old_tensorflow, monkeypatch):
    """Verify a SavedModel by the old libraries: single examples, batches, and the warm-up requests."""

    def verified(path, model, examples):
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", str(old_tensorflow))
            patch.setattr(c_api, "run_apart", loader.run_apart)
            return tf_reg.verify_saved_model(path, model, examples, gpu=False)

    return verified


def table_of_words():
    inputs = {"word": keras.Input((1,), dtype="string", name="word"), "size": keras.Input((1,), name="size")}
    words = layers.StringLookup(vocabulary=["a", "ä", "東京"], output_mode="one_hot")(inputs["word"])
    x = layers.Concatenate()([words, inputs["size"]])
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(4, "relu")(x)))


class Codes(layers.Layer):
    """Looks numbers up in a table of TensorFlow's."""

    def __init__(self):
        super().__init__()
        rows = tf.lookup.KeyValueTensorInitializer([1, 2, 3], [10.0, 20.0, 30.0], "int64", "float32")
        self.table = tf.lookup.StaticHashTable(rows, -1.0)

    def call(self, x):
        return self.table.lookup(tf.cast(x, "int64"))

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, "float32")


def attention():
    x = inputs = keras.Input((6, 4))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 3)(x, x)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(2)(x))


def numbers(*shape):
    return RNG.normal(size=(4, *shape)).astype("float32")


STACKS = {  # by kind: the shape of an input, the layers
    "depthwise": ((8, 8, 3), lambda: [layers.SeparableConv2D(4, 3), layers.DepthwiseConv2D(3), layers.Flatten()]),
    "transposed": ((4, 4, 2), lambda: [layers.Conv2DTranspose(3, 3, strides=2), layers.GlobalMaxPooling2D()]),
    "volume": ((4, 4, 4, 1), lambda: [layers.Conv3D(2, 2), layers.MaxPooling3D(), layers.Flatten()]),
    "sequence": ((9, 2), lambda: [layers.Conv1D(4, 3, dilation_rate=2), layers.AveragePooling1D(2), layers.Flatten()]),
    "lstm": ((5, 3), lambda: [layers.LSTM(4, dropout=0.2, return_sequences=True), layers.LSTM(3)]),
    "lstm of any length": ((None, 3), lambda: [layers.LSTM(4)]),
    "gru": ((5, 3), lambda: [layers.Bidirectional(layers.GRU(4))]),
    "masked words": ((6,), lambda: [layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3)]),
    "convolutional lstm": ((3, 5, 2), lambda: [layers.ConvLSTM1D(2, 2), layers.Flatten()]),
    "each step": ((None, 4), lambda: [layers.TimeDistributed(layers.Dense(3, "gelu")), layers.GlobalMaxPooling1D()]),
    "norms": ((4, 6), lambda: [layers.GroupNormalization(2), layers.UnitNormalization(), layers.Flatten()]),
    "buckets": ((1,), lambda: [layers.Discretization([-1.0, 0.0, 1.0], output_mode="one_hot")]),
    "resized": ((5, 7, 3), lambda: [layers.Resizing(4, 4), layers.CenterCrop(3, 3), layers.Flatten()]),
    "a hash table": ((2,), lambda: [Codes()]),
    "half": ((4,), lambda: [layers.Dense(8, "swish", dtype="mixed_bfloat16")]),
}
WHOLE = {
    "classifier": (classifier, numbers(8, 8, 1)),
    "two inputs and outputs": (everything, {"left": numbers(8, 8, 1), "right": numbers(4)}),
    "attention": (attention, numbers(6, 4)),
    "strings": (
        table_of_words,
        {"word": np.array([["a"], ["ä"], ["never seen"], ["東京"]], object), "size": numbers(1)},
    ),
}
INTEGERS = {"masked words": 9, "a hash table": 5}  # below which number


def model_and_examples(kind):
    if kind in WHOLE:
        make, examples = WHOLE[kind]
        return make(), examples
    shape, make = STACKS[kind]
    examples = numbers(*(7 if size is None else size for size in shape))
    if kind in INTEGERS:
        examples = RNG.integers(0, INTEGERS[kind], (4, *shape))
    return keras.Sequential([keras.Input(shape, dtype=examples.dtype), *make(), layers.Dense(3)]), examples


@pytest.mark.parametrize("kind", [*STACKS, *WHOLE])
def test_what_is_let_through_runs_there(tmp_path, verified_there, kind):
    model, examples = model_and_examples(kind)
    outputs = {"output_name": "y"} if len(model.outputs) == 1 else {}
    path = tf_reg.export(model, tmp_path / "m", examples=examples, gpu=False, server=OLD, **outputs)
    found = verified_there(path, model, examples)
    assert found.compared >= 4
    assert found.difference <= (1e-2 if kind == "half" else 1e-5)


@pytest.mark.parametrize("kind", NEWER)
def test_what_is_refused_does_not_run_there(tmp_path, verified_there, kind):
    model, examples = newer(kind)
    options = {"output_name": "y", "examples": examples, "gpu": False}
    with pytest.raises(VerificationError, match=rf"TensorFlow Serving {OLD} can't read the graph: "):
        tf_reg.export(model, tmp_path / "m", server=OLD, **options)
    path = tf_reg.export(model, tmp_path / "m", **options)
    with pytest.raises(VerificationError, match=r"Op type not registered|not in the list of allowed|type int32"):
        verified_there(path, model, examples)
