"""Penalties of many layers in one step: on torch as one vector, on JAX's accelerators as one stack."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, regularizers

import tf_reg
from tests.optimizers.training import INNER
from tf_reg import _vectors
from tf_reg.optimizers import proximal_step
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties import proximal_operators
from tf_reg.penalties.channel_penalty import ChannelLasso
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.log_sum import LogSum

pytestmark = pytest.mark.contract

PENALTIES = [regularizers.L1(0.1), regularizers.L1L2(0.1, 0.1), GroupLasso(0.1), None, regularizers.L1(0.1)]
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(16, 4)).astype("float32")
Y = DRAW.normal(size=(16, 1)).astype("float32")


def trained(inner, steps=12):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,))])
    for number, penalty in enumerate(PENALTIES * 2):
        limit = keras.constraints.MaxNorm(1.0) if number == 5 else None
        units = 3 + number % 3
        model.add(layers.Dense(units, kernel_regularizer=penalty, bias_regularizer="l1", kernel_constraint=limit))
    model.add(layers.Dense(1, kernel_regularizer=regularizers.L1(0.1)))
    model.compile(Proximal(inner), "mse")
    for step in range(steps):
        model.optimizer.strength = 0.0 if step < 3 else 1.0
        if step == steps // 2:
            model.optimizer.freeze()
        model.train_on_batch(X, Y)
    return [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="other backends compile the step")
@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "rmsprop_centered", "amsgrad"])
def test_as_one_vector_and_one_by_one(name, monkeypatch):
    calls = []
    monkeypatch.setattr(proximal_step, "joined", lambda tensors: calls.append(len(tensors)) or _vectors.joined(tensors))
    together = trained(INNER[name]())
    assert {2, 5, 10} <= set(calls), "kernels with `L1L2`, kernels with `L1`, biases"
    calls.clear()
    monkeypatch.setattr(proximal_step, "SMALL", 0)
    alone = trained(INNER[name]())
    assert max(calls) == 1
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
        assert ((one == 0) == (other == 0)).all()
    assert any((one == 0).any() and (one != 0).any() for one in together)


ALIKE = {
    "group": GroupLasso,
    "log-sum": lambda strength: LogSum(4 * strength, groups="outputs"),
    "channels": ChannelLasso,
}
STRENGTHS = {"sgd": 0.2, "adam": 0.05}


def trained_alike(inner, penalty, factors):
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(4, activation="tanh") for _ in range(4)]
    model = keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(1)])
    tf_reg.regularize(model, penalty)
    model.compile(Proximal(inner, penalty_factors=factors), "mse")
    model.fit(X, Y, batch_size=4, epochs=12, verbose=0)
    return [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="other backends don't stack")
@pytest.mark.parametrize(("name", "factors"), [("sgd", False), ("adam", True)])
@pytest.mark.parametrize("penalty", ALIKE)
def test_stacked_and_one_by_one(penalty, name, factors, monkeypatch):
    import jax

    stacks, vmap = [], jax.vmap
    monkeypatch.setattr(jax, "vmap", lambda of: lambda *args: stacks.append(len(args[0])) or vmap(of)(*args))
    alone = trained_alike(INNER[name](), ALIKE[penalty](STRENGTHS[name]), factors)
    assert not stacks
    for module in (_vectors, proximal_operators):
        monkeypatch.setattr(module, "on_accelerator", lambda: True)
    together = trained_alike(INNER[name](), ALIKE[penalty](STRENGTHS[name]), factors)
    assert max(stacks) == 4
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        assert ((one == 0) == (other == 0)).all()
    assert any((one == 0).any() and (one != 0).any() for one in together)
