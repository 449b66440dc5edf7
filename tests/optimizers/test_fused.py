"""The update and the proximal step in kernels: the same numbers as without, and kernels where they should be."""

import functools

import keras
import numpy as np
import pytest
from keras import ops, optimizers, regularizers

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


def steps_of(optimizer, model, steps=STEPS):
    """Make steps with random gradients in one compiled function, and return all weights and the optimizer's."""
    import tensorflow as tf

    variables = model.trainable_variables
    optimizer.build(variables)
    apply = tf.function(lambda *grads: optimizer.apply(list(grads), variables), autograph=False)
    random = np.random.default_rng(1)
    for _ in range(steps):
        apply(*(tf.constant(random.normal(size=v.shape), v.dtype) for v in variables))
    return [ops.convert_to_numpy(one) for one in (*model.weights, *optimizer.variables)]


@pytest.fixture
def two_ways(monkeypatch):
    """A function that makes and trains a network with kernels and without, and compares."""

    def compare(make, train=steps_of, dtype="float32", fused=True, limit=None):
        results, kernels = [], []
        for worth in (1, 10**9):
            monkeypatch.setattr(_xla, "WORTH_COMPILING", worth)
            model, optimizer, *around = make()
            results.append(train(optimizer, model, *around))
            kernels.append(optimizer._fused.kernels.calls)
        assert (kernels[0] > 0) == fused
        assert kernels[1] == 0
        for a, b in zip(*results, strict=True):
            limit = limit or (1e-12 if dtype == "float64" else 1e-6)
            assert np.all(np.abs(a.astype("float64") - b) <= limit * np.maximum(1, np.abs(b))), np.abs(a - b).max()
        return results[0]

    return compare


CONCAVE = {"mcp": 1e-5, "scad": 1e-5, "log sum": 1e-5, "mcp of groups": 1e-5, "scad of groups": 1e-4}
CASES = [(inner, penalty) for inner in INNER for penalty in PENALTIES]
SLOW = [("adam", "l1"), ("momentum", "group")]


@pytest.mark.parametrize(
    ("inner", "penalty"),
    [pytest.param(*case, marks=pytest.mark.slow if case in SLOW else pytest.mark.long) for case in CASES],
)
def test_the_same_weights_as_without_kernels(two_ways, inner, penalty):
    """In the concave part of a penalty, a step multiplies the rounding of the steps before it."""
    for dtype, limit in (("float32", CONCAVE.get(penalty, 1e-6)), ("float64", 1e-12)):
        make = functools.partial(_case, inner, penalty, dtype)
        two_ways(make, dtype=dtype, limit=limit)


def _case(inner, penalty, dtype):
    return network(PENALTIES[penalty](), dtype), Proximal(INNER[inner]())


def settings():
    """Everything that an optimizer may do beside its step, by name: an optimizer and the arguments of `Dense`."""
    decay = optimizers.schedules.ExponentialDecay
    limit = {"kernel_constraint": keras.constraints.MinMaxNorm(0.1, 0.5, 0.5)}
    return {
        "clipnorm": (Proximal(optimizers.Adam(0.02, clipnorm=1.0)), {}),
        "clipvalue": (Proximal(optimizers.Adam(0.02, clipvalue=0.5)), {}),
        "global_clipnorm": (Proximal(optimizers.SGD(0.02, 0.9, global_clipnorm=2.0)), {}),
        "average": (Proximal(optimizers.Adam(0.02, use_ema=True, ema_momentum=0.8)), {}),
        "overwritten": (Proximal(optimizers.Adam(0.02, use_ema=True, ema_overwrite_frequency=7)), {}),
        "accumulation": (Proximal(optimizers.Adam(0.02, gradient_accumulation_steps=3)), limit),
        "accumulation, clipped": (
            Proximal(optimizers.SGD(0.02, 0.9, gradient_accumulation_steps=3, global_clipnorm=1.0, use_ema=True)),
            {},
        ),
        "decay": (Proximal(optimizers.AdamW(decay(0.02, 5, 0.9), weight_decay=0.1)), {}),
        "constraint": (Proximal(optimizers.RMSprop(0.02)), limit),
        "strength": (Proximal(optimizers.Adam(0.02), strength=decay(2.0, 5, 0.9)), {}),
        "factors": (Proximal(optimizers.Adam(0.02), penalty_factors=True), {}),
        "dual averaging": (Proximal(optimizers.SGD(0.02, 0.9), dual_averaging=True), {}),
        "dual averaging, adam": (Proximal(optimizers.Adam(0.02), penalty_factors=True, dual_averaging=True), {}),
        "scaled": (Proximal(optimizers.Adam(0.02, loss_scale_factor=8.0)), {}),
    }


SETTINGS = settings() if keras.backend.backend() == "tensorflow" else []
SOME = ("accumulation", "overwritten", "dual averaging, adam")


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow if one in SOME else pytest.mark.long) for one in SETTINGS]
)
def test_what_an_optimizer_does_beside_its_step(two_ways, name):
    def make():
        optimizer, kernel = settings()[name]
        return network(PENALTIES["l1l2" if "dual" in name else "group"](), "float64", **kernel), optimizer

    two_ways(make, dtype="float64")


@pytest.mark.slow
def test_frozen_zeros_and_skipped_steps(two_ways):
    """A `LossScaleOptimizer` skips the steps whose gradients aren't finite."""

    def train(optimizer, model, outer):
        import tensorflow as tf

        variables = model.trainable_variables
        outer.build(variables)
        apply = tf.function(lambda *grads: outer.apply(list(grads), variables), autograph=False)
        random = np.random.default_rng(1)
        for number in range(20):
            scale = np.inf if number in (3, 4) else float(outer.dynamic_scale)
            apply(*(tf.constant(scale * random.normal(size=v.shape), v.dtype) for v in variables))
            if number == 10:
                assert any((ops.convert_to_numpy(v) == 0).any() for v in variables)
                optimizer.freeze()
        return [ops.convert_to_numpy(one) for one in (*model.weights, *optimizer.variables, outer.dynamic_scale)]

    def make():
        optimizer = Proximal(optimizers.Adam(0.05))
        return network(PENALTIES["l1"](), "float64"), optimizer, optimizers.LossScaleOptimizer(optimizer, 8.0, 5)

    two_ways(make, train, dtype="float64")


def embedding(jit_compile=False):
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(3, kernel_regularizer="l1")
    layers = [keras.layers.Embedding(20, 4, embeddings_regularizer="l1"), keras.layers.Flatten(), dense]
    model = keras.Sequential([keras.Input((5,), dtype="int32"), *layers])
    model.compile(Proximal(optimizers.Adam(0.02)), "mse", jit_compile=jit_compile)
    return model, model.optimizer


def fitted(optimizer, model, steps=20):
    random = np.random.default_rng(0)
    for _ in range(steps):
        model.train_on_batch(random.integers(0, 20, (8, 5)), random.normal(size=(8, 3)))
    return [ops.convert_to_numpy(one) for one in model.weights]


@pytest.mark.slow
def test_gradients_of_embeddings_stay_sparse(two_ways, monkeypatch):
    """They never reach a kernel, and are never made dense: Keras multiplies the rows that there are."""
    two_ways(embedding, fitted)
    seen = []
    monkeypatch.setattr(_xla, "WORTH_COMPILING", 1)
    model, optimizer = embedding()
    inner = optimizer.inner_optimizer
    update = type(inner).update_step
    monkeypatch.setattr(inner, "update_step", lambda g, v, r: (seen.append(type(g).__name__), update(inner, g, v, r)))
    fitted(optimizer, model, steps=1)
    assert "IndexedSlices" in seen


def test_which_way_runs(monkeypatch):
    """Kernels in Keras' ordinary graph alone; not for small models, step by step, or where XLA compiles all."""

    def calls(**options):
        model = network(PENALTIES["l1"]())
        model.compile(Proximal(optimizers.SGD(0.1)), "mse", **options)
        model.train_on_batch(np.zeros((2, 6)), np.zeros((2, 2)))
        return model.optimizer._fused.kernels.calls

    assert calls(jit_compile=False) == 0
    monkeypatch.setattr(_xla, "WORTH_COMPILING", 1)
    assert calls(jit_compile=False) > 0
    assert calls(jit_compile=True) == 0
    assert calls(run_eagerly=True) == 0


class Loud(optimizers.SGD):
    """It has an `apply` of its own, which no kernel may leave out."""

    def apply(self, grads, trainable_variables=None):
        super().apply([2 * one for one in grads], trainable_variables)


@pytest.mark.slow
def test_an_optimizer_with_a_step_of_its_own_has_no_kernels(two_ways):
    two_ways(lambda: (network(PENALTIES["l1"]()), Proximal(Loud(0.02))), fused=False)


def test_variables_of_one_shape_share_a_kernel(monkeypatch):
    monkeypatch.setattr(_xla, "WORTH_COMPILING", 25)
    optimizer = Proximal(optimizers.Adam(0.02))
    steps_of(optimizer, network(PENALTIES["l1"]()), steps=2)
    kernels = optimizer._fused.kernels
    assert (len(kernels), kernels.calls, kernels.traces) == (2, 3, 2)  # (6, 5), and twice (5, 5)


def test_what_differs_has_a_kernel_of_its_own(two_ways):
    """Kernels of one shape, but another strength, no weight decay, or a constraint."""

    def make():
        keras.utils.set_random_seed(0)
        kinds = [{"kernel_regularizer": regularizers.L1(strength)} for strength in (0.1, 0.02, 0.1)]
        kinds.append({**kinds[0], "kernel_constraint": keras.constraints.NonNeg()})
        layers = [keras.layers.Dense(5, dtype="float64", **kind) for kind in kinds]
        model = keras.Sequential([keras.Input((5,), dtype="float64"), *layers])
        inner = optimizers.AdamW(0.02, weight_decay=0.5)
        inner.exclude_from_weight_decay([layers[2].kernel])
        return model, Proximal(inner)

    two_ways(make, functools.partial(steps_of, steps=5), dtype="float64")


def test_a_setting_that_was_changed_is_in_the_next_kernel(two_ways):
    def train(optimizer, model):
        steps_of(optimizer, model, steps=3)
        optimizer.inner_optimizer.beta_1 = 0.5
        return steps_of(optimizer, model, steps=3)

    two_ways(lambda: (network(PENALTIES["l1"](), "float64"), Proximal(optimizers.Adam(0.02))), train, dtype="float64")
