"""The answers of a teacher as targets, and the loss of a student."""

import keras
import numpy as np
import pytest

from tf_reg.selection.examples import Examples
from tf_reg.selection.scores import Classes, classes_of
from tf_reg.selection.teacher import loss_of, taught

pytestmark = pytest.mark.contract
X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def expected(labels, teacher, student, share=0.9, temperature=2):
    """By the formula; all are logits of classes but the labels."""
    hard = -np.log(softmax(student)[np.arange(len(labels)), labels])
    soft = -(softmax(teacher / temperature) * np.log(softmax(student / temperature))).sum(-1)
    return (1 - share) * hard + share * temperature**2 * soft


@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("one_hot", [True, False])
def test_classes(logits, one_hot):
    parts = [keras.layers.Dense(4), *([] if logits else [keras.layers.Softmax()])]
    model = keras.Sequential([keras.Input((3,)), *parts])
    kind = keras.losses.CategoricalCrossentropy if one_hot else keras.losses.SparseCategoricalCrossentropy
    classes, labels = classes_of(model, kind(from_logits=logits)), np.array([0, 3, 1, 2, 2, 0])
    targets = np.eye(4)[labels] if one_hot else labels
    examples = taught(model, classes, Examples(X, targets, np.ones(6)), 6)
    assert examples.inputs is X
    assert examples.weights.tolist() == [1] * 6
    teacher = keras.ops.convert_to_numpy(model.layers[0](X))
    student = X @ np.ones((3, 4)) + np.arange(4)
    outputs = student if logits else softmax(student)
    found = keras.ops.convert_to_numpy(loss_of(classes)(examples.targets, outputs.astype("float32")))
    assert found == pytest.approx(expected(labels, teacher, student), rel=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_another_share_and_temperature(share):
    teacher, student, labels = X, X[::-1] * 2, np.array([0, 2, 1, 2, 2, 0])
    targets = np.concatenate([np.eye(3)[labels], softmax(teacher / 5)], -1).astype("float32")
    found = keras.ops.convert_to_numpy(loss_of(Classes(False, True, True), share, 5.0)(targets, student))
    assert found == pytest.approx(expected(labels, teacher, student, share, 5), rel=1e-4)


@pytest.mark.parametrize("logits", [True, False])
def test_two_classes(logits):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, None if logits else "sigmoid")])
    classes, labels = (
        classes_of(model, keras.losses.BinaryCrossentropy(from_logits=logits)),
        np.array([0, 1, 1, 0, 0, 1]),
    )
    examples = taught(model, classes, Examples(X, labels), 6)
    outputs = keras.ops.convert_to_numpy(model(X))
    one = outputs if logits else np.log(outputs / (1 - outputs))
    teacher = np.concatenate([np.zeros_like(one), one], -1)
    student = X[:, :1]
    given = student if logits else 1 / (1 + np.exp(-student))
    found = keras.ops.convert_to_numpy(loss_of(classes)(examples.targets, given))
    both = np.concatenate([np.zeros_like(student), student], -1)
    assert found == pytest.approx(expected(labels, teacher, both), rel=1e-4)
