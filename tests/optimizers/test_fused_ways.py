"""Which way an update takes, kernels or operation by operation, and that `fit` gives the same either way."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops, optimizers

from tests.optimizers.test_fused import PENALTIES, network
from tests.tools import needs_keras
from tf_reg import Proximal, _xla

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kernels are TensorFlow's")

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(64, 6)).astype("float32"), RANDOM.normal(size=(64, 2)).astype("float32")
LIMIT, NEVER = _xla.WORTH_COMPILING, 10**9  # weights from which on there is a kernel


@pytest.fixture
def ways(monkeypatch):
    """The ways that updates have taken, one name for each kernel and each update without any. All may be kernels."""
    taken = []
    monkeypatch.setattr(_xla, "WORTH_COMPILING", 1)
    run, inner_apply = _xla.Kernels.run, Proximal.inner_apply

    def noted(way, method):
        return lambda *args, **options: (taken.append(way), method(*args, **options))[1]

    monkeypatch.setattr(_xla.Kernels, "run", noted("kernel", run))
    monkeypatch.setattr(Proximal, "inner_apply", noted("operations", inner_apply))
    return taken


def everything():
    """A loss scale that is too large at first, around all that an optimizer may do."""
    rate = optimizers.schedules.CosineDecay(0.05, 60)
    kept = {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 5}
    inner = optimizers.AdamW(rate, weight_decay=0.1, clipnorm=2.0, gradient_accumulation_steps=2, **kept)
    return optimizers.LossScaleOptimizer(Proximal(inner), initial_scale=2.0**127, dynamic_growth_steps=20)


FITS = {  # an optimizer, a penalty, and the steps of an execution
    "adam, l1": (lambda: Proximal(optimizers.Adam(0.02)), "l1", 1),
    "momentum, group": (lambda: Proximal(optimizers.SGD(0.02, 0.9)), "group", 4),
    "rmsprop, channels": (lambda: Proximal(optimizers.RMSprop(0.01)), "channels", 1),
    "adagrad, sparse group": (lambda: Proximal(optimizers.Adagrad(0.05)), "sparse group", 1),
    "nesterov, mcp": (lambda: Proximal(optimizers.SGD(0.01, 0.9, nesterov=True)), "mcp", 1),
    "everything": (everything, "l1l2", 4),
}
PLAIN = ("momentum, group",)


def fitted(make, penalty, steps=1, **options):
    """The losses of a network in `fit`, and its weights and its optimizer afterwards.

    Biases are left out. One is before a normalisation, so its gradient is nothing but rounding.
    """
    model = network(PENALTIES[penalty]())
    model.compile(make(), "mse", steps_per_execution=steps, **{"jit_compile": False, **options})
    losses = model.fit(X, Y, batch_size=8, epochs=5, shuffle=False, verbose=0).history["loss"]
    return losses, matrices(model.weights), model.optimizer


def matrices(variables):
    return [ops.convert_to_numpy(one) for one in variables if len(one.shape) > 1]


def assert_equal(one, other):
    """The same losses and weights, and the same of these are zero."""
    np.testing.assert_allclose(one[0], other[0], rtol=1e-5)
    for a, b in zip(one[1], other[1], strict=True):
        np.testing.assert_array_equal(a == 0, b == 0)
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert 0.02 < np.mean(np.concatenate([weight.ravel() for weight in one[1]]) == 0) < 0.98


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in PLAIN else pytest.mark.slow) for n in FITS])
def test_fit_gives_the_same_losses_and_zeros(ways, monkeypatch, name):
    with_kernels = fitted(*FITS[name])
    assert set(ways) == {"kernel"}
    ways.clear()
    monkeypatch.setattr(_xla, "WORTH_COMPILING", NEVER)
    without = fitted(*FITS[name])
    assert set(ways) == {"operations"}
    assert_equal(with_kernels, without)
    if name == "everything":
        for optimizer in (with_kernels[2], without[2]):
            assert 0 < int(optimizer.iterations) < 40 // 2, "no step was skipped"
        assert float(with_kernels[2].dynamic_scale) == float(without[2].dynamic_scale) < 2.0**127
        for a, b in zip(*(matrices(one[2].variables) for one in (with_kernels, without)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def one_device():
    """A strategy that has replicas even so."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0"]).scope()


def eager(make):
    return fitted(make, "group", run_eagerly=True)


def mirrored(make):
    with one_device():
        return fitted(make, "group")


@pytest.mark.slow
@pytest.mark.parametrize("train", [eager, mirrored])
def test_no_kernels_step_by_step_nor_in_replicas(ways, train):
    """An update is no part of a kernel there, however large the weights."""

    def make():
        return Proximal(optimizers.SGD(0.02, 0.9))

    without = train(make)
    assert set(ways) == {"operations"}
    ways.clear()
    assert_equal(without, fitted(make, "group"))
    assert set(ways) == {"kernel"}


@pytest.mark.parametrize(
    ("units", "scope", "eagerly", "expected"),
    [
        (256, contextlib.nullcontext, False, "kernel"),  # one, for 2^16 of the weights
        (254, contextlib.nullcontext, False, "operations"),  # all weights are fewer
        (256, contextlib.nullcontext, True, "operations"),
        (256, one_device, False, "operations"),
    ],
)
def test_the_way_of_a_model(ways, monkeypatch, units, scope, eagerly, expected):
    """A large weight has a kernel in a graph without replicas. The vectors and the small weight beside it have none."""
    monkeypatch.setattr(_xla, "WORTH_COMPILING", LIMIT)
    layers = [keras.layers.Dense(count, kernel_regularizer="l1", bias_regularizer="l2") for count in (units, 1)]
    with scope():
        model = keras.Sequential([keras.Input((256,)), *layers])
        model.compile(Proximal(optimizers.SGD(0.1)), "mse", jit_compile=False, run_eagerly=eagerly)
        model.optimizer.build(model.trainable_variables)
    model.train_on_batch(np.zeros((2, 256)), np.zeros((2, 1)))
    assert ways == [expected]


def multi(inner):
    """Proximal for the kernels of layers, and an optimizer without it for the rest."""
    kernels = optimizers.OptimizerMap(optimizers.SGD(0.02), {".*kernel": Proximal(inner)})
    return optimizers.MultiOptimizer(kernels)


@needs_keras("optimizers.MultiOptimizer")
@pytest.mark.slow
def test_within_a_multi_optimizer(ways, monkeypatch):
    def make():
        return multi(optimizers.Adam(0.02))

    with_kernels = fitted(make, "l1")
    assert set(ways) == {"kernel"}
    ways.clear()
    monkeypatch.setattr(_xla, "WORTH_COMPILING", NEVER)
    without = fitted(make, "l1")
    assert set(ways) == {"operations"}
    assert_equal(with_kernels, without)


@needs_keras("optimizers.MultiOptimizer")
def test_a_multi_optimizer_within_is_refused():
    """It has no step of its own, neither with kernels nor without."""
    with pytest.raises(ValueError, match=r"Received: MultiOptimizer\."):
        Proximal(multi(optimizers.Adam(0.02)))
