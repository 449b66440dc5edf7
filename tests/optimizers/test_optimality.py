"""The conditions of optimality that Proximal meets: of groups, and at the critical strength."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops, optimizers

from tests.optimizers.solving import (
    FEATURES,
    SAMPLES,
    VARIANTS,
    data,
    on_jax,
    solve,
    squares_slope,
)
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("float64")]


def tension(found, slope, l1):
    """Per group, how far the gradient of the data is from what the penalty's slope can balance; and the group norms."""
    left = -slope
    if l1:
        left = np.where(found == 0, np.sign(left) * np.maximum(np.abs(left) - l1, 0), left - l1 * np.sign(found))
    return left, np.sqrt((found**2).sum(0)), np.sqrt((left**2).sum(0))


@on_jax
@pytest.mark.parametrize("l1", [0.0, 0.05], ids=["group", "sparse_group"])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "amsgrad", "rmsprop", "rmsprop_momentum", "adagrad"])
def test_optimality_conditions_of_groups(name, l1):
    """An active group's slope is the penalty's; a dead group's is strictly inside the ball; to 1e-5."""
    rng = np.random.default_rng(3)
    x, y = data()
    hidden = rng.normal(size=(FEATURES, 12)) * np.array([1.5] * 4 + [0.0] * 8) * (rng.random((FEATURES, 12)) < 0.3)
    y = x @ hidden + 0.3 * rng.normal(size=(SAMPLES, 12))
    strength = 0.03
    penalty = SparseGroupLasso(l1, strength) if l1 else GroupLasso(strength)
    optimizer = Proximal(VARIANTS[name][1](VARIANTS[name][0] * (5 if "sgd" in name or "nest" in name else 1)))
    slope = squares_slope(x, y)
    found = solve(penalty, optimizer, slope, hidden.shape, 6000)
    weight = strength * np.sqrt(FEATURES)
    left, norms, pull = tension(found, np.asarray(slope(ops.convert_to_tensor(found))), l1)
    alive = norms > 0
    assert 2 <= alive.sum() <= 4
    assert (pull[~alive] < weight * (1 - 1e-3)).all()
    balance = left[:, alive] - weight * found[:, alive] / norms[alive]
    np.testing.assert_allclose(np.where(found[:, alive] == 0, 0, balance), 0, atol=1e-5)
    assert ((found[:, alive] == 0).any()) == bool(l1)


@on_jax
def test_a_strength_at_the_critical_value_leaves_nothing():
    """lambda_max: the largest slope at zero. Just above it all is zero, just below something lives."""
    x, y = data()
    critical = np.abs(2 * x.T @ y / SAMPLES).max()
    for factor, lives in ((1.0001, False), (0.9, True)):
        optimizer = Proximal(optimizers.Adam(0.01), strength=factor)
        found = solve(keras.regularizers.L1(float(critical)), optimizer, squares_slope(x, y), (FEATURES,), 2000)
        assert (found != 0).any() == lives
