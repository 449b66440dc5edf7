"""Compacted models compute what the models compute, and are as small as they can be."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.compaction.filling import filled, no_warning_of_masks, numpy
from tests.compaction.random_models import random_model
from tf_reg import GroupLasso, SparseGroupLasso
from tf_reg.compaction import rebuild
from tf_reg.compaction.channels import Labels
from tf_reg.compaction.check import compare
from tf_reg.compaction.compact import compact
from tf_reg.compaction.plan import plan_compaction
from tf_reg.compaction.removal import Removal

pytestmark = [pytest.mark.contract, no_warning_of_masks]  # Keras 3.16 says so of a SimpleRNN
PLAIN, SLOW, LONG = 2 if keras.backend.backend() == "jax" else 10, 40, 500  # random models; JAX compiles all


def kill(layer, inputs=(), outputs=()):
    """Set the weights of some inputs and outputs of a layer to zero; biases stay."""
    kernel = numpy(layer.kernel).copy()
    kernel[..., list(inputs), :] = 0
    kernel[..., list(outputs)] = 0
    layer.kernel.assign(kernel)


def marked(seed):
    marks = [] if seed < PLAIN else pytest.mark.slow if seed < SLOW else pytest.mark.long
    return pytest.param(seed, marks=marks)


@pytest.mark.parametrize("seed", [marked(seed) for seed in range(LONG)])
def test_random_models_compute_the_same(seed):
    model = random_model(seed)
    before = [numpy(variable) for variable in model.variables]
    small = rebuild.Rebuilt(plan_compaction(model).removal).model
    found = compare(model, small)
    assert found.within_rounding, found
    assert small.count_params() <= model.count_params()
    assert all((old == numpy(now)).all() for old, now in zip(before, model.variables, strict=True))


@pytest.mark.slow
def test_most_random_models_become_smaller_and_can_be_checked():
    found = [random_model(seed) for seed in range(4)]
    compacted = [compact(model) for model in found]
    assert sum(a.count_params() < b.count_params() for a, b in zip(compacted, found, strict=True)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_in_float64_to_ten_digits(seed):
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        model = random_model(seed)
        found = compare(model, compact(model))
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    assert found.limit == 1e-10
    assert found.largest <= 1e-10


def mlp():
    stack = [
        layers.Dense(4, "relu", name="first"),
        layers.Dense(3, "tanh", name="second"),
        layers.Dense(2, name="last"),
    ]
    return filled(keras.Sequential([keras.Input((5,)), *stack], name="net"))


def test_units_that_nobody_reads_go():
    model = mlp()
    kill(model.get_layer("second"), inputs=[1, 3])
    small = compact(model)
    assert isinstance(small, keras.Sequential)
    assert [layer.units for layer in small.layers] == [2, 3, 2]
    np.testing.assert_array_equal(numpy(small.layers[0].kernel), numpy(model.layers[0].kernel)[:, [0, 2]])


def test_a_constant_unit_moves_into_the_next_bias():
    model = mlp()
    kill(model.get_layer("second"), outputs=[0])
    small = compact(model)
    assert [layer.units for layer in small.layers] == [4, 2, 2]
    constant = np.tanh(numpy(model.layers[1].bias)[0])
    expected = numpy(model.layers[2].bias) + constant * numpy(model.layers[2].kernel)[0]
    np.testing.assert_allclose(numpy(small.layers[2].bias), expected, rtol=1e-6)


def test_a_bias_is_made_where_there_is_none():
    first, last = layers.Dense(3), layers.Dense(2, use_bias=False)
    model = filled(keras.Sequential([keras.Input((4,)), first, last]))
    kill(first, outputs=[2])
    small = compact(model)
    assert small.layers[1].use_bias
    assert compare(model, small).within_rounding


def test_before_zero_padding_a_constant_stays_unless_it_is_zero():
    conv, last = layers.Conv2D(4, 3), layers.Conv2D(2, 3, padding="same")
    model = filled(keras.Sequential([keras.Input((6, 6, 2)), conv, last]))
    kill(conv, outputs=[0, 1])
    conv.bias.assign(numpy(conv.bias) * [0.0, 1.0, 1.0, 1.0])
    assert [(layer.before, layer.after) for layer in plan_compaction(model).layers] == [(4, 3), (2, 2)]
    assert compare(model, compact(model)).within_rounding


def test_if_all_is_dead_the_output_is_the_constant():
    model = mlp()
    for layer in model.layers:
        kill(layer, outputs=range(layer.units))
    small = rebuild.Rebuilt(plan_compaction(model).removal).model
    x = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    np.testing.assert_allclose(numpy(small(x)), np.tile(numpy(model.layers[2].bias), (3, 1)), rtol=1e-6)
    with pytest.warns(UserWarning, match="could not check"):
        compact(model)


def test_inputs_that_nobody_needs_are_left_out_and_the_signature_stays():
    model = mlp()
    kill(model.get_layer("first"), inputs=[0, 4])
    small = compact(model)
    assert small.input_shape == model.input_shape
    assert small.get_layer("first").kernel.shape == (3, 4)


def test_a_compacted_model_is_compacted_again():
    inputs = keras.Input((6,))
    stream = layers.Dense(12, "tanh", name="stream")(inputs)
    outputs = [layers.Dense(3, name=name)(stream) for name in ("left", "right")]
    model = filled(keras.Model(inputs, outputs))
    kill(model.get_layer("left"), inputs=range(6))
    small = compact(model)
    assert small.get_layer("left").kernel.shape == (6, 3)
    assert small.get_layer("stream").units == 12
    kill(small.get_layer("right"), inputs=range(4))
    kill(small.get_layer("left"), inputs=[2])
    smaller = compact(small)
    assert smaller.get_layer("stream").units == 8
    assert smaller.get_layer("left").kernel.shape == (5, 3)
    assert smaller.get_layer("left_inputs").indices == [2, 3, 5, 6, 7]
    assert compare(small, smaller).within_rounding


def test_a_class_of_the_users_own_stays():
    class Own(keras.Model):
        def train_step(self, *args, **kwargs):
            return {}

    class Wide(keras.Model):
        def __init__(self, units):
            inputs = keras.Input((3,))
            super().__init__(inputs, layers.Dense(2)(layers.Dense(units)(inputs)))

    inputs = keras.Input((3,))
    assert isinstance(compact(filled(Own(inputs, layers.Dense(2)(inputs)))), Own)
    with pytest.warns(UserWarning, match="can't make a Wide"):
        small = compact(filled(Wide(4)))
    assert not isinstance(small, Wide)


def test_a_residual_addition_keeps_what_one_of_its_inputs_needs():
    inputs = keras.Input((5,))
    one, other = layers.Dense(4, name="one"), layers.Dense(4, name="other")
    total = layers.Add()([one(inputs), other(inputs)])
    last = layers.Dense(2, name="last")
    model = filled(keras.Model(inputs, last(total)))
    kill(one, outputs=[1])
    assert [layer.after for layer in plan_compaction(model).layers] == [4, 4, 2]
    kill(last, inputs=[1])
    assert [layer.after for layer in plan_compaction(model).layers] == [3, 3, 2]


def test_an_unknown_layer_is_a_barrier_with_its_name():
    class Double(layers.Layer):
        def call(self, x):
            return 2 * x

        def compute_output_shape(self, shape):
            return shape

    model = keras.Sequential([keras.Input((5,)), layers.Dense(4), Double(name="mine"), layers.Dense(2)])
    kill(filled(model).layers[2], inputs=[1])
    plan = plan_compaction(model)
    assert [layer.after for layer in plan.layers] == [4, 2]
    assert plan.held == {"mine (Double)": 1}
    assert "1 channels without effect stay: mine (Double)" in repr(plan)


@pytest.mark.parametrize("wrong", ["shifted", "padding", "forgotten"])
def test_a_wrong_rewrite_is_caught(wrong, monkeypatch):
    conv, last = layers.Conv2D(4, 3), layers.Conv2D(2, 3, padding="same" if wrong == "padding" else "valid")
    model = filled(keras.Sequential([keras.Input((6, 6, 2)), conv, last, layers.Flatten(), layers.Dense(2)]))
    kill(conv, outputs=[1])
    if wrong == "shifted":
        rows = Removal.rows
        monkeypatch.setattr(Removal, "rows", lambda self, read: np.roll(rows(self, read), 1))
    elif wrong == "forgotten":
        monkeypatch.setattr(Removal, "folded", lambda self, layer: None)
    else:
        monkeypatch.setattr("tf_reg.compaction.rules._bordered", lambda layer: False)
    with pytest.raises(RuntimeError, match="computes something else"):
        compact(model)


def test_a_branch_of_a_residual_addition_that_is_cut_elsewhere_is_caught(monkeypatch):
    """The same number of channels goes from both branches, but not the same ones."""
    inputs = keras.Input((5,))
    branches = [layers.Dense(4, name=name)(inputs) for name in ("one", "other")]
    model = filled(keras.Model(inputs, layers.Dense(2, name="last")(layers.Add()(branches))))
    kill(model.get_layer("last"), inputs=[1])
    assert compact(model).get_layer("other").units == 3
    join = Labels.join
    monkeypatch.setattr(Labels, "join", lambda self, a, b: join(self, a, b if a is b else np.roll(b, 1)))
    with pytest.raises(RuntimeError, match="computes something else"):
        compact(model)


@pytest.mark.slow
def test_compile_is_kept_and_training_goes_on():
    model = mlp()
    kill(model.get_layer("second"), inputs=[1])
    model.compile("adam", "mse", metrics=["mae"])
    small = compact(model)
    x, y = np.ones((8, 5), "float32"), np.zeros((8, 2), "float32")
    np.testing.assert_allclose(small.evaluate(x, y, verbose=0), model.evaluate(x, y, verbose=0), rtol=1e-5)
    first = small.fit(x, y, verbose=0).history["loss"][0]
    assert first == pytest.approx(model.fit(x, y, verbose=0).history["loss"][0], rel=1e-4)


@pytest.mark.parametrize("penalty", [GroupLasso(0.1, groups="inputs"), SparseGroupLasso(0.1, 0.1), "l1"])
def test_a_penalty_keeps_its_value(penalty, tmp_path):
    """A group of 8 of which 4 are cut out would have half of its strength, without the root of 2."""
    first, last = layers.Dense(8, "relu", kernel_regularizer=penalty), layers.Dense(2, kernel_regularizer=penalty)
    model = filled(keras.Sequential([keras.Input((5,)), first, last]))
    kill(first, outputs=[0, 2, 3, 7])
    kill(last, inputs=[0, 2, 3, 7])
    small = compact(model)
    assert small.layers[0].units == 4
    np.testing.assert_allclose(numpy(sum(small.losses)), numpy(sum(model.losses)), rtol=1e-6)
    small.save(tmp_path / "small.keras")
    again = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(numpy(sum(again.losses)), numpy(sum(model.losses)), rtol=1e-6)


def test_a_compacted_model_can_be_saved(tmp_path):
    model = mlp()
    kill(model.get_layer("first"), inputs=[0, 4])
    small = compact(model)
    small.save(tmp_path / "small.keras")
    assert compare(small, keras.models.load_model(tmp_path / "small.keras")).largest == 0


def test_words_a_lambda_and_a_shared_layer():
    """Integers below the size of the embedding, although the input is float; a function that only exists in memory."""
    words, others = keras.Input((5,), name="a"), keras.Input((6,), dtype="int32", name="b")
    embedding = layers.Embedding(9, 6, mask_zero=True)
    shared = layers.Dense(4, "relu")
    pooled = [shared(layers.GlobalAveragePooling1D()(embedding(tensor))) for tensor in (words, others)]
    double = layers.Lambda(lambda x: ops.add(x, x), output_shape=lambda shape: shape)
    model = keras.Model({"a": words, "b": others}, layers.Dense(2, name="last")(double(layers.Subtract()(pooled))))
    kill(filled(model).get_layer("last"), inputs=[1])
    kill(shared, inputs=[0, 1, 5])
    small = compact(model)
    assert small.get_layer(shared.name).units == 4, "the lambda is a barrier"
    assert small.get_layer(shared.name).kernel.shape == (3, 4)


def test_models_that_are_not_functional_are_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    for model in (Own(), keras.Sequential([layers.Dense(2)]), None):
        with pytest.raises(ValueError, match="functional or sequential"):
            compact(model)
