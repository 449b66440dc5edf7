"""The score of a validation example, by the loss of the model."""

import keras
import numpy as np
import pytest

from tf_reg.selection.scores import classes_of, scores_of

pytestmark = pytest.mark.contract
LABELS = np.array([0, 2, 1])
ANSWERS = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.5, 0.4, 0.1]])


def model(outputs):
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(outputs)])


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        ("sparse_categorical_crossentropy", LABELS),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), LABELS[:, None]),
        (keras.losses.sparse_categorical_crossentropy, LABELS),
        ("CategoricalCrossentropy", np.eye(3)[LABELS]),
        (["categorical_crossentropy"], np.eye(3)[LABELS]),
        (keras.losses.CategoricalFocalCrossentropy(), np.eye(3)[LABELS]),
    ],
)
def test_classes(loss, labels):
    classes = classes_of(model(3), loss)
    assert scores_of(classes.right, labels, ANSWERS).tolist() == [1, 1, 0]
    assert classes.one_hot_labels(labels, ANSWERS).tolist() == np.eye(3)[LABELS].tolist()


@pytest.mark.parametrize(("logits", "outputs"), [(False, [[0.4], [0.6], [0.9]]), (True, [[-0.4], [0.2], [3.0]])])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_two_classes(logits, outputs, shape):
    classes = classes_of(model(1), keras.losses.BinaryCrossentropy(from_logits=logits))
    assert classes.logits == logits
    assert scores_of(classes.right, np.array([0, 0, 1]).reshape(shape), np.array(outputs)).tolist() == [1, 0, 1]


@pytest.mark.parametrize("loss", ["mse", None, keras.losses.Huber(), lambda y, p: p, {"a": "mse"}, ["mse", "mse"]])
def test_no_classifier(loss):
    assert classes_of(model(3), loss) is None


def test_several_binary_answers_are_no_classes():
    assert classes_of(model(3), "binary_crossentropy") is None


def test_a_score_of_the_callers():
    found = scores_of(lambda y, p: -((y - p[:, 0]) ** 2), np.array([1.0, 2.0]), np.array([[1.0], [4.0]]))
    assert (found.tolist(), found.dtype) == ([0, -4], np.float64)


@pytest.mark.parametrize("score", [lambda y, p: p, lambda y, p: 1.0, lambda y, p: y[:1]])
def test_a_score_of_another_shape(score):
    with pytest.raises(ValueError, match=r"one number for each example, \(2,\).*Received: an array of the shape"):
        scores_of(score, np.array([1.0, 2.0]), np.array([[1.0], [4.0]]))


def test_a_score_that_is_not_finite():
    with pytest.raises(ValueError, match=r"finite numbers\. Received: 1 of 2"):
        scores_of(lambda y, p: y, np.array([1.0, np.nan]), np.array([[1.0], [4.0]]))
