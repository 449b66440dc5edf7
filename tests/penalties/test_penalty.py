"""What every penalty can be asked: its zero threshold, slope, groups and value, against their definitions."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops, regularizers

from tests.penalties.members import CONCAVE, CONVEX, EVERY, GROUPED, MEMBERS, SHAPE
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.log_sum import LogSum
from tf_reg.penalties.lq import Lq
from tf_reg.penalties.mcp import MCP
from tf_reg.penalties.registry import group_penalty_of, penalty_of, register_prox
from tf_reg.penalties.scad import SCAD
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

pytestmark = pytest.mark.contract
ZEROING = [name for name in CONVEX if name != "l2"]
WITH_SLOPE = [name for name in CONCAVE if not name.startswith("l_") and name != "l0"]
gradients = arrays(np.float32, SHAPE, elements=st.floats(-4, 4, width=16))


def tensor(x):
    return ops.convert_to_tensor(np.asarray(x, "float32"))


def array(x):
    return ops.convert_to_numpy(x).astype("float64")


def minimiser(penalty, gradient, multiplier):
    """The w that minimises `sum w^2 / 2 + gradient . w + multiplier * R(w)`: zero where zero is stationary."""
    return array(penalty.prox(tensor(-gradient), multiplier))


@pytest.mark.parametrize("name", ZEROING)
@settings(max_examples=25, deadline=None)
@given(gradient=gradients)
def test_zero_is_stationary_from_the_threshold_on_and_not_below(name, gradient):
    penalty = penalty_of(MEMBERS[name]())
    threshold = penalty.zero_threshold(tensor(gradient))
    assert (minimiser(penalty, gradient, threshold * (1 + 1e-4)) == 0).all()
    if gradient.any():
        assert (minimiser(penalty, gradient, threshold * (1 - 1e-4)) != 0).any()
    else:
        assert threshold == 0


@pytest.mark.parametrize("name", ZEROING + WITH_SLOPE)
def test_no_direction_from_zero_is_downhill_at_the_threshold_and_one_is_below(name):
    """Brute force over directions, with the value of the penalty alone."""
    rng = np.random.default_rng(0)
    penalty = penalty_of(MEMBERS[name]())
    gradient = rng.normal(size=SHAPE)
    threshold = penalty.zero_threshold(tensor(gradient))
    downhill = minimiser(penalty, gradient, 0.95 * threshold)
    directions = [downhill, -gradient, *(rng.normal(size=(50, *SHAPE)))]
    directions += [-gradient * (np.arange(36).reshape(SHAPE) == i) for i in range(36)]

    def slope(direction, multiplier):
        size = 1e-4 / np.linalg.norm(direction)
        rise = float(array(penalty.value(tensor(size * direction))))
        return ((gradient * direction).sum() * size + multiplier * rise) / 1e-4

    assert min(slope(direction, threshold) for direction in directions) > -2e-3
    assert slope(downhill, 0.95 * threshold) < -1e-4


@pytest.mark.parametrize("by_norm", [True, False])
@pytest.mark.parametrize("name", CONVEX)
def test_no_gradient_below_the_slope_moves_a_weight_off_zero_and_one_above_does(name, by_norm):
    rng = np.random.default_rng(1)
    penalty = penalty_of(MEMBERS[name]())
    slope = penalty.slope_at_zero(SHAPE, by_norm)
    size = np.linalg.norm if by_norm else lambda gradient: np.abs(gradient).max()
    single = np.zeros(SHAPE)
    single[0, 0] = 1.0
    extremes = [single, np.ones(SHAPE)]  # lowest for L1 by its norm, and for a group by its entries
    for gradient in [*rng.normal(size=(30, *SHAPE)), *extremes] if slope else []:
        below = gradient * (slope * 0.999 / size(gradient))
        assert (minimiser(penalty, below, 1.0) == 0).all()
    above = [gradient * (slope * 1.001 + 1e-6) / size(gradient) for gradient in extremes]
    assert any((minimiser(penalty, gradient, 1.0) != 0).any() for gradient in above)


def test_thresholds_by_hand():
    gradient = tensor([[3.0, 0.0], [-4.0, 1.0]])
    for regularizer, expected in [
        (regularizers.L1(0.5), 8.0),
        (regularizers.L1L2(0.5, 9.0), 8.0),
        (regularizers.L2(0.5), math.inf),
        (regularizers.L1(0.0), math.inf),
        (GroupLasso(0.5, size_weights=False), 10.0),
        (GroupLasso(0.5), 10.0 / math.sqrt(2)),
        (GroupLasso(0.0), math.inf),
        (SparseGroupLasso(0.0, 0.0), math.inf),
        (SparseGroupLasso(0.5, 0.0), 8.0),
        (SparseGroupLasso(0.0, 0.5, size_weights=False), 10.0),
        (SparseGroupLasso(1.0, 1.0, size_weights=False), 7 - math.sqrt(24)),  # (3 - m)^2 + (4 - m)^2 = m^2
    ]:
        penalty = penalty_of(regularizer)
        assert penalty.zero_threshold(gradient) == pytest.approx(expected, rel=1e-6)
        assert penalty.zero_threshold(ops.zeros((2, 2))) == 0
    assert penalty_of(SparseGroupLasso(1.0, 1.0, "inputs")).zero_threshold(ops.zeros((0, 3))) == 0


@pytest.mark.parametrize("name", GROUPED)
def test_the_groups_are_those_that_become_zero_together(name):
    penalty = group_penalty_of(MEMBERS[name]())
    plan = penalty.grouping(SHAPE)
    matrix = array(plan.matrix(np.arange(36).reshape(SHAPE))).astype(int)
    assert matrix.shape == (plan.number, plan.size)
    alive = np.zeros(SHAPE, bool)
    alive.reshape(-1)[matrix[0, -1]] = True  # one entry of the first group
    assert array(plan.some(ops.convert_to_tensor(alive))).tolist() == [True] + [False] * (plan.number - 1)
    value = np.ones(SHAPE, "float32")
    value.reshape(-1)[matrix[0]] = 1e-3
    result = array(penalty.prox(tensor(value), 0.1))
    assert (result.reshape(-1)[matrix[0]] == 0).all()
    assert (np.delete(result.reshape(-1), matrix[0]) != 0).all()


@pytest.mark.parametrize("name", EVERY)
def test_the_value_is_the_regularizers_where_it_is_compiled_too(name):
    regularizer = MEMBERS[name]()
    x = np.random.default_rng(2).normal(size=(300, 240)).astype("float32")  # large enough to be added up by columns
    x = x[: SHAPE[0]] if name == "columns" else x
    expected = float(array(regularizer(tensor(x))))
    function = penalty_of(regularizer).value
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        function = tf.function(function)
    assert float(array(function(tensor(x)))) == pytest.approx(expected, rel=1e-5)


def test_what_is_elementwise_and_what_gives_zeros():
    answers = {name: (penalty_of(make()).elementwise, penalty_of(make()).gives_zeros) for name, make in MEMBERS.items()}
    assert answers == {
        "l1": (True, True),
        "l2": (True, False),
        "l1l2": (True, True),
        **dict.fromkeys(CONCAVE, (True, True)),
        **dict.fromkeys((*GROUPED, "columns"), (False, True)),
    }
    nothing = [regularizers.L1(0.0), regularizers.L1L2(0.0, 1.0), GroupLasso(0.0), SparseGroupLasso(0.0, 0.0)]
    nothing += [MCP(0.0), SCAD(0.0, groups="inputs"), LogSum(0.0), Lq(0.0)]
    assert not any(penalty_of(regularizer).gives_zeros for regularizer in nothing)


def test_a_layout_is_taken_where_groups_have_names():
    for regularizer in (GroupLasso(0.5, "inputs"), SparseGroupLasso(0.5, 0.5, "inputs", size_weights=False)):
        penalty = penalty_of(regularizer)
        assert penalty.takes_layout
        other = penalty.with_layout("lstm")
        assert other.get_config() == {**regularizer.get_config(), "layout": "lstm"}
        assert not other.takes_layout
        assert not type(regularizer)(groups=(0,)).takes_layout
    assert not penalty_of(regularizers.L1(0.5)).takes_layout


def test_a_subclass_keeps_its_groups_and_loses_its_proximal_operator():
    class Doubled(GroupLasso):
        """May have another proximal operator."""

    assert penalty_of(Doubled(0.1)) is None
    assert group_penalty_of(Doubled(0.1)).grouping(SHAPE).number == 12
    assert type(group_penalty_of(Doubled(0.1)).with_layout("gru")) is Doubled
    for nothing in (None, regularizers.OrthogonalRegularizer(), lambda w: ops.sum(w)):
        assert group_penalty_of(nothing) is None


def test_of_a_registered_operator_nothing_is_promised():
    class Own(keras.Regularizer):
        def __call__(self, x):
            return 3.0 * ops.sum(x)

    @register_prox(Own)
    def halve(regularizer, value, step):
        return value / 2

    penalty = penalty_of(Own())
    assert float(penalty.value(ops.ones(2))) == 6.0
    assert float(penalty.prox(ops.convert_to_tensor(3.0), 1.0)) == 1.5
    assert penalty.gives_zeros
    assert not penalty.elementwise
    assert penalty.zero_threshold(ops.ones(2)) == math.inf
    assert penalty.slope_at_zero((2,), by_norm=True) == 0.0
    assert penalty.grouping((2, 2)) is None
    assert not penalty.takes_layout
