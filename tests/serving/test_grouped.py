"""Convolutions in groups are written for a server that has switched XLA off, and compute the same."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tests.exports import predicted, serve
from tests.tools import mostly_slow

KINDS = {
    "Conv1D": ((12, 6), layers.Conv1D, {"filters": 4, "groups": 2, "padding": "causal", "dilation_rate": 2}),
    "Conv2D": ((9, 8, 6), layers.Conv2D, {"filters": 9, "groups": 3, "strides": (2, 1), "padding": "same"}),
    "Conv3D": ((5, 5, 5, 4), layers.Conv3D, {"filters": 2, "groups": 2}),
    "one channel each": ((9, 8, 6), layers.Conv2D, {"filters": 12, "groups": 6, "padding": "same", "strides": 2}),
    "one channel each, dilated": ((9, 8, 6), layers.Conv2D, {"filters": 6, "groups": 6, "dilation_rate": 2}),
}


@pytest.mark.parametrize("kind", mostly_slow(KINDS, "Conv2D"))
def test_the_same_without_xla(tmp_path, kind):
    shape, layer, options = KINDS[kind]
    convolution = layer(kernel_size=3, bias_initializer="ones", **options)
    model = keras.Sequential([keras.Input(shape), convolution, layers.Flatten(), layers.Dense(2)])
    path = tf_reg.export(model, tmp_path / "m", output_name="numbers", examples=np.ones((2, *shape)))
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    np.testing.assert_allclose(serve(path, x)["numbers"], predicted(model, x), rtol=1e-5, atol=1e-5)
    assert "call" not in vars(convolution)
