"""Zeros that stay zero while the other weights are trained on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import optimizers

from tests.optimizers.training import X, Y, fit, kernel, make, train
from tests.tools import mostly_slow, slow_on_tensorflow
from tf_reg.optimizers.proximal import Proximal

pytestmark = pytest.mark.contract


COMPILED = pytest.mark.parametrize(
    "jit_compile", mostly_slow([False, True], False) if keras.backend.backend() == "tensorflow" else ["auto"]
)


@COMPILED
@pytest.mark.parametrize("accumulated", [None, pytest.param(2, marks=slow_on_tensorflow)])
def test_frozen_zeros_stay_while_the_rest_is_refitted(accumulated, jit_compile):
    model = make(Proximal(optimizers.Adam(0.05, gradient_accumulation_steps=accumulated)), jit_compile=jit_compile)
    train(model, 30 * (accumulated or 1))
    assert not model.optimizer.frozen
    zeros = kernel(model) == 0
    assert 0 < zeros.sum() < zeros.size
    model.optimizer.freeze()
    model.optimizer.strength = 0.0
    for _ in range(4):
        fit(model)
        assert (kernel(model)[zeros] == 0).all()
    train(model, 100 * (accumulated or 1))
    assert model.optimizer.frozen
    support = ~zeros
    for output in range(2):
        chosen = X[:, support[:, output]]
        best, *_ = np.linalg.lstsq(np.c_[chosen, np.ones(len(X))], Y[:, output], rcond=None)
        np.testing.assert_allclose(kernel(model)[support[:, output], output], best[:-1], atol=2e-2)
