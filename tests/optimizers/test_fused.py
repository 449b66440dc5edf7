"""The update and the proximal step in kernels: the same numbers as without, and kernels where they should be."""

import keras
import numpy as np
import pytest
from keras import ops, regularizers

import tf_reg
from tests.optimizers.training import INNER
from tf_reg import Proximal, _xla

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kernels are TensorFlow's")

STEPS = 50


class NonNegative(regularizers.Regularizer):
    def __call__(self, x):
        return 0.0 * ops.sum(x)


@tf_reg.register_prox(NonNegative)
def _project(regularizer, value, step):
    return ops.relu(value)


class Shrunk(regularizers.Regularizer):
    """`sum w^2 / 2`."""

    def __call__(self, x):
        return ops.sum(ops.square(x)) / 2


@tf_reg.register_prox(Shrunk)
def _shrink(regularizer, value, step):
    return value / (1 + step)


PENALTIES = {
    "none": lambda: None,
    "l1": lambda: regularizers.L1(0.1),
    "l2": lambda: regularizers.L2(0.1),
    "l1l2": lambda: regularizers.L1L2(0.1, 0.05),
    "group": lambda: tf_reg.GroupLasso(0.1),
    "sparse group": lambda: tf_reg.SparseGroupLasso(0.05, 0.1),
    "mcp": lambda: tf_reg.MCP(0.2),
    "scad": lambda: tf_reg.SCAD(0.2),
    "log sum": lambda: tf_reg.LogSum(0.2),
    "lq": lambda: tf_reg.Lq(0.1, 0.5),
    "mcp of groups": lambda: tf_reg.MCP(0.2, groups="inputs"),
    "scad of groups": lambda: tf_reg.SCAD(0.2, groups="inputs"),
    "log sum of groups": lambda: tf_reg.LogSum(0.2, groups="inputs"),
    "constraint": NonNegative,
    "registered": Shrunk,
    "channels": lambda: tf_reg.ChannelLasso(0.1),
    "channels, mcp": lambda: tf_reg.ChannelPenalty(tf_reg.MCP(0.2)),
}


def network(penalty, dtype="float32", **kernel):
    """A network with a residual addition and two kernels of one shape."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), dtype=dtype)
    x = keras.layers.Dense(5, dtype=dtype, **kernel)(inputs)
    y = keras.layers.Dense(5, activation="relu", dtype=dtype, **kernel)(x)
    y = keras.layers.BatchNormalization(dtype=dtype)(keras.layers.Dense(5, dtype=dtype, **kernel)(y))
    model = keras.Model(inputs, keras.layers.Dense(2, dtype=dtype)(keras.layers.add([x, y])))
    if penalty is not None:
        tf_reg.regularize(model, penalty)
    return model


def steps_of(optimizer, model, steps=STEPS, around=None):
    """Make steps with random gradients in one compiled function, and return all weights and the optimizer's."""
    import tensorflow as tf

    variables = model.trainable_variables
    optimizer.build(variables)
    outer = around or optimizer
    if around is not None:
        outer.build(variables)
    apply = tf.function(lambda *grads: outer.apply(list(grads), variables), autograph=False)
    random = np.random.default_rng(1)
    for _ in range(steps):
        apply(*(tf.constant(random.normal(size=v.shape), v.dtype) for v in variables))
    return [ops.convert_to_numpy(one) for one in (*model.weights, *optimizer.variables)]


@pytest.fixture
def two_ways(monkeypatch):
    """A function that makes and trains a network with kernels and without, and compares."""

    def compare(make, train=steps_of, dtype="float32", fused=True):
        results, kernels = [], []
        for limit in (1, 10**9):
            monkeypatch.setattr(_xla, "WORTH_COMPILING", limit)
            model, optimizer, *around = make()
            results.append(train(optimizer, model, *around))
            kernels.append(optimizer._fused.kernels.calls)
        assert (kernels[0] > 0) == fused
        assert kernels[1] == 0
        for a, b in zip(*results, strict=True):
            limit = 1e-12 if dtype == "float64" else 1e-6
            assert np.all(np.abs(a.astype("float64") - b) <= limit * np.maximum(1, np.abs(b))), np.abs(a - b).max()
        return results[0]

    return compare


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("inner", INNER)
def test_the_same_weights_as_without_kernels(two_ways, inner, penalty, dtype):
    two_ways(lambda: (network(PENALTIES[penalty](), dtype), Proximal(INNER[inner]())), dtype=dtype)
