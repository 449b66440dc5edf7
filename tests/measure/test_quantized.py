"""Zeros of a model stay what they are, and are counted, when its kernels become integers."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.tools import needs_keras, slow_on_tensorflow
from tf_reg import _keras
from tf_reg.callbacks.regularization_logger import RegularizationLogger
from tf_reg.measure.zeros import sparsity
from tf_reg.rules.regularizer_table import regularizers_of

pytestmark = [
    pytest.mark.contract,
    pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize` method"),
]

LAYERS = {
    "Dense": (lambda: layers.Dense(5), (7,)),
    "one unit": (lambda: layers.Dense(1), (7,)),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"), (4, 7)),
    "Embedding": (lambda: layers.Embedding(9, 5), (4,)),
    "ReversibleEmbedding": (lambda: layers.ReversibleEmbedding(9, 5, tie_weights=False), (4,)),
}


def sparse(name):
    """A model of one layer with scattered zeros, the third input and the second output dead; and its kernels."""
    make, shape = LAYERS[name]
    model = keras.Sequential([keras.Input(shape, dtype="int32" if "Embedding" in name else "float32"), make()])
    random = np.random.default_rng(0)
    for kernel in model.trainable_weights:
        if kernel.name == "bias":
            continue
        value = random.uniform(0.5, 1.0, kernel.shape) * random.choice([-1, 1], kernel.shape)
        value[random.random(kernel.shape) < 0.3] = 0.0
        value[2] = 0.0
        if value.shape[-1] > 1:
            value[..., 1] = 0.0
        kernel.assign(value)
    return model


def quantized(total):
    """The numbers of a layer after it is quantized: compaction leaves such a layer as it is."""
    return dataclasses.replace(total, live=total.parameters)


@pytest.mark.parametrize("mode", ["int8", pytest.param("int4", marks=needs_keras("quantizers.Int4QuantizationConfig"))])
@pytest.mark.parametrize("name", ["Dense", *(pytest.param(name, marks=slow_on_tensorflow) for name in [*LAYERS][1:])])
def test_no_count_changes(name, mode):
    if name == "ReversibleEmbedding" and not hasattr(layers, "ReversibleEmbedding"):
        pytest.skip("this Keras has no ReversibleEmbedding")
    model = sparse(name)
    before = sparsity(model).total
    assert before.zeros > 1
    model.quantize(mode)
    assert sparsity(model).total == quantized(before)
    assert regularizers_of(model).weights == []


@needs_keras("quantizers.Int4QuantizationConfig")
@pytest.mark.parametrize("block_size", [pytest.param(None, marks=slow_on_tensorflow), 2])
def test_blocks_of_four_bits_have_zero_points_of_their_own(block_size):
    model = sparse("Dense")
    before = sparsity(model).total
    model.layers[0].quantize("int4", config=keras.quantizers.Int4QuantizationConfig(block_size=block_size))
    assert sparsity(model).total == quantized(before)


def test_scales_of_float8_are_no_weights():
    model = sparse("Dense")
    before = sparsity(model).total
    model.quantize("float8")
    assert sparsity(model).total == quantized(before)


CALIBRATED = [("gptq", 4), ("gptq", 8), ("awq", 4)]


@needs_keras("quantizers.AWQConfig")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=slow_on_tensorflow) for name in ("one unit", "EinsumDense")] + ["Dense"]
)
@pytest.mark.parametrize(("mode", "bits"), CALIBRATED)
def test_calibrated_kernels(name, mode, bits):
    """The integers are those of a calibration: any, with zero points of their own for each group of inputs."""
    model = sparse(name)
    before = sparsity(model).total
    options = {"dataset": None, "tokenizer": None, "group_size": 4}
    quantizers = keras.quantizers
    config = quantizers.AWQConfig(**options) if mode == "awq" else quantizers.GPTQConfig(weight_bits=bits, **options)
    layer = model.layers[0]
    layer.quantize(mode, config=config)
    assert sparsity(model).total == quantized(before)  # it computes with the old kernel until it is calibrated
    transposed = not hasattr(layer, "calibration_pending")  # up to Keras 3.15
    units, inputs = layer.kernel_scale.shape[0 if transposed else 1], layer.g_idx.shape[0]
    random = np.random.default_rng(0)
    numbers, points = random.integers(0, 16, (units, inputs)), random.integers(3, 12, (units, 2))
    groups = np.arange(inputs) // 4
    numbers[random.random((units, inputs)) < 0.5] = -1
    numbers = np.where(numbers < 0, points[:, groups], numbers)
    packed = (
        ops.convert_to_numpy(quantizers.pack_int4(ops.convert_to_tensor(numbers, "uint8"), axis=0, dtype="uint8")[0])
        if bits == 4
        else numbers
    )
    layer.quantized_kernel.assign(packed if transposed else packed.T)
    layer.kernel_zero.assign(points if transposed else points.T)
    layer.g_idx.assign(groups)
    _calibrated(layer, mode)
    after = sparsity(model).total
    assert (after.weights, after.parameters) == (before.weights, before.parameters)
    assert after.zeros == (numbers == points[:, groups]).sum()
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)


def _calibrated(layer, mode):
    """What Keras' calibration does in the end."""
    with _keras.open_for_state(layer):
        del layer._kernel
    if hasattr(layer, "calibration_pending"):
        layer.calibration_pending = False
    else:
        setattr(layer, f"is_{mode}_calibrated", True)


def test_a_logger_counts_quantized_kernels_with_the_rest():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="whole"), layers.Dense(1, name="trained")])
    model.layers[0].kernel.assign(np.eye(6, 4))
    model.layers[0].quantize("int8")
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    history = model.fit(np.ones((8, 6)), np.ones((8, 1)), verbose=0, callbacks=[RegularizationLogger()]).history
    assert history["sparsity"] == history["near_sparsity"] == [pytest.approx(20 / 28)]
    assert sparsity(model).total.sparsity == pytest.approx(20 / 28)
