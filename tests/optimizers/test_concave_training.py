"""Training with penalties that don't shrink large weights: against coordinate descent, and against L1 and the truth."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops, optimizers

from tests.optimizers.solving import FEATURES, SAMPLES, TASKS, VARIANTS, data, on_jax, rate_of, solve, squares_slope
from tests.optimizers.training import INNER, kernel, make, train
from tests.tools import mostly_slow, slow_on_tensorflow
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.log_sum import LogSum
from tf_reg.penalties.lq import Lq
from tf_reg.penalties.mcp import MCP
from tf_reg.penalties.scad import SCAD

pytestmark = pytest.mark.contract
in_float64 = pytest.mark.usefixtures("float64")

STRENGTH = 0.4


def firm(z, step):
    """The minimum of `(w - z)^2 / (2 step)` plus MCP with gamma = 3, as Zhang writes it."""
    if abs(z) > 3 * STRENGTH:
        return z
    return np.sign(z) * max(abs(z) - step * STRENGTH, 0.0) / (1 - step / 3)


def coordinate_descent(x, y, threshold):
    """The minimum of the mean squared error and a penalty, one weight after the other."""
    w, step = np.zeros(x.shape[1]), SAMPLES / (2 * (x**2).sum(0))
    for _ in range(2000):
        before = w.copy()
        for j in range(len(w)):
            slope = -2 * x[:, j] @ (y - x @ w) / SAMPLES
            w[j] = threshold(w[j] - step[j] * slope, step[j])
        if np.abs(w - before).max() < 1e-14:
            break
    return w


@on_jax
@in_float64
@pytest.mark.parametrize("name", VARIANTS)
def test_every_optimizer_finds_the_minimum_of_coordinate_descent(name):
    """With gamma = 3 the sum of loss and penalty is convex here, so there is one minimum."""
    x, y = data()
    expected = coordinate_descent(x, y, firm)
    optimizer = Proximal(VARIANTS[name][1](rate_of(name, "decaying", 6000)))
    found = solve(MCP(STRENGTH, 3.0), optimizer, squares_slope(x, y), (FEATURES,), 6000)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found == 0, expected == 0)


@on_jax
@in_float64
@pytest.mark.parametrize("name", ["momentum", "adam"])  # one step size, and one for each weight
@pytest.mark.parametrize(
    "penalty",
    [
        SCAD(STRENGTH),
        LogSum(STRENGTH, 1.0),
        MCP(0.1, 3.0, groups="inputs"),
        SCAD(0.1, groups="inputs"),
        LogSum(0.1, 0.5, groups="inputs"),
    ],
    ids=lambda penalty: f"{type(penalty).__name__}-{penalty.groups}",
)
def test_stationary_in_the_end(name, penalty):
    """Where a weight isn't zero, the slope of the penalty is minus that of the data; elsewhere it is large enough."""
    grouped = penalty.groups is not None
    x, y = data(TASKS if grouped else None)
    slope = squares_slope(x, y)
    optimizer = Proximal(VARIANTS[name][1](rate_of(name, "decaying", 6000)))
    found = solve(penalty, optimizer, slope, (FEATURES, TASKS) if grouped else (FEATURES,), 6000)
    pull = -np.asarray(slope(ops.convert_to_tensor(found)))
    unit = TASKS**0.5 if grouped else 1.0
    norm, size = (np.sqrt((a.reshape(FEATURES, -1) ** 2).sum(1)) / unit for a in (found, pull * unit))
    alive = norm > 0
    assert 5 <= alive.sum() < 40
    expected = unit * np.asarray(penalty.curve.slopes(ops.convert_to_tensor(norm))[0])
    np.testing.assert_allclose(size[alive] / unit, expected[alive] / (unit if grouped else 1.0), atol=1e-5)
    assert (size[~alive] / unit <= penalty.strength * (1 + 1e-6)).all()


@on_jax
@in_float64
@pytest.mark.parametrize("penalty", [MCP(STRENGTH), SCAD(STRENGTH)], ids=["mcp", "scad"])
def test_large_weights_are_those_of_least_squares_where_l1_makes_them_too_small(penalty):
    """The support is found, and the weights are those of the regression on it: what an oracle would do."""
    rng = np.random.default_rng(7)
    x, support = rng.normal(size=(SAMPLES, FEATURES)), np.arange(0, 24, 3)
    true = np.zeros(FEATURES)
    true[support] = rng.uniform(2, 4, size=8) * rng.choice([-1, 1], size=8)
    y = x @ true + 0.5 * rng.normal(size=SAMPLES)
    oracle = np.zeros(FEATURES)
    oracle[support] = np.linalg.lstsq(x[:, support], y, rcond=None)[0]
    unbiased, lasso = (
        solve(one, Proximal(optimizers.SGD(0.1)), squares_slope(x, y), (FEATURES,), 4000)
        for one in (penalty, keras.regularizers.L1(STRENGTH))
    )
    np.testing.assert_array_equal(np.flatnonzero(unbiased), support)
    np.testing.assert_allclose(unbiased, oracle, atol=1e-6)
    assert np.abs(unbiased - true).max() < 0.15
    assert (np.abs(lasso[support]) < np.abs(oracle[support]) - 0.1).all()


@pytest.mark.parametrize("name", mostly_slow(INNER, "adam"))
@pytest.mark.parametrize(
    "penalty",
    [
        pytest.param(MCP(0.6), id="mcp"),
        pytest.param(Lq(0.3, 0), id="l0", marks=slow_on_tensorflow),
        pytest.param(MCP(0.4, groups="inputs"), id="group", marks=slow_on_tensorflow),
    ],
)
def test_zeros_and_large_weights_of_a_layer(name, penalty):
    """On every backend, after some steps without penalty: L0 would keep a weight that begins near zero there."""
    model = make(Proximal(INNER[name](), strength=0.0), penalty)
    train(model, 60)
    model.optimizer.strength = 1.0
    train(model, 100)
    found = kernel(model)
    gone = found[3:] == 0  # inputs that don't matter
    assert gone.all() if penalty.get_config().get("groups", "none") is None else gone.any()
    assert np.abs(found[0, 0] - 2) < 0.25


@pytest.mark.parametrize(
    "inner", [pytest.param(kind, marks=slow_on_tensorflow) for kind in (optimizers.SGD, optimizers.Adam)]
)
def test_from_zero_a_weight_leaves_where_the_gradient_allows_it(inner):
    """MCP and SCAD as L1: above the slope at zero. L0 and L1/2 hold a zero that one step brings up to a threshold."""
    for penalty, leaves in ((MCP(0.6), True), (LogSum(0.6, 5.0), True), (Lq(1e4, 0), False), (Lq(1e4), False)):
        model = make(Proximal(inner(0.01)), penalty)
        model.layers[0].kernel.assign(np.zeros((10, 2), "float32"))
        train(model, 30)
        assert np.isfinite(kernel(model)).all()
        assert (kernel(model) != 0).any() == leaves
