"""The report of zeros, against layers and models that are really smaller."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests import models_under_test as models
from tf_reg.compaction import rebuild
from tf_reg.compaction.plan import plan_compaction
from tf_reg.measure.meter import Meter
from tf_reg.measure.zeros import LayerSparsity, SparsityReport, sparsity

pytestmark = pytest.mark.contract


def zero(variable, *index):
    value = np.array(ops.convert_to_numpy(variable))
    value[index] = 0.0
    variable.assign(value)


def gates(units, count, total):
    """The columns of some units in a kernel whose gates lie side by side."""
    return [gate * total + unit for gate in range(count) for unit in units]


def dense(layer):
    zero(layer.kernel, [0, 2])
    zero(layer.kernel, slice(None), [4])


def convolution(layer):
    zero(layer.kernel, ..., [0, 2], slice(None))
    zero(layer.kernel, ..., [4])


def transposed(layer):
    zero(layer.kernel, ..., [0, 2])
    zero(layer.kernel, ..., [4], slice(None))


def separable(layer):
    zero(layer.depthwise_kernel, ..., [0, 2], slice(None))
    zero(layer.pointwise_kernel, ..., [4])


def recurrent(count):
    def kill(layer):
        cell = getattr(layer, "cell", layer)
        zero(cell.kernel, ..., [0, 2], slice(None))
        for kernel in (cell.kernel, cell.recurrent_kernel):
            zero(kernel, ..., gates([4], count, 5))

    return kill


CASES = {  # from 7 inputs to 5 outputs; dead: the inputs 0 and 2, the output 4
    "Dense": (lambda n: layers.Dense(n), (), dense),
    "Dense without bias": (lambda n: layers.Dense(n, use_bias=False), (), dense),
    "Conv1D": (lambda n: layers.Conv1D(n, 3), (6,), convolution),
    "Conv2D": (lambda n: layers.Conv2D(n, 3), (6, 6), convolution),
    "Conv2DTranspose": (lambda n: layers.Conv2DTranspose(n, 3), (6, 6), transposed),
    "SeparableConv2D": (lambda n: layers.SeparableConv2D(n, 3, depth_multiplier=2), (6, 6), separable),
    "SimpleRNN": (lambda n: layers.SimpleRNN(n), (6,), recurrent(1)),
    "LSTM": (lambda n: layers.LSTM(n), (6,), recurrent(4)),
    "GRU": (lambda n: layers.GRU(n), (6,), recurrent(3)),
    "GRU, one bias": (lambda n: layers.GRU(n, reset_after=False), (6,), recurrent(3)),
    "ConvLSTM2D": (lambda n: layers.ConvLSTM2D(n, 3), (4, 6, 6), recurrent(4)),
}


@pytest.mark.parametrize("name", CASES)
def test_live_parameters_of_a_layer_alone_are_those_of_one_with_fewer_inputs_and_outputs(name):
    make, shape, kill = CASES[name]
    model = keras.Sequential([keras.Input((*shape, 7)), make(5)])
    smaller = keras.Sequential([keras.Input((*shape, 5)), make(4)])
    before = sparsity(model.layers[0]).total
    assert (before.parameters, before.live) == (model.count_params(), model.count_params())
    assert (before.inputs, before.dead_inputs, before.outputs, before.dead_outputs) == (7, 0, 5, 0)
    kill(model.layers[0])
    assert not sparsity(model.layers[0]).compactable
    after = sparsity(model.layers[0]).total
    assert (after.inputs, after.dead_inputs, after.outputs, after.dead_outputs) == (7, 2, 5, 1)
    assert (after.parameters, after.live) == (model.count_params(), smaller.count_params())


def test_embedding():
    layer = layers.Embedding(7, 5)
    layer.build()
    zero(layer.embeddings, [0, 2])
    assert sparsity(layer).total == LayerSparsity(35, 10, 7, 2, 5, 0, 35, 25)


def test_depthwise_outputs_are_pairs_of_an_input_and_a_multiple():
    model = keras.Sequential([keras.Input((6, 6, 3)), layers.DepthwiseConv2D(2, depth_multiplier=2)])
    kernel = model.layers[0].kernel
    zero(kernel, ..., [1], slice(None))
    zero(kernel, ..., [2], [0])
    assert sparsity(model.layers[0]).total == LayerSparsity(24, 12, 3, 1, 6, 3, 30, 15)


def test_a_recurrent_unit_lives_while_one_kernel_keeps_it_alive():
    model = keras.Sequential([keras.Input((6, 7)), layers.LSTM(5)])
    zero(model.layers[0].cell.kernel, ..., gates([4], 4, 5))
    assert sparsity(model).total.dead_outputs == 0


def test_zeros_are_counted_one_by_one_and_scattered_zeros_kill_nothing():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="a"), layers.Dense(2, name="b")])
    model.get_layer("a").kernel.assign([[1.0, 0.0], [0.0, 1.0], [1.0, -0.0]])
    report = sparsity(model)
    assert report.layers["a"] == LayerSparsity(6, 3, 3, 0, 2, 0, 8, 8)
    assert report.layers["a"].sparsity == 0.5
    assert report.total.sparsity == pytest.approx(3 / 10)


@pytest.mark.parametrize("build", models.BUILDERS, ids=models.NAMES)
def test_totals_are_the_models(build):
    model = build()
    model(models.inputs_of(model, 2))
    total = sparsity(model).total
    assert (total.parameters, total.live) == (model.count_params(), model.count_params())
    started = [v for v in model.weights if v.name == "bias" and v.regularizer is not None]  # at zero
    assert total.zeros == sum(math.prod(variable.shape) for variable in started)
    for weight in model.weights:
        weight.assign(ops.zeros(weight.shape))
    report = sparsity(model)
    assert report.total.zeros == report.total.weights > 0
    assert (report.total.dead_inputs, report.total.dead_outputs) == (report.total.inputs, report.total.outputs)
    assert report.compactable == (build is not models.subclassed)
    if report.compactable:
        small = rebuild.Rebuilt(plan_compaction(model).removal).model
        assert report.total.live == sparsity(small).total.parameters
    else:
        assert report.total.live == 4  # its own weight is no kernel


def test_what_is_no_known_kernel_is_all_alive():
    model = keras.Sequential(
        [
            keras.Input((4, 3)),
            layers.EinsumDense("abc,cd->abd", (None, 2), name="einsum"),
            layers.BatchNormalization(name="norm"),
        ]
    )
    zero(model.layers[0].kernel)
    assert sparsity(model).layers["norm"] == LayerSparsity(2, 0, 0, 0, 2, 0, 4, 4)  # moving averages are no parameters
    assert sparsity(model.layers[0]).total == LayerSparsity(weights=6, zeros=6, parameters=6, live=6)


def test_a_model_named_like_its_layer_loses_nothing():
    model = models.TwoKernels(name="dense")
    model(models.inputs_of(model, 2))
    assert sparsity(model).total.parameters == model.count_params()


def test_a_meter_follows_the_weights():
    model = models.dense()
    meter = Meter(model, report=True)
    assert meter.measure().report.layers == sparsity(model).layers
    zero(model.layers[1].kernel, [0])
    assert meter.measure().report.layers == sparsity(model).layers
    assert meter.measure().report.total.dead_inputs == 1


def test_the_table():
    norm = layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="first"), norm, layers.Dense(1, name="last")])
    model.layers[0].kernel.assign([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    assert str(sparsity(model)).splitlines() == [
        "layer  weights      zeros  dead inputs  dead outputs  live parameters",
        "---------------------------------------------------------------------",
        "first        6  4 (66.7%)       1 of 3        1 of 2           3 of 8",
        "norm         2   0 (0.0%)            -        0 of 2           2 of 4",
        "last         2   0 (0.0%)       0 of 2        0 of 1           2 of 3",
        "---------------------------------------------------------------------",
        "total       10  4 (40.0%)       1 of 5        1 of 5          7 of 15",
        "tf_reg.compact removes 1 of 2 channels",
    ]


def test_the_table_says_where_each_layer_is_looked_at_alone():
    layer = layers.Dense(2, name="first")
    layer.build((None, 3))
    layer.kernel.assign([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    assert str(sparsity(layer)).splitlines()[0].endswith("  live parameters, each layer alone")
    assert sparsity(layer).total.live == 3


def test_a_model_without_weights():
    model = keras.Sequential([keras.Input((3,)), layers.ReLU()])
    assert sparsity(model) == SparsityReport({})
    assert "total" in str(sparsity(model))


NORMALIZATIONS = {
    "batch": lambda: layers.BatchNormalization(name="norm"),
    "layer, two axes": lambda: layers.LayerNormalization(axis=(1, 2), name="norm"),
    "group": lambda: layers.GroupNormalization(2, name="norm"),
    "no shift": lambda: layers.BatchNormalization(center=False, name="norm"),
}


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_a_scale_of_zero_is_a_zero_and_its_output_is_dead(name):
    model = keras.Sequential([keras.Input((3, 4)), NORMALIZATIONS[name]()])
    norm = model.layers[0]
    zero(norm.gamma, ..., [1, 3])
    dead = norm.gamma.shape[0] * 2 if "two" in name else 2
    count, each = math.prod(norm.gamma.shape), 1 if name == "no shift" else 2
    parameters = each * count
    assert sparsity(norm).total == LayerSparsity(count, dead, 0, 0, count, dead, parameters, parameters - each * dead)


def test_vectors_count_and_biases_only_where_they_pay():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, bias_regularizer="l1", name="paying"),
            layers.PReLU(name="slopes"),  # one each, at zero
            layers.Dense(2, name="plain"),
        ]
    )
    report = sparsity(model)
    assert {path: (layer.weights, layer.zeros) for path, layer in report.layers.items()} == {
        "paying": (3 * 4 + 4, 4),
        "slopes": (4, 4),
        "plain": (4 * 2, 0),
    }
    assert (report.total.parameters, report.total.live) == (16 + 4 + 10, 16 + 4 + 10)


def test_freezing_changes_no_count():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(gamma_regularizer="l1")])
    zero(model.layers[0].kernel, [0])
    zero(model.layers[1].gamma, [1])
    before = sparsity(model)
    model.trainable = False
    assert sparsity(model) == before
    assert (before.total.weights, before.total.zeros) == (3 * 4 + 4, 5)


@pytest.mark.parametrize("penalty", [None, "l1"])
def test_with_lora_no_output_is_dead_and_its_matrices_count_where_they_pay(penalty):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, kernel_regularizer=penalty, name="dense")])
    zero(model.layers[0].kernel, ..., [1])
    model.layers[0].enable_lora(2)  # the second matrix begins at zero, and fills the dead column when it is trained
    matrices = (6 * 2 + 2 * 4, 2 * 4) if penalty else (0, 0)
    total = sparsity(model).total
    assert (total.weights, total.zeros) == (6 * 4 + matrices[0], 6 + matrices[1])
    assert (total.outputs, total.live) == (0, model.count_params())


def test_a_model_that_is_not_built():
    with pytest.raises(ValueError, match="isn't built"):
        sparsity(keras.Sequential([layers.Dense(2)]))
