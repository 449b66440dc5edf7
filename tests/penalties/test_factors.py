"""Penalties whose parts, weights or groups, are multiplied by factors: against their definition."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from tests.penalties.members import GROUPED, MEMBERS, SHAPE
from tests.tools import mostly_slow
from tf_reg.penalties import proximal_operators
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.penalty import Penalty
from tf_reg.penalties.registry import penalty_of, register_prox

pytestmark = pytest.mark.contract
RNG = np.random.default_rng(0)
VALUE = RNG.normal(size=SHAPE)
STEPS = RNG.uniform(0.1, 0.8, size=SHAPE)


def tensor(x):
    return ops.convert_to_tensor(np.asarray(x, "float32"))


def array(x):
    return ops.convert_to_numpy(x).astype("float64")


def parts(penalty):
    """Masks of the shape of the weight: one for each part."""
    plan = penalty.grouping(SHAPE)
    if plan is None:
        return np.eye(VALUE.size).reshape(-1, *SHAPE)
    indices = array(plan.matrix(np.arange(VALUE.size, dtype="float32").reshape(SHAPE))).astype(int)
    return np.stack([np.isin(np.arange(VALUE.size), row).reshape(SHAPE) for row in indices]).astype("float64")


def factors(number):
    found = np.random.default_rng(1).uniform(0.2, 2.0, size=number)
    found[:2] = 0.0, 30.0
    return found


def shaped(factor, penalty):
    return tensor(factor.reshape(penalty.factor_shape(SHAPE)))


def test_which_penalties_have_factors_and_how_many():
    for name, make in MEMBERS.items():
        penalty = penalty_of(make())
        shape = penalty.factor_shape(SHAPE)
        if name in ("l2", "columns"):
            assert shape is None
        elif name in GROUPED:
            assert np.prod(shape) == penalty.grouping(SHAPE).number
        else:
            assert shape == SHAPE
    assert penalty_of(GroupLasso(0.3, layout="lstm")).factor_shape(SHAPE) == (1, 1, 3)
    assert penalty_of(keras.regularizers.L1(0.0)).factor_shape(SHAPE) is None


def test_a_penalty_of_a_users_own_has_none():
    class Mine(GroupLasso):
        pass

    register_prox(Mine)(lambda regularizer, value, step: value)
    assert penalty_of(Mine(0.1)).factor_shape(SHAPE) is None


@pytest.mark.parametrize("name", mostly_slow(GROUPED, "group_inputs", "group_lstm"))
def test_the_size_of_a_group_is_its_root_mean_square(name):
    penalty: Penalty = penalty_of(MEMBERS[name]())
    value = VALUE * (np.arange(12) > 2)
    expected = [np.sqrt((value[mask > 0] ** 2).mean()) for mask in parts(penalty)]
    found = array(penalty.sizes(tensor(value)))
    assert found.shape == penalty.factor_shape(SHAPE)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "name", mostly_slow([n for n in MEMBERS if n not in ("l2", "l1l2", "columns")], "l0", "group", "mcp_group")
)
def test_with_one_step_a_part_has_its_factor_times_the_step(name):
    """The result of each part is that of the penalty at this part alone."""
    penalty = penalty_of(MEMBERS[name]())
    masks, step = parts(penalty), 0.4
    factor = factors(len(masks))
    found = array(penalty.weighted_prox(tensor(VALUE), tensor(step), shaped(factor, penalty)))
    each = [array(penalty.prox(tensor(VALUE * mask), tensor(step * f))) for f, mask in zip(factor, masks, strict=True)]
    np.testing.assert_allclose(found, (np.stack(each) * masks).sum(axis=0), atol=2e-6)
    np.testing.assert_allclose(found[masks[0] > 0], VALUE[masks[0] > 0], atol=1e-6)  # its factor is zero


@pytest.mark.parametrize(
    "name", mostly_slow([n for n in MEMBERS if n not in ("l2", "l1l2", "columns")], "l1", "group_lstm")
)
def test_with_a_step_for_each_weight(name):
    penalty = penalty_of(MEMBERS[name]())
    masks, steps = parts(penalty), STEPS
    factor = factors(len(masks))
    found = array(penalty.weighted_prox(tensor(VALUE), tensor(steps), shaped(factor, penalty)))
    spread = (factor.reshape(-1, 1, 1) * masks).sum(axis=0)
    np.testing.assert_allclose(found, array(penalty.prox(tensor(VALUE), tensor(steps * spread))), atol=2e-6)


def test_the_l2_part_of_an_elastic_net_has_no_factor():
    penalty, factor = penalty_of(keras.regularizers.L1L2(0.7, 0.4)), factors(VALUE.size).reshape(SHAPE)
    for step in (0.4, STEPS):
        found = array(penalty.weighted_prox(tensor(VALUE), tensor(step), tensor(factor)))
        expected = np.sign(VALUE) * np.maximum(np.abs(VALUE) - 0.7 * step * factor, 0) / (1 + 2 * step * 0.4)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "name", mostly_slow(["l1", "l1l2", "group_inputs", "sparse_group", "mcp_group"], "l1l2", "group_inputs")
)
def test_no_other_weights_are_better(name):
    """Brute force: the value of the penalty of each part alone, times its factor; of `l1l2` without the L2 part."""
    penalty = penalty_of(MEMBERS[name]())
    rng, masks, step = np.random.default_rng(2), parts(penalty), STEPS
    factor = factors(len(masks))
    found = array(penalty.weighted_prox(tensor(VALUE), tensor(step), shaped(factor, penalty)))

    def height(w):
        l2 = 0.4 * (w**2).sum() if name == "l1l2" else 0.0
        own = [float(array(penalty.value(tensor(w * mask)))) for mask in masks]
        own = np.array(own) - [0.4 * ((w * mask) ** 2).sum() if l2 else 0.0 for mask in masks]
        return ((w - VALUE) ** 2 / (2 * step)).sum() + factor @ own + l2

    lowest = height(found)
    others = [found + size * rng.normal(size=SHAPE) for size in (1e-2, 0.1, 1.0) for _ in range(4)]
    assert min(height(w) for w in [*others, 0 * found, VALUE]) > lowest - 1e-5
    assert (found == 0).any()


def test_one_step_and_one_factor_for_a_group_take_the_closed_form(monkeypatch):
    monkeypatch.setattr(proximal_operators, "_block_diagonal", None)  # the search for a root
    penalty = GroupLasso(0.5)
    penalty.weighted_prox(tensor(VALUE), tensor(0.3), tensor(np.ones((1, 12))))
    with pytest.raises(TypeError):
        penalty.weighted_prox(tensor(VALUE), tensor(STEPS), tensor(np.ones((1, 12))))


def test_sizes_of_an_empty_kernel():
    assert GroupLasso(0.5).sizes(ops.zeros((0, 3))).shape == (1, 3)
    assert tuple(GroupLasso(0.5, "inputs").factor_shape((0, 3))) == (0, 1)
