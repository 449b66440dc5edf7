"""Concave penalties of groups: the global minimum by brute force, and the special cases that agree with others."""

from __future__ import annotations

import doctest
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from tests.penalties.test_concave_operators import CASES, array, tensor
from tests.tools import slow_on_tensorflow
from tf_reg import _backend
from tf_reg.penalties import concave_groups

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("float64")]

GROUPS = [name for name in CASES if not name.startswith("l0") and "l_" not in name]
every_case = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "mcp" else slow_on_tensorflow) for name in GROUPS]
)


@functools.cache
def compiled(name):
    curve = CASES[name][0].curve
    return _backend.compile(lambda value, step: concave_groups.block(value, step, [1], curve))


def run(name, value, step, dtype="float64"):
    return array(compiled(name)(tensor(value, dtype), tensor(step, dtype)))


def objective(name, w, value, step):
    """Of every group: the last axis has its members."""
    return ((w - value) ** 2 / (2 * step)).sum(-1) + CASES[name][1](np.sqrt((w * w).sum(-1)))


def lowest(name, value, step):
    """The lowest of many points of the curve `v / (1 + step * q)`, which has every stationary point."""
    q = np.concatenate([[0.0], np.exp(np.linspace(-14, 18, 1500))])[:, None, None]
    return np.minimum(objective(name, value / (1 + step * q), value, step).min(0), (value**2 / (2 * step)).sum(-1))


@every_case
@pytest.mark.parametrize("spread", [1.0, 10.0, pytest.param(1e3, marks=slow_on_tensorflow), 1e6])
def test_no_point_of_the_curve_is_lower(name, spread):
    """Step sizes that differ by up to `spread` within a group, on both sides of the one where the operator jumps."""
    rng = np.random.default_rng(int(spread))
    value = rng.normal(size=(200, 4)) * np.exp(rng.normal(size=(200, 1)))
    step = np.exp(rng.uniform(-0.5, 0.5, size=value.shape) * np.log(spread) + 1.5 * rng.normal(size=(200, 1)))
    best = lowest(name, value, step)
    for dtype in ("float32", "float64"):
        found = run(name, value, step, dtype)
        assert (objective(name, found, value, step) <= best + 1e-6 * (1 + best)).all()
        dead = (found == 0).all(axis=1)
        assert 2 < dead.sum() < 198
        assert ((found == 0).any(axis=1) == dead).all()


@every_case
def test_no_point_of_a_plane_is_lower(name):
    """Groups of two, without what is known of the minimum: a grid over both weights."""
    rng = np.random.default_rng(5)
    axis = np.linspace(-3, 3, 401)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    value, step = rng.uniform(-2.9, 2.9, size=(20, 2)), np.exp(rng.uniform(-2, 2, size=(20, 2)))
    found = run(name, value, step)
    for v, s, w in zip(value, step, found, strict=True):
        assert objective(name, w, v, s) <= objective(name, grid, v, s).min() + 1e-9


values = arrays(np.float64, (3, 2), elements=st.floats(-8, 8, width=16))
diagonal = arrays(np.float64, (3, 2), elements=st.floats(1e-3, 1e2))


@pytest.mark.parametrize("name", ["mcp", pytest.param("scad", marks=slow_on_tensorflow)])
@settings(max_examples=25, deadline=None)
@given(value=values, step=diagonal, other=values)
def test_nothing_is_lower(name, value, step, other):
    found = run(name, value, step)
    assert (objective(name, found, value, step) <= objective(name, other, value, step) * (1 + 1e-6) + 1e-9).all()
    assert (found * value >= 0).all()
    assert (np.abs(found) <= np.abs(value) * (1 + 1e-12)).all()


@every_case
def test_one_step_for_a_group_and_groups_of_one(name):
    rng = np.random.default_rng(2)
    value, step = 2 * rng.normal(size=(100, 3)), np.exp(rng.uniform(-3, 3, size=(100, 1)))
    single = run(name, value, step)
    np.testing.assert_allclose(run(name, value, np.tile(step, 3)), single, rtol=1e-5, atol=1e-7)
    norm = np.sqrt((value**2).sum(1, keepdims=True))
    by_norm = array(CASES[name][0].prox(tensor(norm), tensor(step)))
    np.testing.assert_allclose(single, value / norm * by_norm, rtol=1e-12, atol=1e-14)
    alone = array(concave_groups.block(tensor(value), tensor(np.tile(step, 3)), [], CASES[name][0].curve))
    np.testing.assert_allclose(alone, array(CASES[name][0].prox(tensor(value), tensor(step))), rtol=1e-9, atol=1e-12)


@every_case
def test_a_unit_is_that_of_norms(name):
    """`unit^2 * p(norm / unit)`: the same as the map of weights in that unit."""
    rng = np.random.default_rng(3)
    value = rng.normal(size=(50, 4))
    for step in (0.7, np.exp(rng.normal(size=value.shape))):
        found = array(concave_groups.block(tensor(value), tensor(step), [1], CASES[name][0].curve, 2.0))
        np.testing.assert_allclose(found, 2 * run(name, value / 2, step), rtol=1e-9, atol=1e-12)


@every_case
def test_steps_of_zero_nan_and_empty_groups(name):
    curve = CASES[name][0].curve
    value = np.array([[1e-25, -1e-5], [0.0, 3.3], [-2.0, 1e4]])
    for step in (0.0, np.zeros((3, 2)), np.zeros((3, 1))):
        same = array(tensor(value, "float32"))
        np.testing.assert_array_equal(run(name, value, step, "float32"), same)
    for step in (0.5, np.full((3, 2), 0.5), np.full((3, 2), 50.0)):
        broken = np.isnan(run(name, np.array([[np.nan, 5.0], [1e-9, 0.0], [5.0, 5.0]]), step))
        assert broken.tolist() == [[True, True], [False, False], [False, False]]
    for shape in ((0, 2), (3, 0)):
        for step in (0.5, np.ones(shape)):
            result = concave_groups.block(ops.zeros(shape), tensor(step, "float32"), [1], curve)
            assert tuple(result.shape) == shape


@every_case
def test_steps_far_apart_stay_finite(name):
    """Adam's steps: 1e4 for a weight that never had a gradient, beside tiny ones and none at all."""
    value = np.array([[1e-3, 1e-25, 2.0], [1e-9, 1e-9, 1e-9], [0.0, 0.0, 0.0], [1e4, 1.0, 1e-4]])
    step = np.array([[1e4, 0.0, 1e-8], [1e4, 1e4, 1e4], [0.0, 1.0, 1e-30], [1e-30, 1e10, 1.0]])
    result = run(name, value, step, "float32")
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result[0, 1:], [1e-25, 2.0], rtol=1e-3)
    assert (result[1:3] == 0).all()
    assert result[3, 0] == np.float32(1e4)


def test_examples():
    assert doctest.testmod(concave_groups).failed == 0
