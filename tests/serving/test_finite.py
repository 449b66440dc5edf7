"""Finite in, finite out, or refused."""

import keras
import numpy as np
import pytest

import tf_reg
from tests.exports import published
from tf_reg.serving.client import requests
from tf_reg.serving.verify.verification import VerificationError


def model(bias):
    """Two outputs; one value of the second one is `bias`."""
    inputs = keras.Input((4,))
    first, second = keras.layers.Dense(2, name="first")(inputs), keras.layers.Dense(3, name="second")(inputs)
    made = keras.Model(inputs, {"price": first, "amount": second})
    made.get_layer("second").bias.assign([0.0, bias, 0.0])
    return made


@pytest.mark.parametrize("bias", [np.nan, np.inf])
def test_a_model_that_is_not_finite_is_not_published(tmp_path, bias):
    with pytest.raises(VerificationError, match="the output amount is NaN or infinite, although the inputs are finite"):
        tf_reg.export(model(bias), tmp_path / "m", output_name="price")
    assert published(tmp_path / "m") == []


def test_nan_for_nan_is_right(tmp_path):
    examples = np.array([[0.0, 1.0, 2.0, 3.0], [np.nan, 1.0, 2.0, 3.0]], "float32")
    path = tf_reg.export(model(0.0), tmp_path / "m", output_name="price", examples=examples)
    assert path.name == "1"


def test_the_client_says_that_there_is_no_answer():
    said = requests._said({"probabilities": np.array([0.5, np.nan])}, ["a", "b"], 2)
    assert said == ["no answer: the model gives NaN or an infinite number"]
