"""Options of an export that don't fit the model, or one another, are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests.exports import everything, pixels, published


def test_options_that_do_not_fit_are_refused(tmp_path):
    features = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    two = everything()
    relu = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu")])
    for model, options, message in (
        (features, {"top_k": 4}, "from 1 to the model's 3 classes"),
        (features, {"top_k": 0}, "from 1 to the model's 3 classes"),
        (features, {"signatures": ["serving_bytes"]}, "needs images of a fixed size"),
        (features, {"signatures": ["serving_float"]}, "`signatures` may have"),
        (features, {"signatures": "serving_uint8"}, "`signatures` may have"),
        (features, {"signatures": None}, "`signatures` may have.*in a list. Received: None"),
        (features, {"signatures": [["serving_uint8"]]}, "`signatures` may have"),
        (features, {"top_k": True}, "from 1 to the model's 3 classes. Received: True"),
        (features, {"output_name": "logits", "logits": True}, "Received: logits, logits"),
        (features, {"output_name": "class_id", "class_id": True}, "Received: class_id, class_id"),
        (features, {"output_name": "top_k_ids", "top_k": 1}, "Received: top_k_ids, top_k_ids, top_k_top_k_ids"),
        (features, {"output_name": "ids", "top_k": 1}, "choose another `output_name`. Received: ids, top_k_ids, top_k"),
        (two, {"class_id": True}, "for a model with one output"),
        (two, {"signatures": ["serving_uint8"]}, "for a model with one input"),
        (relu, {"logits": True}, "ends in a softmax or a sigmoid"),
        (features, {"details": {"classes": {1, 2}}}, "what JSON can hold"),
        (features, {"details": {"loss": float("nan")}}, "what JSON can hold"),
        (features, {"details": {"files": []}}, "The manifest itself says files"),
        (features, {"details": {"tolerance": 1, "backend": ""}}, "The manifest itself says backend, tolerance"),
        (features, {"details": ["a"]}, r"`details` must be a dictionary.*Received: \['a'\]"),
        (features, {"examples": np.zeros((0, 4))}, "at least 1"),
        (features, {"examples": np.zeros((2, 5))}, r"the input inputs .* \(None, 4\).*Received: the shape \(2, 5\)"),
        (features, {"examples": np.zeros(4)}, r"Received: the shape \(4,\)"),
        (features, {"examples": tf.data.Dataset.range(3)}, "Received: .*Dataset, which is no array of numbers"),
        (features, {"examples": [[1], [2, 3]]}, "Received: list, which is no array of numbers"),
        (features, {"examples": np.array([["a"] * 4])}, "Received: ndarray, which is no array of numbers"),
        (two, {"examples": tf.data.Dataset.range(2)}, "list or a dictionary of arrays for the inputs left, right"),
        (two, {"examples": {"left": pixels(2), "right": pixels(2)}}, r"the input right .* \(None, 4\)"),
        (two, {"examples": {"left": pixels(2)}}, "for the inputs left, right. Received: left"),
        (two, {"examples": [pixels(2)]}, "for the inputs left, right. Received 1 of them"),
        (two, {"examples": [pixels(2), np.zeros((3, 4))]}, "as many for each input"),
    ):
        with pytest.raises(ValueError, match=message):
            tf_reg.export(model, tmp_path / "m", **options)
    assert not (tmp_path / "m").exists() or published(tmp_path / "m") == []
