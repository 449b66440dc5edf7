"""The group lasso of columns: groups of any sizes, beside the group lasso of equal ones and a plain sum."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import tf_reg
from tf_reg.measure.meter import Meter
from tf_reg.penalties.registry import proximal_map

pytestmark = pytest.mark.contract


@st.composite
def partitions(draw):
    """Groups of up to 7 places in any order."""
    places = draw(st.permutations(range(draw(st.integers(1, 7)))))
    owners = [draw(st.integers(0, 3)) for _ in places]
    groups = [[place for place, owner in zip(places, owners, strict=True) if owner == group] for group in range(4)]
    return [group for group in groups if group]


def array(x):
    return ops.convert_to_numpy(x).astype("float64")


@settings(max_examples=20, deadline=None)
@given(groups=partitions(), units=st.integers(1, 4), seed=st.integers(0, 99))
def test_value_and_map_are_those_of_each_group_alone(groups, units, seed):
    """A group of rows on its own is one group of `GroupLasso` along no axis: a plain closed form in NumPy."""
    rng = np.random.default_rng(seed)
    value = rng.normal(size=(sum(map(len, groups)), units)).astype("float32")
    penalty = tf_reg.ColumnLasso(0.3, groups)
    expected, total = np.zeros_like(value, "float64"), 0.0
    for group in groups:
        part, unit = value[group].astype("float64"), np.sqrt(len(group) * units)
        norm = np.linalg.norm(part)
        total += 0.3 * unit * norm
        expected[group] = part * max(0.0, 1 - 0.7 * 0.3 * unit / norm)
    np.testing.assert_allclose(array(penalty(ops.convert_to_tensor(value))), total, rtol=1e-5)
    np.testing.assert_allclose(array(penalty.prox(ops.convert_to_tensor(value), 0.7)), expected, atol=1e-6)


def test_groups_of_one_are_those_of_inputs():
    rng = np.random.default_rng(0)
    value = ops.convert_to_tensor(rng.normal(size=(5, 3)).astype("float32"))
    step = ops.convert_to_tensor(rng.uniform(0.1, 2.0, size=(5, 3)).astype("float32"))
    ours, theirs = tf_reg.ColumnLasso(0.4, [[place] for place in range(5)]), tf_reg.GroupLasso(0.4, groups="inputs")
    assert float(array(ours(value))) == pytest.approx(float(array(theirs(value))), rel=1e-6)
    for size in (0.5, step):
        np.testing.assert_allclose(
            array(proximal_map(ours)(value, size)), array(proximal_map(theirs)(value, size)), atol=1e-6
        )


def test_its_gradient_at_a_column_of_zeros_is_zero():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the gradient is taken by TensorFlow's tape")
    import tensorflow as tf

    kernel = tf.Variable([[0.0], [0.0], [2.0]])
    with tf.GradientTape() as tape:
        penalty = tf_reg.ColumnLasso(1.0, [[0, 1], [2]], size_weights=False)(kernel)
    assert tape.gradient(penalty, kernel).numpy().tolist() == [[0.0], [0.0], [1.0]]


def test_a_report_counts_columns():
    penalty = tf_reg.ColumnLasso(0.1, {"a": [0, 3], "b": [1], "c": [2]})
    layer = keras.layers.Dense(2, kernel_regularizer=penalty)
    model = keras.Sequential([keras.Input((4,)), layer])
    layer.set_weights([np.array([[0, 0], [1, 1], [0, 0], [0, 5.0]]), np.zeros(2)])
    total = Meter(model).measure().total
    assert (total.groups, total.dead_groups) == (3, 1)


def test_an_exact_target_leaves_the_largest_columns():
    from tf_reg.callbacks.hard_budget import HardBudget

    layer = keras.layers.Dense(1, kernel_regularizer=tf_reg.ColumnLasso(0.1, [[0, 3], [1], [2]]))
    model = keras.Sequential([keras.Input((4,)), layer])
    layer.set_weights([np.array([[1.0], [2.0], [0.5], [2.5]]), np.zeros(1)])
    HardBudget(model, "groups", [], 2 / 3, 1).apply(fewer=False)
    np.testing.assert_array_equal(array(layer.kernel).ravel() != 0, [False, True, False, False])


def test_what_is_left_of_it_keeps_the_multiplier_of_each_norm():
    penalty = tf_reg.ColumnLasso(0.5, [[0, 2], [1], [3]])
    kept = {0: np.array([True, True, False, False]), 1: np.array([True, False, True])}
    left = penalty.resized_by(kept, (4, 3))
    assert left.groups == [[0], [1]]
    kernel = np.zeros((4, 3), "float32")
    kernel[:2, [0, 2]] = [[1.0, -2.0], [3.0, 0.5]]
    small = ops.convert_to_tensor(kernel[:2][:, [0, 2]])
    assert float(array(left(small))) == pytest.approx(float(array(penalty(ops.convert_to_tensor(kernel)))), rel=1e-6)
    assert penalty.resized_by({0: np.zeros(4, bool)}, (4, 3)) is None
    again = tf_reg.ColumnLasso(**left.get_config())
    assert float(array(again(small))) == float(array(left(small)))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_compacted_layer_has_the_same_penalty(compiled):
    """Dead columns and dead units go, and the value of the penalty stays."""
    penalty = tf_reg.ColumnLasso(0.1, [[0, 5], [1], [2, 3], [4], [6], [7]])
    layer = keras.layers.Dense(4, "relu", kernel_regularizer=penalty)
    model = keras.Sequential([keras.Input((8,)), layer, keras.layers.Dense(1)])
    kernel = np.random.default_rng(0).normal(size=(8, 4))
    kernel[[1, 2, 3, 7]] = 0
    kernel[:, 2] = 0
    layer.set_weights([kernel, np.zeros(4)])
    if compiled:
        model.compile(tf_reg.Proximal(keras.optimizers.SGD(0.1)), "mse")
        x = np.random.default_rng(1).normal(size=(4, 8))
        before = model.evaluate(x, np.ones((4, 1)), verbose=0)
        small = tf_reg.compact(model, keep_optimizer=True)
        assert small.evaluate(x, np.ones((4, 1)), verbose=0) == pytest.approx(before, rel=1e-5)
        return
    small = tf_reg.compact(model)
    found = next(one for one in small.layers if getattr(one, "units", None) == 3)
    assert found.kernel.shape == (4, 3)
    assert found.kernel_regularizer.groups == [[0, 2], [1], [3]]
    value = float(array(found.kernel_regularizer(found.kernel)))
    assert value == pytest.approx(float(array(penalty(layer.kernel))), rel=1e-6)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [([[0, 2]], "each place"), ([[0], [0]], "each place"), ([[0], []], "each place"), ([0, 1], "each place")],
)
def test_wrong_groups(groups, expected):
    with pytest.raises(ValueError, match=expected):
        tf_reg.ColumnLasso(0.1, groups)


def test_another_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel of the shape \(2, units\).*Received: \(3, 1\)"):
        tf_reg.ColumnLasso(0.1, [[0], [1]])(ops.zeros((3, 1)))
