"""The proximal operators: closed formulas, brute force, and the properties that every proximal operator has."""

from __future__ import annotations

import doctest
import functools
import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from tf_reg import _backend
from tf_reg.penalties import proximal_operators

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("float64")]

DTYPES = ["float16", "bfloat16", "float32", "float64"]
L1, L2, GROUP = 0.7, 0.4, 0.9
SHAPE = (3, 2)  # three groups of two

MAPS = {
    "l1": lambda v, s: proximal_operators.soft_threshold(v, s * L1),
    "elastic_net": lambda v, s: proximal_operators.elastic_net(v, s, L1, L2),
    "l2": lambda v, s: proximal_operators.elastic_net(v, s, l2=L2),
    "group": lambda v, s: proximal_operators.block_soft_threshold(v, s * GROUP, [1]),
    "sparse_group": lambda v, s: proximal_operators.sparse_group(v, s * L1, s * GROUP, [1]),
}


def _l1(w):
    return np.abs(w).sum(-1)


def _norm(w):
    return np.sqrt((w * w).sum(-1))


PENALTIES = {  # of every group: every pair along the last axis
    "l1": lambda w: L1 * _l1(w),
    "elastic_net": lambda w: L1 * _l1(w) + L2 * _norm(w) ** 2,
    "l2": lambda w: L2 * _norm(w) ** 2,
    "group": lambda w: GROUP * _norm(w),
    "sparse_group": lambda w: L1 * _l1(w) + GROUP * _norm(w),
}

values = arrays(np.float64, SHAPE, elements=st.floats(-8, 8, width=16))
scalar_steps = st.floats(1e-3, 1e2)
diagonal_steps = arrays(np.float64, SHAPE, elements=st.floats(1e-3, 1e2))
steps = st.one_of(scalar_steps, diagonal_steps)
property_test = settings(max_examples=40, deadline=None)


def tensor(x, dtype="float64"):
    return ops.convert_to_tensor(np.asarray(x), dtype=dtype)


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float64"))


@functools.cache
def compiled(name):
    return _backend.compile(MAPS[name])


def run(name, value, step):
    return array(compiled(name)(tensor(value), tensor(step)))


def heights(name, w, value, step):
    return ((w - value) ** 2 / (2 * step)).sum(-1) + PENALTIES[name](w)


def objective(name, w, value, step):
    return heights(name, w, value, step).sum()


@pytest.mark.parametrize("name", MAPS)
@property_test
@given(value=values, step=steps, other=values)
def test_three_point_inequality(name, value, step, other):
    result = run(name, value, step)
    left = objective(name, result, value, step) + ((other - result) ** 2 / (2 * step)).sum()
    assert left <= objective(name, other, value, step) * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("name", MAPS)
@property_test
@given(value=values, step=steps, direction=values)
def test_gradient_of_the_moreau_envelope(name, value, step, direction):
    """d/dv min_w objective(w; v) = (v - prox(v)) / step, against a central difference."""

    def envelope(v):
        return objective(name, run(name, v, step), v, step)

    size = 1e-5
    numeric = (envelope(value + size * direction) - envelope(value - size * direction)) / (2 * size)
    exact = ((value - run(name, value, step)) / step * direction).sum()
    curvature = (direction**2 / step).sum()
    assert numeric == pytest.approx(exact, rel=1e-6, abs=1e-6 + size * curvature)


@pytest.mark.parametrize("name", MAPS)
def test_brute_force_minimum(name):
    """On a grid over both weights of one group, nothing is below the map, and the lowest point is next to it."""
    axis = np.linspace(-2, 2, 801)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    points = np.random.default_rng(0).uniform(-1.9, 1.9, size=(6, 2))
    for value, step in itertools.product(points, [0.6, np.array([0.05, 3.0])]):
        around = heights(name, grid, value, step)
        result = run(name, value[None], step)[0]
        assert heights(name, result, value, step) <= around.min() + 1e-12
        np.testing.assert_allclose(result, grid.reshape(-1, 2)[around.argmin()], atol=0.011)


@pytest.mark.parametrize("name", MAPS)
@property_test
@given(value=values, step=steps)
def test_scales_with_the_value_and_never_changes_a_sign(name, value, step):
    result = run(name, value, step)
    assert (result * value >= 0).all()
    assert (np.abs(result) <= np.abs(value)).all()
    np.testing.assert_allclose(run(name, -value, step), -result, rtol=1e-12)


@pytest.mark.parametrize("name", MAPS)
@property_test
@given(value=values, step=scalar_steps)
def test_a_constant_step_per_weight_is_the_scalar_step(name, value, step):
    diagonal = run(name, value, np.full(SHAPE, step))
    np.testing.assert_allclose(diagonal, run(name, value, step), rtol=1e-9, atol=1e-12)


@property_test
@given(value=values, step=diagonal_steps)
def test_groups_of_one_are_l1(value, step):
    alone = array(proximal_operators.block_soft_threshold(tensor(value), tensor(step), []))
    np.testing.assert_allclose(alone, array(proximal_operators.soft_threshold(tensor(value), tensor(step))), atol=1e-12)


@property_test
@given(value=values, step=diagonal_steps)
def test_sparse_group_without_one_half_is_the_other(value, step):
    v, s, none = tensor(value), tensor(step), tensor(0.0)
    np.testing.assert_array_equal(
        array(proximal_operators.sparse_group(v, none, s, [1])),
        array(proximal_operators.block_soft_threshold(v, s, [1])),
    )
    np.testing.assert_allclose(
        array(proximal_operators.sparse_group(v, s, none, [1])),
        array(proximal_operators.soft_threshold(v, s)),
        rtol=1e-15,
    )


def bisect(value, threshold):
    """The block map of one group with a threshold per weight, by 200 halvings in float64."""
    if ((value / threshold) ** 2).sum() <= 1:
        return np.zeros_like(value)
    low, high = 0.0, np.sqrt((value**2).sum())
    for _ in range(200):
        middle = (low + high) / 2
        if ((value / (middle + threshold)) ** 2).sum() > 1:
            low = middle
        else:
            high = middle
    return value * low / (low + threshold)


@pytest.mark.parametrize(("spread", "members"), [(1e1, 3), (1e3, 3), (1e3, 30), (1e6, 800), (1e10, 30)])
def test_root_find_against_bisection(spread, members):
    """Thresholds that differ by up to `spread` within a group; groups dead, alive, and just alive."""
    rng = np.random.default_rng(members)
    value = rng.normal(size=(100, members)) * np.exp(rng.normal(size=(100, 1)))
    threshold = np.exp(rng.uniform(-0.5, 0.5, size=value.shape) * np.log(spread) + rng.normal(size=(100, 1)))
    edge = np.sqrt(((value / threshold) ** 2).sum(-1, keepdims=True))
    threshold[:30] *= edge[:30] * 0.99  # just alive
    threshold[30:50] *= edge[30:50] * 1.01  # just dead
    expected = np.stack([bisect(v, t) for v, t in zip(value, threshold, strict=True)])
    for dtype in ("float32", "float64"):
        result = array(proximal_operators.block_soft_threshold(tensor(value, dtype), tensor(threshold, dtype), [1]))
        assert (result[30:50] == 0).all()
        assert (result[:30] != 0).any(axis=1).all()
        error = np.abs(result - expected).max(axis=1) / np.sqrt((value**2).sum(axis=1))
        assert error.max() < 1e-6


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 4e-7), ("float64", 1e-13)])
def test_each_group_is_exact_when_newton_stops_for_it(dtype, limit):
    """Alone: among others it gets the steps of the slowest one."""
    rng = np.random.default_rng(0)
    one = compiled("group")
    for spread in np.logspace(0, 8, 60):
        value = rng.normal(size=(1, 4)).astype(dtype)
        threshold = np.exp(rng.uniform(-0.5, 0.5, size=value.shape) * np.log(spread))
        threshold *= np.sqrt(((value / threshold) ** 2).sum()) * rng.uniform(0.1, 0.999)
        threshold = (threshold / GROUP).astype(dtype)
        result = array(one(tensor(value, dtype), tensor(threshold, dtype)))
        exact = bisect(value[0].astype("float64"), threshold[0].astype("float64") * GROUP)
        assert np.abs(result[0] - exact).max() < limit * np.abs(value).max()


def test_a_group_that_takes_many_steps():
    """Its first member is just below its threshold, so the root is far above the lower bound."""
    value = np.array([[-4.91075471e-01, 4.80143132e-05, 2.66726880e-03]])
    threshold = np.array([[4.91867604e-01, 5.43829668e-06, 6.43994299e-02]])
    result = array(proximal_operators.block_soft_threshold(tensor(value), tensor(threshold), [1]))
    np.testing.assert_allclose(result[0], bisect(value[0], threshold[0]), rtol=1e-9)


def test_a_group_is_the_same_whatever_is_beside_it():
    value = np.array([[3.0, 4.0], [0.1, 0.2], [1.0, 1e-6], [0.0, 0.0], [0.6, 0.8]])
    threshold = np.array([[0.1, 0.2], [1.0, 2.0], [1e-3, 50.0], [1.0, 0.5], [1.0, 1.0 - 1e-9]])
    prox = proximal_operators.block_soft_threshold
    alone = [array(prox(tensor([v]), tensor([t]), [1]))[0] for v, t in zip(value, threshold, strict=True)]
    np.testing.assert_allclose(array(prox(tensor(value), tensor(threshold), [1])), alone, rtol=1e-6)
    assert [(one == 0).all() for one in alone] == [False, True, False, True, False]


@pytest.mark.parametrize("axes", [[0], [1], [0, 1], [0, 1, 2], [0, 1, 3]])
def test_groups_along_any_axes(axes):
    """The same as one group after the other, with thresholds as wide as the tensor or one per group."""
    rng = np.random.default_rng(3)
    value = rng.normal(size=(3, 4, 5, 2))
    full = rng.uniform(0.1, 2.0, size=value.shape)
    single = full.mean(axis=tuple(axes), keepdims=True)
    for threshold in (full, single):
        result = array(proximal_operators.block_soft_threshold(tensor(value), tensor(threshold), axes))
        members = [np.moveaxis(np.broadcast_to(x, value.shape), axes, range(len(axes))) for x in (value, threshold)]
        flat = [x.reshape(np.prod([value.shape[a] for a in axes]), -1) for x in members]
        expected = np.stack([bisect(v, t) for v, t in zip(flat[0].T, flat[1].T, strict=True)], axis=1)
        moved = np.moveaxis(result, axes, range(len(axes))).reshape(expected.shape)
        np.testing.assert_allclose(moved, expected, atol=1e-9)


def test_threshold_per_group_counts_as_a_threshold_per_weight():
    """A threshold of fewer axes than the value broadcasts from the right, as everywhere in numpy."""
    value = np.arange(1.0, 7.0).reshape(2, 3)
    row = np.array([1.0, 2.0, 3.0])
    wide = array(proximal_operators.block_soft_threshold(tensor(value), tensor(np.broadcast_to(row, (2, 3))), [1]))
    np.testing.assert_array_equal(array(proximal_operators.block_soft_threshold(tensor(value), tensor(row), [1])), wide)


BOTH_STEPS = [0.5, np.full(SHAPE, 0.5) * [1.0, 0.5]]  # exact in every dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    """The dtype of the value comes back, and the result is the float64 one within a rounding of that dtype."""
    value = np.array([[1.5, -0.25], [0.125, 0.5], [-3.0, 2.0]])
    rounding = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-6, "float64": 1e-6}[dtype]
    for name, step in itertools.product(MAPS, BOTH_STEPS):
        result = MAPS[name](tensor(value, dtype), tensor(step, "float32"))
        assert keras.backend.standardize_dtype(result.dtype) == dtype
        assert tuple(result.shape) == SHAPE
        np.testing.assert_allclose(array(result), run(name, value, step), rtol=rounding, atol=rounding)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_of_zero_changes_nothing(dtype):
    value = tensor([[1e-25, -1e-5], [0.0, 3.0], [-2.0, 1e4]], dtype)
    for name, step in itertools.product(MAPS, (0.0, np.zeros(SHAPE))):
        np.testing.assert_array_equal(array(MAPS[name](value, tensor(step, "float32"))), array(value))


@pytest.mark.parametrize("name", MAPS)
def test_nan_is_let_through(name):
    for step in BOTH_STEPS:
        result = run(name, np.array([[np.nan, 5.0], [1e-9, 0.0], [5.0, 5.0]]), step)
        assert np.isnan(result[0, 0])
        assert np.isnan(result[0, 1]) == ("group" in name)
        assert not np.isnan(result[1:]).any()


@pytest.mark.parametrize("name", MAPS)
def test_empty_tensors(name):
    for shape in [(0, 2), (3, 0), (0, 0)]:
        for step in (0.5, np.ones(shape)):
            assert run(name, np.zeros(shape), step).shape == shape


def test_steps_far_apart_stay_finite():
    """Adam's steps: 1e4 for a weight that never had a gradient, beside tiny ones and none at all."""
    value = np.array([[1e-3, 1e-25, 2.0], [1e-9, 1e-9, 1e-9], [0.0, 0.0, 0.0], [10.0, 20.0, 20.0]])
    threshold = np.array([[1e4, 0.0, 1e-8], [1e4, 1e4, 1e4], [0.0, 1.0, 1e-30], [1e-13, 1e4, 1e4]])
    result = array(proximal_operators.block_soft_threshold(tensor(value, "float32"), tensor(threshold, "float32"), [1]))
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result[0], [2e-7, 1e-25, 2.0], rtol=1e-3)
    assert (result[1:3] == 0).all()
    np.testing.assert_allclose(result[3], [10, 0.02, 0.02], rtol=2e-3)


def test_examples():
    assert doctest.testmod(proximal_operators).failed == 0
