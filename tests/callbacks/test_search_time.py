"""A search that is too short says so before training, with a number of epochs that is enough."""

import re
import warnings

import keras
import numpy as np
import pytest
from keras import optimizers

import tf_reg
from tests.callbacks.strength_models import L1, fit, mlp
from tf_reg.callbacks.search_time import LEAST, steps_needed

pytestmark = pytest.mark.contract
STEPS = 16  # in an epoch of `fit`


def model_with(inner):
    return mlp(L1(1e-3), L1(1e-3), optimizer=tf_reg.Proximal(inner))


def needed(inner, target=0.9):
    model = model_with(inner)
    return steps_needed(model, model.optimizer, target), model


def test_adaptive_optimizers_need_the_steps_to_zero():
    adam, model = needed(optimizers.Adam(1e-4))
    far = np.quantile(np.abs(np.concatenate([np.ravel(layer.kernel) for layer in model.layers])), 0.9)
    longest = 1e-4 * 0.1 / np.sqrt(0.001 * (1 - 0.81 / 0.999))  # a step of Adam at most
    assert adam == int(np.ceil(1.5 * far / longest))
    assert needed(optimizers.Adam(1e-4), target=0.5)[0] < adam
    assert needed(optimizers.RMSprop(1e-4))[0] > adam  # its steps are shorter


def test_others_need_what_the_strength_needs():
    falling = keras.optimizers.schedules.CosineDecay(1e-4, 100)
    for inner in (optimizers.SGD(1e-6), optimizers.Adam(0.1), optimizers.Adam(falling)):
        assert needed(inner)[0] == LEAST


def first_warning(model, callback, epochs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        fit(model, callback, epochs=epochs, batch_size=256 // STEPS)
    return next((str(one.message) for one in caught if issubclass(one.category, UserWarning)), "")


@pytest.mark.parametrize("refit_epochs", [None, 2])
def test_the_epochs_that_it_names_are_enough(refit_epochs):
    target = tf_reg.TargetSparsity(0.5, refit_epochs=refit_epochs)
    inner = optimizers.SGD(1e-3)
    said = first_warning(model_with(inner), target, epochs=1 if refit_epochs is None else 3)
    assert "(0.5, of='weights') has " in said
    assert "steps to search for the strength and needs about 40: it will hardly reach its target" in said
    epochs = int(re.search(r"Train for (\d+) epochs or more", said)[1])
    assert epochs == (4 if refit_epochs is None else 5)
    said = first_warning(model_with(optimizers.SGD(1e-3)), target, epochs=epochs)
    assert "to search" not in said
