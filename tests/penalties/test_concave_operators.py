"""Concave penalties of single weights: the global minimum by brute force, skglm, and the rules of all maps."""

from __future__ import annotations

import doctest
import functools
import itertools
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from tests.tools import ROOT, slow_on_tensorflow
from tf_reg import _backend
from tf_reg.penalties import concave_groups, concave_operators
from tf_reg.penalties.log_sum import LogSum
from tf_reg.penalties.lq import Lq
from tf_reg.penalties.mcp import MCP
from tf_reg.penalties.scad import SCAD

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("float64")]

LAM = 0.8


def _mcp(x, gamma):
    return np.where(x < gamma * LAM, LAM * x - x**2 / (2 * gamma), gamma * LAM**2 / 2)


def _scad(x, a):
    middle = (2 * a * LAM * x - x**2 - LAM**2) / (2 * (a - 1))
    return np.where(x <= LAM, LAM * x, np.where(x < a * LAM, middle, LAM**2 * (a + 1) / 2))


# The regularizer, and the penalty of sizes as the papers write it.
CASES = {
    "mcp": (MCP(LAM, 3.0), lambda x: _mcp(x, 3.0)),
    "mcp_steep": (MCP(LAM, 0.4), lambda x: _mcp(x, 0.4)),
    "scad": (SCAD(LAM, 3.7), lambda x: _scad(x, 3.7)),
    "scad_steep": (SCAD(LAM, 1.2), lambda x: _scad(x, 1.2)),
    "log_sum": (LogSum(LAM, 0.5), lambda x: LAM * 0.5 * np.log(1 + x / 0.5)),
    "log_sum_jumps": (LogSum(LAM, 0.1), lambda x: LAM * 0.1 * np.log(1 + x / 0.1)),
    "l0": (Lq(LAM, 0), lambda x: LAM * (x != 0)),
    "l_half": (Lq(LAM, 0.5), lambda x: LAM * np.sqrt(x)),
    "l_two_thirds": (Lq(LAM, 2 / 3), lambda x: LAM * np.cbrt(x) ** 2),
}
SHAPE = (7,)
values = arrays(np.float64, SHAPE, elements=st.floats(-8, 8, width=16))
steps = st.one_of(st.floats(1e-3, 1e2), arrays(np.float64, SHAPE, elements=st.floats(1e-3, 1e2)))
property_test = settings(max_examples=25, deadline=None)
PLAIN = ("mcp", "log_sum_jumps", "l_half")
every_case = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in PLAIN else slow_on_tensorflow) for name in CASES]
)


def tensor(x, dtype="float64"):
    return ops.convert_to_tensor(np.asarray(x), dtype=dtype)


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float64"))


@functools.cache
def compiled(name):
    return _backend.compile(CASES[name][0].prox)


def run(name, value, step, dtype="float64"):
    return array(compiled(name)(tensor(value, dtype), tensor(np.broadcast_to(step, np.shape(value)), dtype)))


def objective(name, w, value, step):
    return (w - value) ** 2 / (2 * step) + CASES[name][1](np.abs(w))


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_weight_between_zero_and_the_value_is_lower(name, dtype):
    """For steps on both sides of the one from which on the operator jumps."""
    rng = np.random.default_rng(0)
    value, step = 4 * rng.normal(size=500), np.exp(rng.uniform(-5, 4, size=500))
    value, step = value.astype(dtype).astype("float64"), step.astype(dtype).astype("float64")
    found = run(name, value, step, dtype)
    lowest = objective(name, np.linspace(0, 1, 5001)[:, None] * value, value, step).min(axis=0)
    assert (objective(name, found, value, step) <= lowest + (1e-9 if dtype == "float64" else 1e-6) * (1 + lowest)).all()
    assert 20 < (found == 0).sum() < 480


@every_case
@property_test
@given(value=values, step=steps, other=values)
def test_nothing_is_lower_and_the_order_is_kept(name, value, step, other):
    """What holds for the operator of every penalty, convex or not: it minimises, and never reverses an order."""
    found = run(name, value, step)
    assert (objective(name, found, value, step) <= objective(name, other, value, step) * (1 + 1e-9) + 1e-9).all()
    assert ((found - run(name, other, step)) * (value - other) >= -1e-12).all()
    assert (found * value >= 0).all()
    assert (np.abs(found) <= np.abs(value)).all()
    np.testing.assert_array_equal(run(name, -value, step), -found)


@every_case
def test_gradient_of_the_moreau_envelope_where_the_operator_is_continuous(name):
    rng = np.random.default_rng(1)
    value, step, size = 3 * rng.normal(size=200), np.exp(rng.uniform(-3, 3, size=200)), 1e-5
    low, found, high = (run(name, value + move, step) for move in (-size, 0.0, size))
    smooth = np.abs(high - low) < 1e-2
    numeric = (objective(name, high, value + size, step) - objective(name, low, value - size, step)) / (2 * size)
    assert smooth.sum() > 190
    np.testing.assert_allclose(numeric[smooth], ((value - found) / step)[smooth], rtol=1e-5, atol=1e-4)


def test_the_operators_of_skglm():
    """Values that `tests/data/make_skglm_values.py` wrote; its steps are those for which skglm's are minima."""
    file = json.loads((ROOT / "tests" / "data" / "skglm.json").read_text())
    value, step = np.array(file["values"]), np.array(file["steps"])[:, None]
    for name, expected in file["results"].items():
        if name in CASES:
            found = run(name, value, step)
        else:
            kind = {"mcp_group": MCP(LAM), "scad_group": SCAD(LAM)}[name]
            found = array(concave_groups.block(tensor(value), tensor(step), [1], kind.curve))
        expected = np.array(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(found == 0, expected == 0)


@pytest.mark.parametrize(("name", "jump"), [("mcp", 3.0), ("scad", 2.7), ("scad", 4.7), ("log_sum", 0.625)])
def test_the_formulas_on_both_sides_of_a_step_size_meet(name, jump):
    value = np.linspace(-6, 6, 301)
    below, above = (run(name, value, jump * factor) for factor in (1 - 1e-9, 1 + 1e-9))
    moved = np.abs(below - above) > 1e-4
    assert moved.sum() <= 2  # a value may lie on the threshold itself
    np.testing.assert_allclose(
        objective(name, below, value, jump), objective(name, above, value, jump), rtol=1e-7, atol=1e-9
    )


@every_case
def test_dtypes_steps_of_zero_nan_and_empty_tensors(name):
    prox = CASES[name][0].prox
    value = np.array([1.5, -0.25, 0.0, 4.0, -2.0])
    for dtype, rounding in (("float16", 1e-3), ("bfloat16", 8e-3), ("float32", 1e-6)):
        for step in (0.5, np.array([0.5, 0.25, 0.5, 2.0, 1.0])):
            result = prox(tensor(value, dtype), tensor(step, "float32"))
            assert keras.backend.standardize_dtype(result.dtype) == dtype
            np.testing.assert_allclose(array(result), run(name, value, step), rtol=rounding, atol=rounding)
    for dtype, step in itertools.product(("float16", "float32", "float64"), (0.0, np.zeros(5))):
        same = tensor([1e-25, -1e-5, 0.0, 3.3, 1e4], dtype)
        np.testing.assert_array_equal(array(prox(same, tensor(step, "float32"))), array(same))
    for step in (0.5, 50.0):
        assert np.isnan(run(name, np.array([np.nan, 1.0]), step)).tolist() == [True, False]
    assert prox(tensor(np.zeros((0, 2))), tensor(0.5)).shape == (0, 2)


@every_case
def test_steps_and_values_far_apart_stay_finite(name):
    """Adam's steps: 1e4 for a weight that never had a gradient, and down to nothing."""
    value = np.array([1e-30, 1e-8, 1.0, 1e4, 1e8])
    for step in (1e-30, 1e-12, 1e4, 1e10):
        result = run(name, value, step, "float32")
        assert np.isfinite(result).all()
        assert (result <= np.float32(value)).all()
    np.testing.assert_allclose(run(name, value[2:], 1e-12, "float32"), value[2:], rtol=1e-6)


def test_examples():
    assert doctest.testmod(concave_operators).failed == 0
