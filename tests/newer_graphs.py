"""Models with operations, attributes and values of attributes that TensorFlow has had only since some version."""

from __future__ import annotations

import base64

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

ops = tf.raw_ops
FILES = {  # the smallest images of their kinds, of 2x3 and 2x2 pixels
    "webp": base64.b64decode("UklGRhoAAABXRUJQVlA4TA4AAAAvAkAAAAcQEf0PRET/Aw=="),
    "jxl": base64.b64decode("/woIELASCAgQAFwASxLFgkWAHL0xqnCBCV0qDp901Te/5QM="),
}
_BYTES = {"quantization_min_val": 0, "quantization_max_val": 255, "scales": 0.5, "zero_points": 0}


def _numbers_in(operation):
    def call(files):
        def count(file):
            return tf.cast(tf.size(getattr(ops, operation)(contents=file)), "float32")

        return tf.map_fn(count, files[:, 0], fn_output_signature=tf.TensorSpec((), "float32"))[:, None]

    return call


def _batched(x):
    double = tf.function(lambda y: 2 * y).get_concrete_function(tf.TensorSpec((None, 1), "float32"))
    sizes = {
        "num_batch_threads": 1,
        "max_batch_size": 64,
        "batch_timeout_micros": 1,
        "enable_large_batch_splitting": False,
    }
    given = {"in_tensors": [x], "captured_tensors": [], "f": double, "Tout": [tf.float32]}
    [y] = ops.BatchFunction(**given, **sizes, mixed_priority_policy="priority_merge")
    return tf.ensure_shape(y, (None, 1))


def _item_of_a_list(x):
    rows = ops.TensorListFromTensor(tensor=tf.transpose(x), element_shape=tf.constant([-1]))
    shape = tf.constant([-1], "int64")
    return ops.TensorListGetItem(input_handle=rows, index=0, element_shape=shape, element_dtype=tf.float32)[:, None]


def _as_bytes(x):
    return ops.UniformQuantize(input=x, Tout=tf.quint8, **_BYTES)


def _from_bytes(x):
    quantized = ops.QuantizeV2(input=x, min_range=0.0, max_range=127.5, T=tf.quint8).output
    return ops.UniformDequantize(input=quantized, Tout=tf.float32, **_BYTES)


NEWER = {  # by kind: what is computed of (batch, 1), since which version, and what a refusal names
    "webp": (_numbers_in("DecodeWebP"), "2.20", "it has no operation DecodeWebP"),
    "jxl": (_numbers_in("DecodeJxl"), "2.21", "it has no operation DecodeJxl"),
    "shape": (_item_of_a_list, "2.21", "TensorListGetItem has no attribute Tshape there"),
    "policy": (_batched, "2.19", "BatchFunction can't have mixed_priority_policy='priority_merge' there"),
    "to bytes": (
        lambda x: tf.cast(tf.bitcast(_as_bytes(x), "uint8"), "float32"),
        "2.20",
        "UniformQuantize can't have Tout=quint8 there",
    ),
    "of bytes": (_from_bytes, "2.20", "UniformDequantize can't have Tin=quint8 there"),
}


class Newer(layers.Layer):
    """A layer that computes one of `NEWER`."""

    def __init__(self, kind):
        super().__init__(name="newer")
        self.kind = kind

    def call(self, x):
        return NEWER[self.kind][0](x)

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, 1), "float32")


def newer(kind):
    """Return a model with a layer `newer`, and three examples for it; skip where the installed TensorFlow is older."""
    since = NEWER[kind][1]
    if [int(part) for part in tf.__version__.split(".")[:2]] < [int(part) for part in since.split(".")]:
        pytest.skip(f"TensorFlow has this since {since}; {tf.__version__} is installed")
    inputs = keras.Input((1,), dtype="string" if kind in FILES else "float32", name="x")
    examples = np.array([[0.5], [1.0], [2.0]], "float32")
    if kind in FILES:
        examples = np.full((3, 1), FILES[kind], object)
    return keras.Model(inputs, Newer(kind)(inputs)), examples
