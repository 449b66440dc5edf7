"""MCP, SCAD, the log-sum and powers as regularizers: arguments, zeros in plain Keras, groups, other sizes."""

from __future__ import annotations

import doctest

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests.penalties.members import CONCAVE, SHAPE
from tests.tools import slow_on_tensorflow
from tf_reg.penalties import log_sum, lq, mcp, scad
from tf_reg.penalties.log_sum import LogSum
from tf_reg.penalties.lq import Lq
from tf_reg.penalties.mcp import MCP
from tf_reg.penalties.registry import penalty_of
from tf_reg.penalties.scad import SCAD

pytestmark = pytest.mark.contract


def tensor(x):
    return ops.convert_to_tensor(np.asarray(x, "float32"))


def array(x):
    return ops.convert_to_numpy(x).astype("float64")


def test_values_by_hand():
    kernel = tensor([[0.5, 0.0], [-3.0, 0.0]])
    for penalty, expected in [
        (MCP(1.0, 2.0), 0.5 - 0.25 / 4 + 1.0),
        (SCAD(1.0, 3.0), 0.5 + 2.0),
        (LogSum(2.0, 0.5), np.log(2) + np.log(7)),
        (Lq(2.0, 0), 4.0),
        (Lq(2.0, 0.5), 2 * (0.5**0.5 + 3**0.5)),
        (Lq(2.0, 2 / 3), 2 * (0.5 ** (2 / 3) + 3 ** (2 / 3))),
        (MCP(1.0, 4.0, groups="inputs", size_weights=False), 0.5 - 0.25 / 8 + 3 - 9 / 8),
        (MCP(1.0, 4.0, groups="inputs"), 2 * (0.5 / 2**0.5 - 0.125 / 8 + 3 / 2**0.5 - 4.5 / 8)),
        (SCAD(4.0, groups="outputs"), 4 * 2**0.5 * 9.25**0.5),
        (LogSum(1.0, 0.5, groups="inputs"), np.log(1 + 0.5 * 2**0.5) + np.log(1 + 3 * 2**0.5)),
    ]:
        assert float(array(penalty(kernel))) == pytest.approx(expected, rel=1e-6), penalty.get_config()


@pytest.mark.parametrize("make", [MCP, SCAD, LogSum])
@pytest.mark.parametrize("groups", [None, "inputs"])
def test_a_parameter_without_bound_makes_l1_and_the_group_lasso(make, groups):
    value = tensor(np.random.default_rng(0).normal(size=SHAPE))
    convex = keras.regularizers.L1(0.3) if groups is None else tf_reg.GroupLasso(0.3, groups)
    penalty = make(0.3, 1e6, groups)
    assert float(array(penalty(value))) == pytest.approx(float(array(convex(value))), rel=1e-5)
    for step in (0.7, tensor(np.random.default_rng(1).uniform(0.1, 1.0, size=SHAPE))):
        np.testing.assert_allclose(
            array(penalty.prox(value, step)), array(penalty_of(convex).prox(value, step)), atol=1e-5
        )


@pytest.mark.parametrize("name", [pytest.param(n, marks=slow_on_tensorflow if n[0] in "sl" else ()) for n in CONCAVE])
def test_trains_in_plain_keras_from_exact_zeros(name):
    """The gradient at zero is zero and not NaN. The slope of L0 is zero everywhere."""
    layer = layers.Dense(12, kernel_regularizer=CONCAVE[name](), use_bias=False)
    model = keras.Sequential([keras.Input((3,)), layer])
    start = np.full(SHAPE, 0.1, "float32")
    start[0] = 0.0
    start[:, ::3] = 0.0
    layer.kernel.assign(start)
    model.compile(keras.optimizers.SGD(0.01), loss=lambda y, p: ops.sum(p * 0.0))
    model.fit(np.ones((4, 3)), np.ones((4, 12)), verbose=0)
    after = array(layer.kernel)
    assert np.isfinite(after).all()
    assert (after[start == 0] == 0).all()
    assert ((after < start)[start > 0] == (name != "l0")).all()


@pytest.mark.parametrize("name", ["mcp", "scad", "log_sum", "mcp_group", "scad_group_inputs", "log_sum_group_lstm"])
def test_zero_stays_stationary_from_the_threshold_on_for_small_steps(name):
    """A local statement: the operator with a small step finds the minimum beside zero."""
    penalty = CONCAVE[name]()
    gradient = np.random.default_rng(0).normal(size=SHAPE)
    threshold, step = penalty.zero_threshold(tensor(gradient)), 1e-3
    for factor, stays in ((1.001, True), (0.999, False)):
        result = array(penalty.prox(tensor(-step * gradient), step * threshold * factor))
        assert (result == 0).all() == stays
    for by_norm, size in ((True, np.linalg.norm), (False, lambda g: np.abs(g).max())):
        below = gradient * (penalty.slope_at_zero(SHAPE, by_norm) * 0.999 / size(gradient))
        assert (array(penalty.prox(tensor(-step * below), step)) == 0).all()


def test_of_powers_every_strength_keeps_a_zero():
    assert Lq(1e-9).zero_threshold(ops.ones(2)) == 0
    assert Lq(1.0).slope_at_zero((2,), by_norm=True) == 0


@pytest.mark.parametrize("make", [MCP, SCAD, LogSum])
@pytest.mark.parametrize("size_weights", [True, False])
def test_a_kernel_that_loses_zeros_keeps_its_penalty(make, size_weights):
    penalty = make(0.3, 1.5, "outputs", size_weights)
    small = np.random.default_rng(0).normal(size=(3, 4))
    large = np.concatenate([small, np.zeros((5, 4))])
    other = penalty.resized((8, 4), (3, 4))
    assert float(array(other(tensor(small)))) == pytest.approx(float(array(penalty(tensor(large)))), rel=1e-6)
    np.testing.assert_allclose(
        array(other.prox(tensor(small), 0.7)), array(penalty.prox(tensor(large), 0.7))[:3], rtol=1e-5
    )
    assert make(0.3).resized((8, 4), (3, 4)) is None


def test_groups_take_a_layout_and_single_weights_do_not():
    assert MCP(0.1, groups="outputs").takes_layout
    assert MCP(0.1, groups="outputs").with_layout("gru").get_config()["layout"] == "gru"
    assert not MCP(0.1).takes_layout
    assert not MCP(0.1, groups=(0,)).takes_layout
    assert MCP(0.1).grouping((2, 2)) is None
    model = keras.Sequential([keras.Input((3, 2)), layers.LSTM(2), layers.Dense(2)])
    tf_reg.regularize(model, {"*": SCAD(0.1, groups="outputs")})
    assert model.layers[0].kernel_regularizer.layout == "lstm"
    assert model.layers[1].kernel_regularizer.layout == "kernel"


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (MCP, {"gamma": 0}, r"gamma is a finite number above 0\. Received: gamma=0"),
        (SCAD, {"a": 1.0}, r"a is a finite number above 1\. Received: a=1.0"),
        (LogSum, {"epsilon": float("inf")}, "epsilon is a finite number above 0"),
        (Lq, {"q": 0.4}, r"q is 0, 1/2 or 2/3\. Received: q=0.4"),
        (Lq, {"strength": -1.0}, "A strength is a finite number"),
        (MCP, {"groups": "rows"}, "groups must be 'inputs', 'outputs'"),
        (LogSum, {"layout": "conv"}, "layout must be one of"),
        (SCAD, {"size_weights": 1}, "size_weights is True or False"),
    ],
)
def test_wrong_arguments(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_two_thirds_may_be_rounded():
    assert Lq(q=0.6666667).q == 2 / 3


@pytest.mark.parametrize("module", [mcp, scad, log_sum, lq])
def test_examples(module):
    assert doctest.testmod(module, extraglobs={"keras": keras, "np": np, "tf_reg": tf_reg}).failed == 0
