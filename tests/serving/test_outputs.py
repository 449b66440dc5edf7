"""Further outputs of an export: classes, the most probable ones, logits; and dropout that stays behind."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tests.exports import predicted, published, serve
from tf_reg._walk import layer_paths
from tf_reg.serving.verify.verification import VerificationError


@pytest.mark.parametrize("end", ["softmax", "sigmoid", "layer", "activation", "binary"])
def test_classes_and_logits(tmp_path, end):
    ends = {
        "softmax": [layers.Dense(5, activation="softmax")],
        "sigmoid": [layers.Dense(5, activation="sigmoid")],
        "layer": [layers.Dense(5), layers.Softmax()],
        "activation": [layers.Dense(5), layers.Activation("softmax")],
        "binary": [layers.Dense(1, activation="sigmoid")],
    }
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, activation="relu"), *ends[end]])
    top = 1 if end == "binary" else 3
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    before = model.get_config()
    path = tf_reg.export(model, tmp_path / "m", class_id=True, top_k=top, logits=True, examples=x)
    assert model.get_config() == before
    outputs = {name: value.numpy() for name, value in serve(path, x).items()}
    expected = predicted(model, x)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)
    ranks = np.argsort(-expected, axis=1)[:, :top]
    np.testing.assert_array_equal(outputs["class_id"], expected[:, 0] > 0.5 if end == "binary" else ranks[:, 0])
    np.testing.assert_array_equal(outputs["top_k_ids"], ranks)
    np.testing.assert_allclose(outputs["top_k_probabilities"], np.take_along_axis(expected, ranks, 1), atol=1e-6)
    finish = keras.ops.sigmoid if end in ("sigmoid", "binary") else keras.ops.softmax
    np.testing.assert_allclose(finish(outputs["logits"]), expected, atol=1e-6)
    assert outputs["logits"].min() < 0


def test_the_last_layer_may_be_shared(tmp_path):
    inputs, last = keras.Input((4,)), layers.Dense(4, activation="softmax", kernel_initializer="glorot_normal")
    first, second = last(inputs), last(layers.Dense(4)(inputs))
    for number, output in enumerate((first, second), start=1):
        model, x = keras.Model(inputs, output), np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
        outputs = serve(tf_reg.export(model, tmp_path / "m", examples=x, logits=True), x)
        np.testing.assert_allclose(outputs["probabilities"], predicted(model, x), atol=1e-6)
        np.testing.assert_allclose(keras.ops.softmax(outputs["logits"]), outputs["probabilities"], atol=1e-6)
        assert number == len(published(tmp_path / "m"))


RATES = {"dropout": 0.3, "recurrent_dropout": 0.2}
RECURRENT = {
    "LSTM": lambda: layers.LSTM(4, **RATES),
    "GRU": lambda: layers.Bidirectional(layers.GRU(4, **RATES)),
    "SimpleRNN": lambda: layers.Bidirectional(layers.SimpleRNN(4, **RATES)),
    "ConvLSTM1D": lambda: layers.ConvLSTM1D(2, 2, **RATES),
    "cells": lambda: layers.RNN([layers.LSTMCell(4, **RATES), layers.GRUCell(4, **RATES)]),
}


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow) for k in RECURRENT])
def test_dropout_of_recurrent_layers_stays_behind(tmp_path, kind):
    shape = (5, 6, 2) if kind == "ConvLSTM1D" else (5, 3)
    ends = [layers.Flatten(), layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input(shape), RECURRENT[kind](), *ends])
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
    path = tf_reg.export(model, tmp_path / "m", examples=x)
    np.testing.assert_allclose(serve(path, x)["probabilities"], predicted(model, x), atol=1e-5)
    cells = [layer for _, layer in layer_paths(model) if "recurrent_dropout" in vars(layer)]
    assert cells
    assert all((cell.dropout, cell.recurrent_dropout) == (0.3, 0.2) for cell in cells)
    model.export(tmp_path / "k" / "1", verbose=False)
    with pytest.raises(VerificationError, match=r"AssignVariableOp writes a variable|draws random numbers"):
        tf_reg.verify_saved_model(tmp_path / "k" / "1")
