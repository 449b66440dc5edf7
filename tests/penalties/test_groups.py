"""Groups of a kernel: checked on real layers, by taking a group away and watching what falls silent."""

from __future__ import annotations

import doctest
import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from tf_reg.penalties import groups

pytestmark = pytest.mark.contract

# A layer, the shape of one input without the batch, and how many inputs and outputs the layer has.
CASES = {
    "Dense": (lambda: layers.Dense(3), (4,), 4, 3),
    "Conv1D": (lambda: layers.Conv1D(3, 2), (5, 4), 4, 3),
    "Conv2D": (lambda: layers.Conv2D(3, 2), (4, 5, 2), 2, 3),
    "Conv3D": (lambda: layers.Conv3D(3, 2), (3, 3, 4, 2), 2, 3),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(3, 2), (5, 4), 4, 3),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(3, 2), (3, 4, 2), 2, 3),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(3, 2), (2, 3, 2, 2), 2, 3),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(2, depth_multiplier=2), (5, 3), 3, 6),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(2, depth_multiplier=3), (4, 5, 2), 2, 6),
    "LSTM": (lambda: layers.LSTM(3), (5, 4), 4, 3),
    "GRU": (lambda: layers.GRU(3), (5, 4), 4, 3),
    "SimpleRNN": (lambda: layers.SimpleRNN(3), (5, 4), 4, 3),
    "ConvLSTM1D": (lambda: layers.ConvLSTM1D(3, 2), (3, 5, 2), 2, 3),
}


def built(name):
    make, shape, inputs, outputs = CASES[name]
    layer = make()
    layer.build((2, *shape))
    return layer, np.random.default_rng(0).normal(size=(2, *shape)).astype("float32"), inputs, outputs


def remove(variable, group, which, layout):
    """Make one group of a kernel zero, by the flat places that `as_matrix` gives."""
    value = ops.convert_to_numpy(variable).copy()
    places = ops.convert_to_numpy(groups.as_matrix(np.arange(value.size).reshape(value.shape), which, layout))
    value.reshape(-1)[places[group]] = 0.0
    variable.assign(value)
    return places


def output(layer, x):
    return ops.convert_to_numpy(layer(ops.convert_to_tensor(x)))


def kernels(layer):
    """The variables that lead from the inputs, and all that lead to the outputs."""
    weights = {w.name: w for w in layer.weights if "bias" not in w.name}
    return weights["kernel"], list(weights.values())


@pytest.mark.parametrize("name", CASES)
def test_without_its_group_an_output_is_silent(name):
    layer, x, _, outputs = built(name)
    layer.set_weights([np.zeros_like(w) if w.ndim == 1 else w for w in layer.get_weights()])
    before = output(layer, x)
    for variable in kernels(layer)[1]:
        places = remove(variable, 1, "outputs", groups.layout_of(layer, variable.name))
        assert len(places) == outputs
    after = output(layer, x)
    assert (after[..., 1] == 0).all()
    assert (before[..., 1] != 0).any()
    others = np.delete(after, 1, axis=-1)
    assert (others != 0).any(axis=tuple(range(others.ndim - 1))).all()


@pytest.mark.parametrize("name", CASES)
def test_without_its_group_an_input_does_not_matter(name):
    layer, x, inputs, _ = built(name)
    other = x.copy()
    other[..., 1] += 1.0
    assert (output(layer, x) != output(layer, other)).any()
    variable = kernels(layer)[0]
    assert len(remove(variable, 1, "inputs", groups.layout_of(layer, variable.name))) == inputs
    np.testing.assert_array_equal(output(layer, x), output(layer, other))
    other[..., 0] += 1.0
    assert (output(layer, x) != output(layer, other)).any()


def test_recurrent_kernel_by_inputs_is_the_state_of_one_unit():
    layer = built("LSTM")[0]
    recurrent = layer.cell.recurrent_kernel
    places = remove(recurrent, 1, "inputs", groups.layout_of(layer, "recurrent_kernel"))
    assert places.shape == (3, 12)
    np.testing.assert_array_equal(ops.convert_to_numpy(recurrent)[1], 0)


def test_separable_convolution_has_two_kernels():
    layer = layers.SeparableConv2D(4, 3, depth_multiplier=2)
    layer.build((None, 9, 9, 5))
    layouts = {w.name: groups.layout_of(layer, w.name) for w in (layer.depthwise_kernel, layer.pointwise_kernel)}
    assert layouts == {"depthwise_kernel": "depthwise", "pointwise_kernel": "kernel"}
    assert groups.as_matrix(layer.depthwise_kernel, "outputs", "depthwise").shape == (10, 9)
    assert groups.as_matrix(layer.pointwise_kernel, "inputs").shape == (10, 4)


def test_embedding_rows_are_inputs():
    layer = layers.Embedding(7, 4)
    layer.build((None, 2))
    remove(layer.embeddings, 3, "inputs", groups.layout_of(layer, "embeddings"))
    table = output(layer, np.arange(7)[None])[0]
    assert (table[3] == 0).all()
    assert (np.delete(table, 3, axis=0) != 0).any(axis=1).all()


def test_axes_by_number_for_einsum_dense():
    """One group a head in a projection to heads, as in multi-head attention."""
    layer = layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3))
    layer.build((None, 5, 4))
    x = np.ones((1, 5, 4), "float32")
    remove(layer.kernel, 1, (1,), "kernel")
    result = output(layer, x)
    assert (result[..., 1, :] == 0).all()
    assert (result[..., 0, :] != 0).any()
    assert groups.as_matrix(layer.kernel, (1,)).shape == (2, 12)
    assert groups.as_matrix(layer.kernel, (-1, 1)).shape == (6, 4)


@pytest.mark.parametrize("layout", groups.LAYOUTS)
@pytest.mark.parametrize("which", ["inputs", "outputs"])
def test_every_weight_is_in_one_group(which, layout):
    shape = (2, 3, 5, 12)
    matrix = ops.convert_to_numpy(groups.as_matrix(np.arange(math.prod(shape)).reshape(shape), which, layout))
    assert sorted(matrix.reshape(-1).tolist()) == list(range(math.prod(shape)))
    assert matrix.shape[1] == groups.grouping(shape, which, layout).size


def test_a_vector_has_outputs_alone():
    assert groups.grouping((5,), "outputs") == ((5,), ())
    with pytest.raises(ValueError, match="for a bias or a scale use groups='outputs'"):
        groups.grouping((5,), "inputs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((3, 4), "columns"), "groups must be 'inputs', 'outputs', 'heads', or the axes"),
        (((3, 4), ()), "groups must be"),
        (((3, 4), 1), "groups must be"),
        (((3, 4), (0.5,)), "groups must be"),
        (((3, 4), (2,)), "hasn't got"),
        (((3, 4), "outputs", "conv"), "layout must be one of 'kernel', 'transposed'"),
        (((3, 10), "outputs", "lstm"), "isn't a multiple of 4"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        groups.grouping(*arguments)


def test_layers_without_inputs_and_outputs_are_refused():
    for layer, name in [(layers.EinsumDense("ab,bc->ac", 3), "kernel"), (layers.Dense(3), "bias")]:
        with pytest.raises(ValueError, match="Name the axes that index the groups"):
            groups.layout_of(layer, name)


def test_examples():
    assert doctest.testmod(groups, extraglobs={"keras": keras, "np": np}).failed == 0
