"""The exact zeros that Proximal gives: of weights, of groups, frozen, and of a penalty of the user's."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops, optimizers

import tf_reg
from tests.optimizers.training import INNER, array, fit, kernel, make, train
from tests.tools import mostly_slow, slow_on_tensorflow
from tf_reg import _xla
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("name", mostly_slow(["momentum", "adam"], "adam"))
def test_zeros_where_plain_keras_has_none(name):
    plain, proximal = make(INNER[name]()), make(Proximal(INNER[name]()))
    history = [fit(model, epochs=25)["loss"] for model in (plain, proximal)]
    assert (kernel(plain) != 0).all()
    assert (kernel(proximal) == 0).sum() >= 8
    assert history[0][0] == pytest.approx(history[1][0], rel=1e-6)
    penalty = 0.3 * np.abs(kernel(proximal)).sum()
    assert float(array(proximal.losses[0])) == pytest.approx(penalty, rel=1e-5)


@slow_on_tensorflow
def test_group_penalties_take_whole_columns_and_rows():
    for groups, axis in (("outputs", 0), ("inputs", 1)):
        model = make(Proximal(optimizers.Adam(0.05)), GroupLasso(0.35, groups=groups))
        train(model, 60)
        dead = (kernel(model) == 0).all(axis=axis)
        assert dead.any() == (groups == "inputs")
        assert not dead.all()
    model = make(Proximal(optimizers.SGD(0.1)), SparseGroupLasso(0.2, 0.2, groups="inputs"))
    train(model, 40)
    zero = kernel(model) == 0
    assert zero.all(axis=1).sum() >= 5
    assert (zero.any(axis=1) & ~zero.all(axis=1)).any()


def test_a_penalty_of_the_users_own():
    class Box(keras.Regularizer):
        """No weight above 0.1 in size."""

        def __call__(self, x):
            return 0.0 * ops.sum(x)

    @tf_reg.register_prox(Box)
    def clip(regularizer, value, step):
        return ops.clip(value, -0.1, 0.1)

    model = make(Proximal(INNER["adam"]()), Box())
    train(model, 10)
    assert np.abs(kernel(model)).max() == pytest.approx(0.1)


def test_unfrozen_zeros_come_back():
    model = make(Proximal(optimizers.SGD(0.1)))
    train(model, 10)
    model.optimizer.freeze()
    model.optimizer.strength = 0.0
    train(model, 2)
    assert (kernel(model) == 0).any()
    model.optimizer.unfreeze()
    train(model, 2)
    assert not (kernel(model) == 0).any()


@pytest.mark.slow
def test_frozen_without_strength_zero_still_shrinks():
    model = make(Proximal(optimizers.SGD(0.1)))
    train(model, 10)
    model.optimizer.freeze()
    before = kernel(model)
    model.optimizer.strength = 1e6
    fit(model)
    assert (before != 0).any()
    assert (kernel(model) == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "penalty",
    [keras.regularizers.L1L2(1e-3, 2e-3), keras.regularizers.L2(1e-3), GroupLasso(1e-3)],
    ids=["l1l2", "l2", "group"],
)
def test_compiled_for_large_kernels_and_not_for_small_ones_alike(monkeypatch, penalty):
    """On TensorFlow the map and the penalty of many weights are XLA kernels; elsewhere nothing differs."""
    results, losses = [], []
    for limit in (1, 10**9):
        monkeypatch.setattr(_xla, "WORTH_COMPILING", limit)
        model = make(Proximal(optimizers.Adam(0.01)), penalty, jit_compile=False)
        losses.append(fit(model, epochs=6)["loss"])
        results.append(kernel(model))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
