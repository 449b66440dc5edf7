"""The step in an optimizer's own metric, against what the optimizer itself does to a constant gradient."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops, optimizers

from tf_reg.optimizers import preconditioner

pytestmark = pytest.mark.contract

DECAY = optimizers.schedules.ExponentialDecay(0.1, 1, 0.8)
GRADIENT = np.array([0.5, -2.0, 1e-3], "float32")

# With rho=0 the factor of RMSprop is the same at every step, which makes its momentum as exact as SGD's.
OPTIMIZERS = {
    "sgd": lambda lr: optimizers.SGD(lr),
    "momentum": lambda lr: optimizers.SGD(lr, momentum=0.9),
    "nesterov": lambda lr: optimizers.SGD(lr, momentum=0.9, nesterov=True),
    "adam": lambda lr: optimizers.Adam(lr, epsilon=1e-3),
    "amsgrad": lambda lr: optimizers.Adam(lr, amsgrad=True),
    "adamw": lambda lr: optimizers.AdamW(lr, weight_decay=0.0),
    "rmsprop": lambda lr: optimizers.RMSprop(lr, epsilon=1e-3),
    "rmsprop_centered": lambda lr: optimizers.RMSprop(lr, centered=True, epsilon=1e-3),
    "rmsprop_momentum": lambda lr: optimizers.RMSprop(lr, momentum=0.9, rho=0.0),
    "adagrad": lambda lr: optimizers.Adagrad(lr),
}


@pytest.mark.parametrize("rate", [0.1, DECAY], ids=["constant", "decaying"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_constant_gradient_moves_weights_by_the_step(name, rate):
    """For every update: new weights = old weights - number * factor * gradient."""
    optimizer = OPTIMIZERS[name](rate)
    variable = keras.Variable(np.zeros(3, "float32"))
    optimizer.build([variable])
    tau = ops.zeros(())
    for _ in range(6):
        before = ops.convert_to_numpy(variable).copy()
        learning_rate = ops.convert_to_tensor(float(ops.convert_to_numpy(optimizer.learning_rate)))
        optimizer.apply([ops.convert_to_tensor(GRADIENT)])
        tau, number = preconditioner.with_momentum(
            optimizer, tau, preconditioner.step_size(optimizer, learning_rate, optimizer.iterations)
        )
        factor = preconditioner.factor(optimizer, variable)
        step = ops.convert_to_numpy(number if factor is None else number * factor)
        np.testing.assert_allclose(ops.convert_to_numpy(variable) - before, -step * GRADIENT, rtol=2e-4, atol=1e-7)


def test_amsgrad_uses_its_largest_velocity():
    optimizer = optimizers.Adam(0.1, amsgrad=True, beta_2=0.5)
    variable = keras.Variable(np.zeros(1, "float32"))
    optimizer.build([variable])
    for gradient in (4.0, 0.0, 0.0):
        optimizer.apply([ops.convert_to_tensor([gradient])])
    assert float(preconditioner.factor(optimizer, variable)[0]) == pytest.approx(1 / np.sqrt(8.0), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_half_precision_is_widened(dtype):
    optimizer = optimizers.Adam(0.1)
    variable = keras.Variable(np.zeros(2, "float32"), dtype=dtype)
    optimizer.build([variable])
    factor = preconditioner.factor(optimizer, variable)
    assert keras.backend.standardize_dtype(factor.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(factor), 1e7, rtol=1e-5)


@pytest.mark.parametrize("name", ["Nadam", "Adamax", "Adadelta", "Ftrl", "Lion", "Lamb", "Adafactor"])
def test_others_are_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"knows the step of SGD .*Adagrad\. Received: {name}"):
        preconditioner.check(getattr(optimizers, name)())


def test_a_subclass_with_a_step_of_its_own_is_refused():
    class Strange(optimizers.Adam):
        def update_step(self, gradient, variable, learning_rate):
            """Something else."""

    class Renamed(optimizers.Adam):
        """The same step."""

    preconditioner.check(Renamed())
    with pytest.raises(ValueError, match="Received: Strange"):
        preconditioner.check(Strange())


def test_loss_scale_belongs_outside():
    with pytest.raises(ValueError, match=r"LossScaleOptimizer\(Proximal\(optimizer\)\)"):
        preconditioner.check(optimizers.LossScaleOptimizer(optimizers.Adam()))
