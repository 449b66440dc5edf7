"""The heads of attention: their axis in the kernels of all projections."""

import numpy as np
import pytest
from keras import layers, ops

from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.groups import grouping
from tf_reg.penalties.heads import Heads, heads_around
from tf_reg.penalties.mcp import MCP
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

pytestmark = pytest.mark.contract


@pytest.mark.parametrize(
    ("heads", "shape", "axis"),
    [
        (Heads(4, 8, 8), (32, 4, 8), 1),
        (Heads(4, 8, 8), (4, 8, 32), 0),
        (Heads(4, 8, 16), (32, 4, 16), 1),
        (Heads(4, 8, 16), (4, 16, 5, 3), 0),  # an output of several axes
        (Heads(4, 8, 4), (4, 4, 32), 0),  # as many heads as numbers of a value
        (Heads(4, 8, 4), (32, 4, 4), 1),
        (Heads(1, 8, 1), (1, 1, 8), 0),  # one group, whichever axis
    ],
)
def test_the_axis(heads, shape, axis):
    assert heads.axis(shape) == axis
    plan = grouping(shape, "heads", heads.layout)
    assert (plan.number, plan.size) == (heads.heads, np.prod(shape) // heads.heads)
    assert Heads.parsed(heads.layout) == heads


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((32, 5, 8), "takes the kernels of a MultiHeadAttention. Received the shape"),
        ((4,), "takes the kernels of a MultiHeadAttention"),
        ((4, 4, 8), "fits a projection to the heads and one from them"),
    ],
)
def test_a_shape_that_does_not_say_where_they_are(shape, message):
    with pytest.raises(ValueError, match=message):
        Heads(4, 8, 4).axis(shape)


@pytest.mark.parametrize("make", [GroupLasso, SparseGroupLasso, MCP])
def test_penalties_of_heads(make):
    layout = "heads=2,key_dim=3,value_dim=3"
    penalty = make(strength=0.1, groups="heads", layout=layout)
    assert penalty.takes_heads
    assert not penalty.takes_layout
    assert make(groups="heads").takes_layout
    assert not make(groups="inputs").takes_heads
    again = type(penalty)(**penalty.get_config())
    kernel = np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32")
    by_axis = make(strength=0.1, groups=(0,))
    values = ops.convert_to_tensor(kernel)
    np.testing.assert_allclose(ops.convert_to_numpy(again(values)), ops.convert_to_numpy(by_axis(values)))
    step = ops.convert_to_tensor(0.5)
    one, other = (ops.convert_to_numpy(p.prox(values, step)) for p in (penalty, by_axis))
    np.testing.assert_allclose(one, other)
    with pytest.raises(ValueError, match=r"groups='heads' takes a layout like"):
        make(groups="heads", layout="lstm")
    with pytest.raises(ValueError, match=r"layout must be one of 'kernel'"):
        make(groups="inputs", layout=layout)


def test_without_the_sizes_it_says_how_to_get_them():
    layer = layers.MultiHeadAttention(2, 3, kernel_regularizer=GroupLasso(0.1, "heads"))
    layer.build((None, 4, 5), (None, 4, 5))
    with pytest.raises(ValueError, match=r"needs the sizes of its MultiHeadAttention. .* tf_reg.regularize"):
        _ = layer.losses


def test_other_attention_is_refused():
    """Its queries have more heads than its keys, and compaction doesn't take it."""
    layer = layers.GroupQueryAttention(4, 4, 2)
    layer.build((None, 3, 5), (None, 3, 5))
    with pytest.raises(ValueError, match=r"groups='heads' takes the projections of a keras.layers.MultiHeadAttention"):
        heads_around(layer._query_dense, layer)
