"""Einstein summations: which axis of the kernel goes with which channels."""

from __future__ import annotations

import pytest
from keras import layers

from tests.compaction.filling import kept, same, stack, zero
from tests.tools import mostly_slow
from tf_reg.compaction.compact import compact
from tf_reg.compaction.plan import plan_compaction

pytestmark = pytest.mark.contract
PRODUCTS = [
    ("abc,cd->abd", (4, 6), "d"),
    ("abc,cd->abd", (4, 6), "bd"),
    ("...x,xy->...y", 6, None),
    ("abc,bcd->abd", (4, 6), "bd"),
    ("abc,bcd->abd", (4, 6), "d"),
    ("abc,cde->abde", (4, 3, 6), "de"),
]


@pytest.mark.parametrize(
    ("equation", "shape", "bias"),
    [PRODUCTS[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in PRODUCTS[1:])],
)
def test_what_nobody_reads_goes_and_constants_move_on(equation, shape, bias):
    layer = layers.EinsumDense(equation, shape, bias_axes=bias, activation="relu", name="sum")
    model = stack(layers.Dense(5, name="first"), layer)
    zero(model.get_layer("last").kernel, 0, [0, 4])
    zero(layer.kernel, equation.split(",")[1].split("->")[0].index(equation.split(",")[0][-1]), [3])
    zero(model.get_layer("first").kernel, 1, [1])
    folds = equation != "abc,bcd->abd" or bias == "bd"
    assert kept(model) == {"first": 3 if folds else 4, "sum": 4, "last": 2}


@pytest.mark.slow
def test_a_constant_result_goes():
    layer = layers.EinsumDense("abc,cd->abd", (4, 6), bias_axes="d", activation="tanh", name="sum")
    model = stack(layer)
    zero(layer.kernel, 1, [0, 2, 5])
    assert kept(model)["sum"] == 3


@pytest.mark.parametrize("equation", mostly_slow(["abc,bd->adc", "abc,cb->abc", "abc,c->abc"], "abc,cb->abc"))
def test_channels_that_pass_through_go(equation):
    """The sum is over steps, or there is none; each channel of the result is made from that of the same number."""
    shape = (3, 5) if equation == "abc,bd->adc" else (4, 5)
    layer = layers.EinsumDense(equation, shape, bias_axes="c", name="sum")
    model = stack(layers.Dense(5, name="first"), layer)
    zero(model.get_layer("last").kernel, 0, [0, 4])
    small = compact(model)
    assert same(model, small)
    assert small.get_layer("first").units == 3


@pytest.mark.slow
def test_what_isnt_a_product_of_matrices_is_a_barrier():
    model = stack(layers.Dense(5, name="first"), layers.EinsumDense("abc,d->abd", (4, 6), name="sum"))
    zero(model.get_layer("last").kernel, 0, [0])
    assert plan_compaction(model).held == {"sum (EinsumDense)": 1}
