"""What is set on the inner optimizer: accumulation, clipping, decay, constraints and the learning rate."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from keras import ops, optimizers

from tests.optimizers.training import INNER, X, Y, array, fit, gradient, kernel, make, soft, train
from tests.tools import mostly_slow
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("name", mostly_slow(["momentum", "rmsprop"], "momentum"))
def test_gradient_accumulation_is_a_larger_batch(name):
    """Four batches of 8 make the step that one batch of 32 makes; the three calls before it change nothing."""
    whole, parts = make(Proximal(INNER[name]())), make(Proximal(INNER[name](gradient_accumulation_steps=4)))
    for _ in range(3):
        fit(whole)
        fit(parts, batch_size=8)
        np.testing.assert_allclose(kernel(parts), kernel(whole), rtol=1e-4, atol=1e-6)
    before = kernel(parts)
    parts.train_on_batch(X[:8], Y[:8])
    np.testing.assert_array_equal(kernel(parts), before)


OPTIONS = {
    "plain": {},
    "weight_decay": {"weight_decay": 0.1},
    "clipnorm": {"clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.1},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "moving average": {"use_ema": True, "ema_momentum": 0.9},
    "overwriting moving average": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 2},
    "accumulation": {"gradient_accumulation_steps": 2},
    "loss scale": {"loss_scale_factor": 4.0},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_without_penalties_it_is_the_inner_optimizer(name, options):
    """Whatever Keras' optimizers can do. (Keras averages before a constraint, Proximal after it.)"""
    found = []
    for wrap in (lambda inner: inner, Proximal):
        variables = [keras.Variable(np.array(value, "float32")) for value in ([[1.0, -2.0], [0.5, 3.0]], [4.0])]
        variables[0].constraint = None if "use_ema" in options else keras.constraints.NonNeg()
        optimizer = wrap(INNER[name](**options))
        optimizer.build(variables)
        for step in range(5):
            grads = [ops.convert_to_tensor(array(variable) - step) for variable in variables]
            optimizer.apply(grads, variables)
        optimizer.finalize_variable_values(variables)
        found.append([array(variable) for variable in variables])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


@pytest.mark.parametrize("constraint", [keras.constraints.UnitNorm(), keras.constraints.NonNeg()])
def test_constraints_hold_after_the_map(constraint):
    model = make(Proximal(optimizers.SGD(0.1)))
    model.layers[0].kernel.constraint = constraint
    train(model, 5)
    np.testing.assert_allclose(array(constraint(ops.convert_to_tensor(kernel(model)))), kernel(model), atol=1e-6)
    assert (kernel(model) == 0).any()


@pytest.mark.parametrize("option", ["weight_decay", "clipvalue"])
def test_weight_decay_and_clipping_come_before_the_map(option):
    model = make(Proximal(optimizers.SGD(0.1, **{option: 0.4})))
    start, slope = kernel(model), gradient(model)
    fit(model)
    decayed = start * (1 - 0.1 * 0.4) - 0.1 * slope
    moved = decayed if option == "weight_decay" else start - 0.1 * np.clip(slope, -0.4, 0.4)
    np.testing.assert_allclose(kernel(model), soft(moved, 0.1 * 0.3), atol=1e-6)


@pytest.mark.parametrize(
    ("clip", "penalty", "warns"),
    [
        ({"clipnorm": 0.1}, keras.regularizers.L1(0.3), True),
        ({"clipnorm": 0.5}, keras.regularizers.L1(0.3), False),
        ({"global_clipnorm": 0.1}, keras.regularizers.L1L2(0.3, 0.1), True),
        ({"clipvalue": 0.1}, keras.regularizers.L1(0.3), True),
        ({"clipnorm": 0.5}, GroupLasso(0.3), True),
        ({"clipnorm": 0.5}, GroupLasso(0.3, size_weights=False), False),
        ({"clipnorm": 0.4}, SparseGroupLasso(0.3, 0.3, size_weights=False), True),
        ({"clipnorm": 0.1}, keras.regularizers.L2(0.3), False),
        ({}, keras.regularizers.L1(0.3), False),
    ],
)
def test_a_clip_below_the_penalty_warns_and_is_right_to(clip, penalty, warns):
    model = make(Proximal(optimizers.SGD(0.1, **clip)), penalty)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.optimizer.build(model.trainable_variables)
    assert [str(w.message).startswith("The gradient of") for w in caught] == [True] * warns
    if warns and "clipvalue" not in clip:
        train(model, 120)
        assert (kernel(model) == 0).all()


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_a_clip_that_is_set_in_training_warns_too(clip):
    """By the strength of now, and of the line that sets it."""
    optimizer, variable = Proximal("sgd"), keras.Variable(np.ones(4, "float32"))
    variable.regularizer = keras.regularizers.L1(0.3)
    setattr(optimizer, clip, None)
    optimizer.build([variable])
    optimizer.strength = 2.0
    with pytest.warns(UserWarning, match=r"is clipped at 0\.5, which is below its penalty's slope of 0\.6") as caught:
        setattr(optimizer, clip, 0.5)
    assert caught[-1].filename == __file__
    setattr(optimizer, clip, 2.0)  # a warning would be an error
