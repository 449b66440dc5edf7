"""Examples in memory: whatever a data set came as, the same arrays."""

import re

import keras
import numpy as np
import pytest

from tf_reg.selection.examples import examples_of

pytestmark = pytest.mark.contract

X, Y, W = np.arange(10.0).reshape(5, 2), np.arange(5), np.linspace(0.5, 1.5, 5)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, place):
        return X[2 * place : 2 * place + 2], Y[2 * place : 2 * place + 2]


def dataset(*parts):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(parts).batch(2)


FORMS = [(X, Y), [X, Y], (X, Y, None), dataset(X, Y), Batches()]


@pytest.mark.parametrize("given", FORMS, ids=lambda one: type(one).__name__)
def test_one_data_set_in_many_forms(given):
    found = examples_of(given)
    np.testing.assert_array_equal(found.inputs, X)
    np.testing.assert_array_equal(found.targets, Y)
    assert found.weights is None
    assert len(found) == 5
    assert found.inputs.dtype == "float32"
    assert found.fingerprint() == examples_of((X, Y)).fingerprint()


def test_weights_and_structures():
    found = examples_of(dataset({"a": X, "b": X[:, :1]}, Y, W))
    np.testing.assert_array_equal(found.inputs["b"], X[:, :1])
    np.testing.assert_array_equal(found.weights, W.astype("float32"))
    half = found.take([4, 0])
    np.testing.assert_array_equal(half.targets, [4, 0])
    assert [len(batch) for batch in found.batches(2)] == [2, 2, 1]
    assert found.fingerprint() != examples_of(({"a": X, "b": X[:, :1]}, Y)).fingerprint()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (X, "Received: ndarray"),
        ((X,), "Received: tuple of 1"),
        ((X, Y[:4]), r"lengths \[5, 4\]"),
        ((X[:0], Y[:0]), r"lengths \[0, 0\]"),
        ("fashion_mnist", "Received: str"),
        (dataset(X, Y).repeat(), "an endless"),
        (dataset(X, Y).take(0), "without batches"),
        (dataset(X), "Received: tuple of 1"),
        (None, "Received: NoneType"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_is_no_data_set_is_refused(given, words):
    with pytest.raises(ValueError, match=r"data (is|needs)") as caught:
        examples_of(given)
    assert re.search(words, str(caught.value)), caught.value
