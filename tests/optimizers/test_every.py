"""Proximal steps at every k-th update only, and zeros that stay frozen between them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import optimizers

from tests.optimizers.training import INNER, X, Y, array, fit, kernel, make, soft, train
from tests.tools import mostly_slow
from tf_reg.optimizers.proximal import Proximal

pytestmark = pytest.mark.contract


COMPILED = pytest.mark.parametrize(
    "jit_compile", mostly_slow([False, True], False) if keras.backend.backend() == "tensorflow" else ["auto"]
)


@COMPILED
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_every_k_th_step_with_the_sum_of_the_steps(name, jit_compile):
    """Between two maps the inner optimizer is alone; at the map, the strength of each step counts with its step."""
    plain = make(INNER[name](), keras.regularizers.L1(0.0), jit_compile=jit_compile)
    lazy = make(Proximal(INNER[name](), every=3), jit_compile=jit_compile)
    total, tau = 0.0, 0.0
    for count in (1, 2, 3):
        strength = 1.0 / count
        lazy.optimizer.strength = strength
        before = kernel(lazy)
        train(plain, 1), train(lazy, 1)
        inner = plain.optimizer
        tau = (inner.momentum if name == "momentum" else 0.0) * tau + float(array(inner.learning_rate))
        number = tau * np.sqrt(1 - 0.999**count) if name == "adam" else tau
        total += strength * number
        if count < 3:
            np.testing.assert_allclose(kernel(lazy), kernel(plain), rtol=1e-6)
    assert (before != 0).all()
    factor = 1 / (np.sqrt(array(inner._velocities[0])) + 1e-7) if name == "adam" else 1.0
    np.testing.assert_allclose(kernel(lazy), soft(kernel(plain), total * factor * 0.3), rtol=1e-3, atol=1e-5)


@COMPILED
@pytest.mark.parametrize("every", [1, 3])
def test_frozen_zeros_stay_while_the_rest_is_refitted(every, jit_compile):
    model = make(Proximal(optimizers.Adam(0.05), every=every), jit_compile=jit_compile)
    train(model, 30)
    assert not model.optimizer.frozen
    zeros = kernel(model) == 0
    assert 0 < zeros.sum() < zeros.size
    model.optimizer.freeze()
    model.optimizer.strength = 0.0
    for _ in range(4):
        fit(model)
        assert (kernel(model)[zeros] == 0).all()
    train(model, 100)
    assert model.optimizer.frozen
    support = ~zeros
    for output in range(2):
        chosen = X[:, support[:, output]]
        best, *_ = np.linalg.lstsq(np.c_[chosen, np.ones(len(X))], Y[:, output], rcond=None)
        np.testing.assert_allclose(kernel(model)[support[:, output], output], best[:-1], atol=2e-2)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="weights"),
        pytest.param({"use_ema": True, "ema_momentum": 0.5}, id="averages", marks=pytest.mark.slow),
    ],
)
def test_zeros_are_zero_when_fit_ends_between_two_maps(options):
    """And before `freeze`; the map that was due later comes early, with the steps that there were."""
    settled, by_hand = (make(Proximal(INNER["momentum"](**options), every=4)) for _ in range(2))
    fit(settled, epochs=30)
    train(by_hand, 30)
    assert np.count_nonzero(kernel(by_hand) == 0) == 0
    by_hand.optimizer.freeze()
    zeros = kernel(by_hand) == 0
    assert zeros.any()
    np.testing.assert_array_equal(kernel(settled) == 0, zeros)
    before = kernel(by_hand)
    by_hand.optimizer.settle()
    np.testing.assert_array_equal(kernel(by_hand), before)
