"""Attention loses whole heads, and numbers of its values."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from tests.compaction.filling import filled, kept, numpy, same, zero
from tf_reg import MCP, GroupLasso, SparseGroupLasso
from tf_reg.compaction import attention
from tf_reg.compaction.compact import compact
from tf_reg.compaction.plan import plan_compaction

pytestmark = pytest.mark.contract
ON_JAX = keras.backend.backend() == "jax"  # it can't call an attention whose values have another size than the keys
VALUES = 3 if ON_JAX else 2


def attending(heads=4, size=3, call=None, **options):
    """A model of one attention layer named `mha` between two dense ones."""
    inputs = keras.Input((5, 6))
    first, mha = layers.Dense(7, name="first"), layers.MultiHeadAttention(heads, size, name="mha", **options)
    x = first(inputs)
    return filled(keras.Model(inputs, layers.Dense(2, name="last")(mha(x, x, **(call or {})))))


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({}, {}),
        pytest.param({"use_bias": False, "value_dim": VALUES}, {"use_causal_mask": True}, marks=pytest.mark.slow),
        pytest.param({"output_shape": 5, "dropout": 0.1}, {}, marks=pytest.mark.slow),
    ],
)
def test_heads_that_nobody_reads_go(options, call):
    model = attending(call=call, **options)
    mha = model.get_layer("mha")
    zero(mha.output_dense.kernel, 0, [1, 3])
    small = compact(model)
    assert same(model, small)
    cut = small.get_layer("mha")
    assert (cut.num_heads, cut.key_dim) == (2, mha.key_dim)
    for one, other in ((mha.query_dense, cut.query_dense), (mha.value_dense, cut.value_dense)):
        np.testing.assert_array_equal(numpy(other.kernel), numpy(one.kernel)[:, [0, 2]])


@pytest.mark.slow
def test_a_head_of_zero_values_goes():
    model = attending()
    mha = model.get_layer("mha")
    zero(mha.value_dense.kernel, 1, [2])
    assert kept(model)["mha"] == 4, "its bias makes it a constant that isn't zero"
    zero(mha.value_dense.bias, 0, [2])
    assert kept(model)["mha"] == 3


@pytest.mark.slow
def test_numbers_of_the_values_go_and_the_size_of_the_keys_stays():
    model = attending()
    zero(model.get_layer("mha").output_dense.kernel, 1, [0])
    small = compact(model)
    assert same(model, small)
    assert (small.get_layer("mha").value_dim, small.get_layer("mha").key_dim) == (VALUES, 3)
    if ON_JAX:
        assert plan_compaction(model).held == {"mha (Keras on JAX needs value_dim equal to key_dim)": 1}


def test_what_goes_in_and_out_is_cut():
    model = attending()
    mha = model.get_layer("mha")
    for dense in (mha.query_dense, mha.key_dense, mha.value_dense):
        zero(dense.kernel, 0, [0, 5])
    zero(model.get_layer("first").kernel, 1, [1])  # a constant, which three biases take over
    zero(model.get_layer("last").kernel, 0, [3, 4])
    small = compact(model)
    assert same(model, small)
    assert small.get_layer("first").units == 4
    assert small.get_layer("last").kernel.shape == (5, 2)


@pytest.mark.slow
def test_a_mask_for_each_head_holds_them():
    inputs, mask = keras.Input((5, 6)), keras.Input((3, 5, 5), dtype="bool")
    mha = layers.MultiHeadAttention(3, 2, name="mha")
    model = filled(keras.Model([inputs, mask], layers.Dense(2)(mha(inputs, inputs, attention_mask=mask))))
    zero(mha.output_dense.kernel, 0, [1])
    assert kept(model)["mha"] == 3
    assert plan_compaction(model).held == {"mha (a mask for each head)": 1}


@pytest.mark.slow
def test_scores_and_a_penalty_on_groups_are_barriers():
    """One setting of the layer can't keep the penalty's value in projections of several sizes."""
    inputs = keras.Input((5, 6))
    mha = layers.MultiHeadAttention(3, 2, name="mha")
    model = filled(keras.Model(inputs, mha(inputs, inputs, return_attention_scores=True)))
    zero(mha.output_dense.kernel, 0, [1])
    assert [layer.name for layer in plan_compaction(model).layers] == []
    for penalty in GroupLasso(0.1), SparseGroupLasso(0.1, 0.1), MCP(0.1, groups="outputs"):
        model = attending(kernel_regularizer=penalty)
        zero(model.get_layer("mha").output_dense.kernel, 0, [1])
        assert "mha" not in kept(model)
    model = attending(kernel_regularizer=MCP(0.1))  # of single weights
    zero(model.get_layer("mha").output_dense.kernel, 0, [1])
    assert kept(model)["mha"] == 3


HEADS = {"groups": "heads", "layout": "heads=4,key_dim=3,value_dim=3"}


@pytest.mark.parametrize(
    "penalty",
    [
        GroupLasso(0.1, **HEADS),
        pytest.param(SparseGroupLasso(0.1, 0.2, **HEADS), marks=pytest.mark.slow),
        pytest.param(MCP(0.1, **HEADS), marks=pytest.mark.slow),
    ],
)
def test_a_penalty_on_heads_stays_what_it_is(penalty):
    """With size weights only heads go: another size of the inputs would change the strength."""
    model = attending(kernel_regularizer=penalty)
    mha = model.get_layer("mha")
    for dense in (mha.query_dense, mha.key_dense, mha.value_dense):
        zero(dense.kernel, 0, [0, 5])
        zero(dense.kernel, 1, [1])
    zero(mha.output_dense.kernel, 0, [1])
    zero(model.get_layer("last").kernel, 0, [3])
    small = compact(model)
    cut = small.get_layer("mha")
    assert same(model, small)
    assert (cut.num_heads, small.get_layer("first").units) == (3, 7)
    assert cut.get_config()["kernel_regularizer"]["config"]["layout"] == "heads=3,key_dim=3,value_dim=3"
    assert float(sum(map(numpy, small.losses))) == pytest.approx(float(sum(map(numpy, model.losses))), rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="Keras on JAX takes values of the size of keys alone")
def test_a_penalty_on_heads_without_size_weights_holds_nothing():
    model = attending(kernel_regularizer=GroupLasso(0.1, size_weights=False, **HEADS))
    mha = model.get_layer("mha")
    for dense in (mha.query_dense, mha.key_dense, mha.value_dense):
        zero(dense.kernel, 0, [0, 5])
    zero(mha.output_dense.kernel, 1, [2])
    zero(mha.value_dense.kernel, 2, [2])
    small = compact(model)
    cut = small.get_layer("mha")
    assert (cut.num_heads, cut.value_dim, small.get_layer("first").units) == (4, 2, 5)
    assert cut.get_config()["kernel_regularizer"]["config"]["layout"] == "heads=4,key_dim=3,value_dim=2"
    assert float(sum(map(numpy, small.losses))) == pytest.approx(float(sum(map(numpy, model.losses))), rel=1e-5)


@pytest.mark.slow
def test_heads_that_read_several_sequences_and_words_with_a_mask():
    words, others = keras.Input((5,), dtype="int32"), keras.Input((4, 6))
    x = layers.Embedding(9, 6, mask_zero=True)(words)
    mha = layers.MultiHeadAttention(4, 3, name="mha")
    model = filled(keras.Model([words, others], layers.Dense(2)(layers.Add()([x, mha(x, others, key=others)]))))
    zero(mha.output_dense.kernel, 0, [0, 3])
    assert kept(model)["mha"] == 2


def test_a_head_that_is_dropped_at_the_wrong_place_is_caught(monkeypatch):
    model = attending()
    zero(model.get_layer("mha").output_dense.kernel, 0, [1])
    right = attention._projection

    def wrong(analysis, dense, channels, heads, numbers):
        right(analysis, dense, channels, np.roll(heads, 1) if dense.name == "value" else heads, numbers)

    monkeypatch.setattr(attention, "_projection", wrong)
    with pytest.raises(RuntimeError, match="computes something else"):
        compact(model)
