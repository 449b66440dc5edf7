"""`.keras` files that an older tf_reg wrote in the middle of a training: they load, and the training goes on."""

import contextlib

import keras
import numpy as np
import pytest

import tf_reg
from tests.data import make_keras_files
from tests.tools import ROOT

DATA = ROOT / "tests" / "data"


@pytest.fixture(params=make_keras_files.OPTIMIZERS)
def loaded(request):
    """A model, and what it had when it was saved and one epoch later."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the numbers of the next epoch are TensorFlow's")
    every = (
        pytest.warns(UserWarning, match="saved with every=2") if request.param == "sgd" else contextlib.nullcontext()
    )
    with every:
        model = keras.models.load_model(DATA / f"{request.param}.keras")
    return request.param, model, np.load(DATA / f"{request.param}.npz")


def check(model, expected, prefix=""):
    for name, value in make_keras_files.state(model).items():
        np.testing.assert_allclose(value, expected[prefix + name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_an_old_file_has_all_that_it_had(loaded):
    name, model, expected = loaded
    check(model, expected)
    optimizer = tf_reg.proximal_of(model.optimizer)
    assert optimizer.frozen == (name == "adam")
    if name != "schedule":
        assert float(optimizer.strength) == {"adam": 0.25}.get(name, 1.0)
    penalties = [tf_reg.GroupLasso, tf_reg.SparseGroupLasso]
    assert [type(layer.kernel_regularizer) for layer in model.layers[1:]] == penalties


def test_the_training_of_an_old_file_goes_on(loaded):
    name, model, expected = loaded
    make_keras_files.train(model)
    if name == "schedule":  # RMSprop's proximal step is limited today
        np.testing.assert_allclose(model.layers[0].get_weights()[0], expected["after_weight0"], atol=1e-3)
    elif name == "sgd":  # the proximal operator was applied at every second step
        np.testing.assert_allclose(model.layers[0].get_weights()[0], expected["after_weight0"], atol=1e-2)
    else:
        check(model, expected, "after_")
