"""Zeros when the learning rate has fallen to zero, or nearly: they stay, whatever momentum still holds."""

import keras
import numpy as np
import pytest
from keras import ops, optimizers
from keras.optimizers.schedules import CosineDecay, ExponentialDecay, PiecewiseConstantDecay

import tf_reg

pytestmark = pytest.mark.contract

RNG = np.random.default_rng(0)
A = RNG.normal(size=(32, 12)).astype("float32")
B = (A @ np.array([2, -1.5, 1] + [0] * 9) + 0.3 * RNG.normal(size=32)).astype("float32")[:, None]

SCHEDULES = {
    "cosine": lambda rate: CosineDecay(rate, 150),
    "a step to 0": lambda rate: PiecewiseConstantDecay([150], [rate, 0.0]),
    "a step to almost 0": lambda rate: PiecewiseConstantDecay([150], [rate, 1e-12]),
    "exponential": lambda rate: ExponentialDecay(rate, 40, 0.6),
}
INNER = {
    "momentum": lambda make: optimizers.SGD(make(0.02), momentum=0.9),
    "nesterov": lambda make: optimizers.SGD(make(0.02), momentum=0.7, nesterov=True),
    "rmsprop": lambda make: optimizers.RMSprop(make(0.01), momentum=0.9),
    "rmsprop, little momentum": lambda make: optimizers.RMSprop(make(0.01), momentum=0.7),
    "adam": lambda make: optimizers.Adam(make(0.05)),
}


PLAIN = {("momentum", "cosine")}
CASES = [
    pytest.param(inner, schedule, marks=() if (inner, schedule) in PLAIN else pytest.mark.slow)
    for inner in INNER
    for schedule in SCHEDULES
]


@pytest.mark.parametrize(("inner", "schedule"), CASES)
def test_no_zero_is_lost(inner, schedule):
    layer = keras.layers.Dense(1, use_bias=False, kernel_regularizer=keras.regularizers.L1(0.25))
    model = keras.Sequential([keras.Input((12,)), layer])
    model.compile(tf_reg.Proximal(INNER[inner](SCHEDULES[schedule])), "mse")
    zeros = []
    for _ in range(4):
        model.fit(np.tile(A, (150, 1)), np.tile(B, (150, 1)), batch_size=32, shuffle=False, verbose=0)
        zeros.append(ops.convert_to_numpy(layer.kernel) == 0)
    assert zeros[0].sum() >= 4
    for later in zeros[1:]:
        assert (later >= zeros[0]).all()
    smallest = np.abs(ops.convert_to_numpy(layer.kernel))[~zeros[-1]].min()
    assert smallest > 1e-6
