"""Every layer of Keras that owns weights, walked: its kernels pay, its vectors don't, and a saved model keeps it."""

import functools
import inspect

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests.tools import needs_keras

IMAGE, VOLUME, FILM = (6, 6, 2), (5, 5, 5, 2), (3, 6, 6, 2)
CELLS = (layers.SimpleRNNCell, layers.GRUCell, layers.LSTMCell)

CASES = {  # a layer of every class, and the shape of an example
    layers.AdditiveAttention: (lambda: layers.AdditiveAttention(), [(4, 3), (4, 3)]),
    layers.Attention: (lambda: layers.Attention(use_scale=True, score_mode="concat"), [(4, 3), (4, 3)]),
    layers.BatchNormalization: (lambda: layers.BatchNormalization(), (4,)),
    layers.Bidirectional: (lambda: layers.Bidirectional(layers.GRU(2)), (4, 3)),
    layers.Conv1D: (lambda: layers.Conv1D(3, 2), (6, 2)),
    layers.Conv1DTranspose: (lambda: layers.Conv1DTranspose(3, 2), (6, 2)),
    layers.Conv2D: (lambda: layers.Conv2D(3, 2), IMAGE),
    layers.Conv2DTranspose: (lambda: layers.Conv2DTranspose(3, 2), IMAGE),
    layers.Conv3D: (lambda: layers.Conv3D(3, 2), VOLUME),
    layers.Conv3DTranspose: (lambda: layers.Conv3DTranspose(3, 2), VOLUME),
    layers.ConvLSTM1D: (lambda: layers.ConvLSTM1D(2, 2), (3, 6, 2)),
    layers.ConvLSTM2D: (lambda: layers.ConvLSTM2D(2, 2), FILM),
    layers.ConvLSTM3D: (lambda: layers.ConvLSTM3D(2, 2), (3, *VOLUME)),
    layers.Dense: (lambda: layers.Dense(3), (4,)),
    layers.DepthwiseConv1D: (lambda: layers.DepthwiseConv1D(2), (6, 2)),
    layers.DepthwiseConv2D: (lambda: layers.DepthwiseConv2D(2), IMAGE),
    layers.EinsumDense: (lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"), (4, 3)),
    layers.Embedding: (lambda: layers.Embedding(5, 3), (4,)),
    layers.GRU: (lambda: layers.GRU(2), (4, 3)),
    layers.GroupNormalization: (lambda: layers.GroupNormalization(2), (4,)),
    layers.GroupQueryAttention: (lambda: layers.GroupQueryAttention(2, 4, 2), [(4, 3), (4, 3)]),
    layers.LSTM: (lambda: layers.LSTM(2), (4, 3)),
    layers.LayerNormalization: (lambda: layers.LayerNormalization(axis=(1, 2)), (4, 3)),
    layers.MultiHeadAttention: (lambda: layers.MultiHeadAttention(2, 3), [(4, 3), (4, 3)]),
    layers.PReLU: (lambda: layers.PReLU(), (4, 3)),
    layers.RMSNormalization: (lambda: layers.RMSNormalization(), (4,)),
    layers.RNN: (lambda: layers.RNN([cell(2) for cell in CELLS]), (4, 3)),
    layers.SeparableConv1D: (lambda: layers.SeparableConv1D(3, 2), (6, 2)),
    layers.SeparableConv2D: (lambda: layers.SeparableConv2D(3, 2), IMAGE),
    layers.SimpleRNN: (lambda: layers.SimpleRNN(2), (4, 3)),
    layers.SpectralNormalization: (lambda: layers.SpectralNormalization(layers.Conv2D(3, 2)), IMAGE),
    layers.TimeDistributed: (lambda: layers.TimeDistributed(layers.Dense(2)), (4, 3)),
}
if hasattr(layers, "ReversibleEmbedding"):  # Keras 3.10 has none
    CASES[layers.ReversibleEmbedding] = (lambda: layers.ReversibleEmbedding(5, 3), (4,))
COVERED = {*CELLS, layers.StackedRNNCells, layers.Wrapper}  # in RNN, by other wrappers
ELSEWHERE = {layers.STFTSpectrogram}  # refused: see the test of that name
NOT_FOR_KERAS_WEIGHTS = {  # statistics, quantities of a lookup, or another framework's weights
    layers.Normalization, layers.Discretization, layers.TFSMLayer, layers.JaxLayer, layers.FlaxLayer,
    layers.TorchModuleWrapper, layers.Layer, layers.InputLayer,
}  # fmt: skip


@functools.cache
def speaks_of_weights(layer_class):
    words = ("add_weight(", "kernel_regularizer", "super().__init__(layer", "cell")
    return any(word in inspect.getsource(layer_class) for word in words)


def owns_weights(layer_class):
    parts = [part for part in layer_class.__mro__ if issubclass(part, layers.Layer) and part is not layers.Layer]
    return any(map(speaks_of_weights, parts))


def test_every_layer_that_owns_weights_is_here():
    classes = {value for value in vars(layers).values() if inspect.isclass(value) and issubclass(value, layers.Layer)}
    classes = {value for value in classes if owns_weights(value)}
    assert classes - {*CASES, *COVERED, *ELSEWHERE, *NOT_FOR_KERAS_WEIGHTS} == set()
    assert {*CASES} <= classes


def model_of(layer_class):
    make, shapes = CASES[layer_class]
    dtype = "int32" if issubclass(layer_class, layers.Embedding) else "float32"
    inputs = [keras.Input(shape, dtype=dtype) for shape in (shapes if isinstance(shapes, list) else [shapes])]
    attends = layer_class in (layers.MultiHeadAttention, layers.GroupQueryAttention)
    layer = make()
    outputs = layer(*inputs) if attends else layer(inputs if len(inputs) > 1 else inputs[0])
    model = keras.Model(inputs, outputs)
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    return model


def penalty_by_hand(model):
    """0.5 * sum w^2 of all kernels, from their names."""
    kernels = [v for v in model.trainable_variables if v.name.endswith("kernel") or v.name == "embeddings"]
    return sum(0.5 * float(np.sum(np.square(ops.convert_to_numpy(v), dtype="float64"))) for v in kernels), len(kernels)


def total(losses):
    return sum(float(ops.convert_to_numpy(loss)) for loss in losses)


def check(model, penalty, kernels):
    assert len(model.losses) == kernels
    assert total(model.losses) == pytest.approx(penalty, rel=1e-5)


BY_BACKEND = {layers.Bidirectional, layers.Embedding, layers.MultiHeadAttention, layers.RNN, layers.SeparableConv2D}
MARKED = [pytest.param(case, marks=pytest.mark.contract if case in BY_BACKEND else ()) for case in CASES]


@pytest.mark.parametrize("layer_class", MARKED, ids=lambda layer_class: layer_class.__name__)
def test_kernels_pay_and_a_saved_model_keeps_it(layer_class, tmp_path):
    model = model_of(layer_class)
    before = model.get_config()
    penalty, kernels = penalty_by_hand(model)
    rules = {keras.layers.Layer: keras.regularizers.L2(0.5)}
    table = tf_reg.regularize(model, rules, unmatched="error" if kernels else "ignore")
    check(model, penalty, kernels)
    assert all(row.saved and row.acts_in == "loss" for row in table.weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    check(loaded, penalty, kernels)
    assert str(tf_reg.regularizers_of(loaded)) == str(table)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    check(clone, penalty, kernels)
    tf_reg.remove_regularizers(model)
    assert model.losses == []
    assert model.get_config() == before


@pytest.mark.parametrize("layer_class", CASES, ids=lambda layer_class: layer_class.__name__)
def test_named_vectors_pay_and_are_kept_or_refused(layer_class):
    model = model_of(layer_class)
    vectors = [v for v in model.trainable_variables if not (v.name.endswith("kernel") or v.name == "embeddings")]
    names = sorted({v.name for v in vectors})
    rules = {f"**/{name}": keras.regularizers.L1(0.5) for name in names} or {"*": None}
    no_attribute = [name for name in names if name in ("scale", "concat_score_weight")]
    if no_attribute:
        with pytest.raises(ValueError, match=f"would not have: .*/{no_attribute[0]} "):
            tf_reg.regularize(model, rules)
        assert model.losses == []
        table = tf_reg.regularize(model, rules, unsaved="ignore")
        assert [row.saved for row in table.weights if row.path.endswith(tuple(no_attribute))] == [False] * len(
            no_attribute
        )
        assert len(model.losses) == len(vectors)
        return
    tf_reg.regularize(model, rules)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    expected = sum(0.5 * float(np.sum(np.abs(ops.convert_to_numpy(v)))) for v in vectors)
    assert total(clone.losses) == pytest.approx(expected, rel=1e-5)


@needs_keras("layers.ReversibleEmbedding")
def test_an_embedding_that_no_config_can_carry_is_refused():
    inputs = keras.Input((4,), dtype="int32")
    embedding = layers.ReversibleEmbedding(5, 3, tie_weights=False, name="words")
    untied = keras.Model(inputs, embedding(embedding(inputs), reverse=True))
    with pytest.raises(ValueError, match=r"would not have: words/reverse_embeddings \(ReversibleEmbedding: no "):
        tf_reg.regularize(untied, "l2")
    tf_reg.regularize(untied, {"words/reverse_embeddings": None, "*": "l2"})
    assert len(untied.losses) == 1


def test_kernels_that_no_config_can_carry_are_refused():
    spectrogram = keras.Sequential([keras.Input((600, 1)), layers.STFTSpectrogram(fft_length=256, name="stft")])
    with pytest.raises(ValueError, match=r"would not have: stft/real_kernel \(STFTSpectrogram: no attribute"):
        tf_reg.regularize(spectrogram, "l2")
