"""mc_predict on graphs of layers: the graph's function, what is computed once, and nothing of the model changes."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.dropout_models import Subclassed, mlp, numpy, random
from tf_reg import mc_predict
from tf_reg.uncertainty.graph_walk import GraphWalk, as_graph

contract = pytest.mark.contract
BACKEND = keras.backend.backend()


class Block(layers.Layer):
    """Dropout and batch normalisation, inside a layer whose `call` doesn't take `training`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dropout, self.norm = layers.Dropout(0.5), layers.BatchNormalization()

    def build(self, shape):
        self.norm.build(shape)

    def call(self, x):
        return self.norm(self.dropout(x))


def branched():
    values = keras.Input((6,))
    inner = keras.Model(values, layers.Dropout(0.3)(layers.Dense(6, "relu")(values)), name="inner")
    inner.compile("sgd", "mse")
    inputs = keras.Input((4,))
    hidden = layers.Dense(6, name="hidden")(inputs)
    model = keras.Model(inputs, {"late": Block(name="block")(inner(inner(hidden), training=True)), "early": hidden})
    model.compile("sgd", "mse")
    return model


def described(model):
    lines = []
    model.summary(print_fn=lines.append, expand_nested=True)
    return lines


@contract
def test_a_graph_keeps_its_function_and_its_description():
    """A compiled model within it that is used twice, an output before all dropout, a layer with layers of its own."""
    model, x = branched(), random(5, 4)
    before = model.to_json(), described(model)
    moments = mc_predict(model, x, samples=400, seed=0)
    assert (model.to_json(), described(model)) == before
    hidden = model.get_layer("hidden")(x)
    rows = np.tile(numpy(hidden), (2000, 1))
    inner, block = model.get_layer("inner"), model.get_layer("block")
    own = numpy(block.norm(block.dropout(inner(inner(rows, training=True), training=True), training=True)))
    own = own.reshape(2000, 5, 6)
    np.testing.assert_allclose(moments.mean["early"], numpy(hidden), atol=1e-5)
    assert moments.spread["early"].max() < 1e-4
    assert np.mean(np.abs(moments.mean["late"] - own.mean(axis=0)) < 5 * own.std(axis=0) / np.sqrt(400) + 1e-6) > 0.95
    np.testing.assert_allclose(moments.spread["late"].mean(), own.std(axis=0).mean(), rtol=0.1)


@contract
def test_a_call_of_its_own_is_kept():
    """A functional model whose class overrides `call` isn't the graph that it was made of."""

    class Twice(keras.Model):
        def call(self, x, training=None):
            return 2 * super().call(x, training=training)

    inputs = keras.Input((4,))
    twice = Twice(inputs, layers.Dropout(0.5)(inputs))
    for model in (twice, keras.Model(inputs, layers.Activation("linear")(twice(inputs)))):
        mean, _ = mc_predict(model, np.ones((50, 4), "float32"), samples=1)
        assert set(np.unique(mean)) == {0.0, 4.0}


@contract
def test_a_model_in_the_graph_can_be_chosen():
    model = branched()
    inner = model.get_layer("inner")
    spread = mc_predict(model, random(5, 4), samples=20, layers=inner).spread
    assert spread["late"].max() > 0
    assert spread["early"].max() < 1e-4


@contract
def test_the_first_stage_is_as_long_as_it_can_be():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(9), layers.Dropout(0.5), layers.Dense(2)])
    walk = GraphWalk(as_graph(model), {id(model.layers[1])})
    assert [tuple(tensor.shape) for tensor in walk.frontier.values()] == [(None, 9)]
    assert [tuple(tensor.shape) for tensor in walk.second] == [(None, 9), (None, 2)]
    assert [a is b for a, b in zip(walk.model.layers[1:], model.layers, strict=True)] == [True] * 3
    assert not GraphWalk(as_graph(branched()), ()).late


@pytest.mark.skipif(BACKEND == "torch", reason="torch traces nothing")
def test_it_compiles_once_and_what_stands_before_dropout_runs_once():
    calls = {"before": 0, "after": 0}

    class Count(layers.Layer):
        def call(self, x):
            calls[self.name] += 1
            return 1.0 * x

        def compute_output_shape(self, shape):  # for a symbolic call Keras asks this, and doesn't run `call`
            return shape

    model = keras.Sequential([keras.Input((4,)), Count(name="before"), layers.Dropout(0.5), Count(name="after")])
    for seed in (0, 1, None):
        mc_predict(model, random(10, 4, seed=1), samples=50, batch_size=4, seed=seed)
    assert calls == {"before": 1, "after": 1}


@contract
def test_nothing_of_the_model_changes():
    model = Subclassed()
    x = random(40, 4) + 3
    model.compile("sgd", "mse")
    model(x)
    before = [numpy(variable).copy() for variable in model.variables]
    mc_predict(model, x, samples=3)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, numpy(variable))
    np.testing.assert_array_equal(numpy(model(x)["logits"]), numpy(model(x)["logits"]))


@contract
@pytest.mark.parametrize(
    "attention",
    [
        pytest.param(
            lambda x: layers.Attention()([x, x]),
            marks=pytest.mark.skipif(
                keras.__version__.startswith("3.10."), reason="Attention of Keras 3.10 itself fails on a mask"
            ),
        ),
        lambda x: layers.MultiHeadAttention(2, 3)(x, x),
    ],
    ids=["attention", "multi-head attention"],
)
def test_masks_are_kept(attention):
    ids = keras.Input((5,), dtype="int32")
    words = layers.Dropout(1e-7)(layers.Embedding(9, 6, mask_zero=True)(ids))
    model = keras.Model(ids, attention(words))
    x = np.array([[3, 4, 0, 0, 0], [1, 2, 3, 4, 5], [7, 0, 0, 0, 0]])
    np.testing.assert_allclose(mc_predict(model, x, samples=3).mean, model.predict(x, verbose=0), atol=1e-6)


def test_a_model_that_was_used_can_be_saved_and_fitted(tmp_path):
    model, x = mlp(layers.Dropout(0.5)), random(8, 4)
    model.compile("sgd", "mse")
    mc_predict(model, x, samples=2)
    model.fit(x, x[:, :2], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        mc_predict(loaded, x, samples=4, seed=0).mean, mc_predict(model, x, samples=4, seed=0).mean
    )
    keras.models.clone_model(model)
