"""Fifty steps of every optimizer, against the same rules written in numpy."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers.solving import (
    FEATURES,
    SAMPLES,
    VARIANTS,
    data,
    rate_of,
    solve,
    squares_slope,
)
from tests.tools import slow_on_tensorflow
from tf_reg.optimizers.proximal import Proximal

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("float64")]
PLAIN = ("sgd", "momentum", "adam", "rmsprop")


# The rules of Keras' optimizers with the step in their own metric, once more, in numpy and for one variable.
def by_hand(name, penalty, slope, shape, steps):
    options = VARIANTS[name][1].keywords if isinstance(VARIANTS[name][1], functools.partial) else {}
    momentum, nesterov = options.get("momentum", 0.0), options.get("nesterov", False)
    schedule = rate_of(name, "decaying", steps)
    w, m, v, mean, top, tau = (np.zeros(shape) for _ in range(6))
    v = v + 0.1 if name == "adagrad" else v
    for t in range(1, steps + 1):
        g = slope(w)
        lr = float(ops.convert_to_numpy(schedule(t - 1)))  # on TensorFlow a schedule computes in float32
        if name in ("adam", "adamw", "amsgrad"):
            m, v = m + 0.1 * (g - m), v + 0.001 * (g * g - v)
            top = np.maximum(top, v)
            step = lr * np.sqrt(1 - 0.999**t) / (np.sqrt(top if name == "amsgrad" else v) + 1e-7)
            moved, tau = step * m / (1 - 0.9**t), step
        else:
            if name.startswith("rmsprop"):
                v, mean = 0.9 * v + 0.1 * g * g, 0.9 * mean + 0.1 * g
                under = v - mean * mean if "centered" in name else v
                factor = 1 / np.sqrt(under + options.get("epsilon", 1e-7))
            elif name == "adagrad":
                v = v + g * g
                factor = 1 / np.sqrt(v + 1e-7)
            else:
                factor = 1.0
            m, tau = momentum * m + lr * factor * g, momentum * tau + lr
            moved = momentum * m + lr * factor * g if nesterov else m
            step = (momentum * tau + lr if nesterov else tau) * factor
        w = w - moved
        change = np.sign(w) * np.maximum(np.abs(w) - step * penalty, 0) - w
        w = w + np.clip(change, -farthest(name, lr, tau, moved), farthest(name, lr, tau, moved))
    return w


def farthest(name, lr, tau, moved):
    """How far the proximal operator may move a weight."""
    if name in ("adam", "adamw", "amsgrad"):
        return lr * 0.1 / np.sqrt(0.001 * (1 - 0.9**2 / 0.999))
    if name.startswith("rmsprop"):
        return np.maximum(3 * tau, 2 * np.abs(moved)) if "centered" in name else tau / np.sqrt(0.1)
    return np.inf


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in PLAIN else slow_on_tensorflow) for name in VARIANTS],
)
def test_fifty_steps_are_the_same_on_every_backend(name):
    x, y = data()
    expected = by_hand(name, 0.2, lambda w: 2 * x.T @ (x @ w - y) / SAMPLES, (FEATURES,), 50)
    optimizer = Proximal(VARIANTS[name][1](rate_of(name, "decaying", 50)))
    found = solve(keras.regularizers.L1(0.2), optimizer, squares_slope(x, y), (FEATURES,), 50)
    # Keras on TensorFlow casts an optimizer's Python floats, such as its momentum, to float64 by way of float32.
    tolerance = 1e-5 if keras.backend.backend() == "tensorflow" else 1e-9
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(found == 0, expected == 0)
