"""Models with numbers in all of their weights, and zeros at chosen places."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from tf_reg.compaction.check import compare
from tf_reg.compaction.plan import plan_compaction
from tf_reg.compaction.rebuild import Rebuilt

no_warning_of_checks = pytest.mark.filterwarnings("ignore:tf_reg.compact could not check:UserWarning")
# Keras says so when a model with such a layer is built, and again when its smaller one is.
no_warning_of_masks = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")


def numpy(value):
    return ops.convert_to_numpy(value)


def filled(model, seed=0):
    """Every weight is a random number that isn't zero."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype):
            size = 0.5 if len(variable.shape) > 1 else 1.0
            variable.assign(size * random.uniform(0.2, 1.0, variable.shape) * random.choice([-1, 1], variable.shape))
            if variable.name == "moving_variance":
                variable.assign(np.abs(numpy(variable)))
    return model


def zero(variable, axis, places):
    """Set the numbers of a variable at some places along an axis to zero."""
    value = numpy(variable).copy()
    np.moveaxis(value, axis, 0)[list(places)] = 0
    variable.assign(value)


def same(model, small):
    """Whether two models compute the same, seen on inputs that tell."""
    found = compare(model, small)
    return found.within_rounding and found.checks > 0


def kept(model):
    """How many channels of each layer stay, by its name. The smaller model is built and checked."""
    plan = plan_compaction(model)
    assert same(model, Rebuilt(plan.removal).model)
    return {layer.name: layer.after for layer in plan.layers}


def stack(*inner, shape=(4, 5), outputs=2):
    """A model of layers, with a dense layer named `last` behind them."""
    last = layers.Dense(outputs, name="last")
    return filled(keras.Sequential([keras.Input(shape), *inner, last]))
