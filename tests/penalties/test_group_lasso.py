"""Group penalties in plain Keras, and the proximal operator of every regularizer."""

from __future__ import annotations

import doctest

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import layers, ops

import tf_reg
from tests.penalties.members import CONVEX, EVERY, GROUPED, MEMBERS, SHAPE
from tf_reg.penalties import elastic_net, registry
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.registry import proximal_map, register_prox
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

pytestmark = pytest.mark.contract

values = arrays(np.float32, SHAPE, elements=st.floats(-4, 4, width=16))
sizes = st.floats(2**-6, 8, width=16)
steps = st.one_of(sizes, arrays(np.float32, SHAPE, elements=sizes))


def array(x):
    return ops.convert_to_numpy(x).astype("float64")


def objective(penalty, w, value, step):
    w = np.asarray(w, "float32")
    distance = ((w.astype("float64") - value) ** 2 / (2 * np.asarray(step, "float64"))).sum()
    return distance + float(array(penalty(ops.convert_to_tensor(w))))


@pytest.mark.parametrize("name", CONVEX)
@settings(max_examples=25, deadline=None)
@given(value=values, other=values, step=steps)
def test_the_map_minimises_the_penalty_that_the_loss_reports(name, value, other, step):
    """The three-point inequality, with the regularizer's own value as the penalty."""
    penalty = MEMBERS[name]()
    result = array(proximal_map(penalty)(ops.convert_to_tensor(value), ops.convert_to_tensor(step, dtype="float32")))
    left = objective(penalty, result, value, step) + ((other - result) ** 2 / (2 * np.float64(step))).sum()
    assert left <= objective(penalty, other, value, step) * (1 + 1e-5) + 1e-4


@pytest.mark.parametrize("name", EVERY)
def test_moves_around_the_map_are_worse(name):
    """A local brute force: no random move, no single weight and no group set to zero is better."""
    rng = np.random.default_rng(1)
    penalty = MEMBERS[name]()
    value = rng.normal(size=SHAPE).astype("float32")
    for step in (0.4, rng.uniform(0.05, 1.0, size=SHAPE).astype("float32")):
        result = array(
            proximal_map(penalty)(ops.convert_to_tensor(value), ops.convert_to_tensor(step, dtype="float32"))
        )
        best = objective(penalty, result, value, step)
        moves = [result + rng.normal(size=result.shape) * scale for scale in (1e-3, 1e-2, 0.1, 1.0) for _ in range(20)]
        moves += [np.where(np.arange(36).reshape(SHAPE) == i, 0.0, result) for i in range(36)]
        moves += [result * (np.arange(12) != column) for column in range(12)]
        assert min(objective(penalty, move, value, step) for move in moves) >= best - 2e-6


def test_values_by_hand():
    kernel = ops.convert_to_tensor(np.array([[3.0, 0.0, 1.0], [4.0, 0.0, 0.0]], "float32"))
    root2, root3, root10 = 2**0.5, 3**0.5, 10**0.5
    for penalty, expected in [
        (GroupLasso(0.1), 0.1 * root2 * 6.0),
        (GroupLasso(0.1, size_weights=False), 0.1 * 6.0),
        (GroupLasso(0.1, groups="inputs"), 0.1 * root3 * (root10 + 4.0)),
        (SparseGroupLasso(0.2, 0.1), 0.2 * 8.0 + 0.1 * root2 * 6.0),
    ]:
        assert float(penalty(kernel)) == pytest.approx(expected, rel=1e-6)


def test_groups_of_one_weight_are_l1():
    vector = ops.convert_to_tensor(np.array([3.0, -0.5, 0.0], "float32"))
    one, l1 = GroupLasso(0.7), keras.regularizers.L1(0.7)
    assert float(one(vector)) == pytest.approx(float(l1(vector)))
    step = ops.convert_to_tensor(np.array([1.0, 0.5, 2.0], "float32"))
    np.testing.assert_allclose(array(proximal_map(one)(vector, step)), array(proximal_map(l1)(vector, step)), rtol=1e-6)


def test_a_strong_penalty_leaves_nothing_and_a_plain_step_leaves_half():
    value = ops.ones((4, 4))
    assert (array(proximal_map(GroupLasso(1.0))(value, 1.0)) == 0).all()
    np.testing.assert_allclose(array(proximal_map(GroupLasso(0.5))(value, 1.0)), 0.5, rtol=1e-6)


@pytest.mark.parametrize("name", MEMBERS)
def test_serialisation(name):
    penalty = MEMBERS[name]()
    copy = keras.regularizers.deserialize(keras.regularizers.serialize(penalty))
    assert type(copy) is type(penalty)
    assert copy.get_config() == penalty.get_config()
    value = ops.convert_to_tensor(np.arange(36, dtype="float32").reshape(3, 12))
    assert float(copy(value)) == float(penalty(value))


def test_saved_with_a_model(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, kernel_regularizer=SparseGroupLasso(0.1, 0.2, (0,)))])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].kernel_regularizer.get_config() == model.layers[0].kernel_regularizer.get_config()
    assert array(loaded.losses[0]) == array(model.losses[0])


@pytest.mark.parametrize("name", GROUPED)
def test_trains_in_plain_keras_from_exact_zeros(name):
    """The penalty's gradient at a group of zeros is zero and not NaN; elsewhere it shrinks the weights."""
    layer = layers.Dense(12, kernel_regularizer=MEMBERS[name](), use_bias=False)
    model = keras.Sequential([keras.Input((3,)), layer])
    start = np.ones((3, 12), "float32")
    start[0] = 0.0
    start[:, ::3] = 0.0
    layer.kernel.assign(start)
    model.compile(keras.optimizers.SGD(0.01), loss=lambda y, p: ops.sum(p * 0.0))
    model.fit(np.ones((4, 3)), np.ones((4, 12)), verbose=0)
    after = array(layer.kernel)
    assert np.isfinite(after).all()
    assert (after[start == 0] == 0).all()
    assert (after[start == 1] < 1).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(dtype):
    value = ops.cast(ops.ones((2, 4)), dtype)
    for penalty in (GroupLasso(0.5, layout="lstm"), SparseGroupLasso(0.25, 0.5)):
        assert keras.backend.standardize_dtype(penalty(value).dtype) == dtype
        mapped = proximal_map(penalty)(value, ops.ones((2, 4)))
        assert keras.backend.standardize_dtype(mapped.dtype) == dtype
        assert tuple(mapped.shape) == (2, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": -1.0}, "A strength is a finite number, zero or above. Received: strength=-1.0"),
        ({"strength": float("nan")}, "A strength is"),
        ({"strength": None}, "A strength is"),
        ({"l": "0.1"}, "Received: l='0.1'"),
        ({"strength": 0.01, "l": 0.01}, "two names of one argument. Received both: strength=0.01, l=0.01. Give stre"),
        ({"groups": "rows"}, "groups must be 'inputs', 'outputs'"),
        ({"layout": "conv"}, "layout must be one of"),
    ],
)
def test_wrong_arguments(arguments, message):
    for regularizer in (GroupLasso, SparseGroupLasso):
        with pytest.raises(ValueError, match=message):
            regularizer(**arguments)
    with pytest.raises(ValueError, match="Received: l1=inf"):
        SparseGroupLasso(l1=float("inf"))


def test_the_old_name_of_the_strength():
    for new, old in [
        (GroupLasso(0.3, "inputs"), GroupLasso(l=0.3, groups="inputs")),
        (SparseGroupLasso(0.1, 0.3), SparseGroupLasso(0.1, l=0.3)),
    ]:
        assert old.strength == new.strength == 0.3
        assert old.get_config() == new.get_config()
        assert "l" not in new.get_config()
        config = new.get_config()
        config["l"] = config.pop("strength")  # as files of tf_reg 0.1 have it
        assert type(new).from_config(config).get_config() == new.get_config()
        with pytest.raises(ValueError, match=r"two names of one argument.*Give strength alone\.$"):
            type(new).from_config({**config, "strength": 0.3})
    assert GroupLasso().strength == SparseGroupLasso().strength == 0.01


def test_the_registry_knows_exact_classes_alone():
    class Stranger(keras.regularizers.L1):
        """May mean anything."""

    for regularizer in (None, Stranger(0.1), keras.regularizers.OrthogonalRegularizer(), lambda w: ops.sum(w)):
        assert proximal_map(regularizer) is None

    @register_prox(Stranger)
    def halve(regularizer, value, step):
        return value / 2

    assert float(proximal_map(Stranger(0.1))(ops.convert_to_tensor(3.0), 1.0)) == 1.5
    with pytest.raises(ValueError, match="regularizer_class is a class"):
        register_prox(keras.regularizers.L1(0.1))


@pytest.mark.parametrize("module", [registry, elastic_net])
def test_examples(module):
    assert doctest.testmod(module, extraglobs={"keras": keras, "np": np, "tf_reg": tf_reg}).failed == 0
