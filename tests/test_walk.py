"""The paths of layers and weights in a model."""

import keras
import pytest

import tf_reg
from tests import models_under_test as models
from tf_reg import _keras, _walk


def found(model):
    return [f"{weight.owner}/{weight.variable.name}" for weight in _walk.regularized(model)]


def test_nested_models_with_equal_layer_names_have_paths_of_their_own():
    model = models.nested_and_shared()
    assert sorted(found(model)) == ["a/dense/kernel", "b/dense/kernel", "dense/kernel", "shared/dense/kernel"]


def test_paths_survive_cloning():
    model = models.recurrent()
    assert found(model) == [
        "both_ways/forward_lstm/lstm_cell/kernel",
        "both_ways/forward_lstm/lstm_cell/recurrent_kernel",
        "both_ways/backward_lstm/lstm_cell/kernel",
        "both_ways/backward_lstm/lstm_cell/recurrent_kernel",
    ]
    assert found(keras.models.clone_model(model)) == found(model)


def test_equal_names_get_a_suffix_and_a_models_own_weight_its_name():
    model = models.subclassed()
    model(models.inputs_of(model, 2))
    assert sorted(found(model)) == ["dense/kernel", "dense_1/kernel", "two_kernels/scale"]


def test_every_layer_is_walked_once_inner_layers_first():
    model = models.nested_and_shared()
    walked = [path for path, _ in _walk.layer_paths(model)]
    assert len(walked) == len(set(walked))
    assert walked.index("shared/dense") < walked.index("shared")
    assert len({id(layer) for _, layer in _walk.layer_paths(model)}) == len(walked)


def test_the_first_place_of_a_layer_is_its_path():
    model = models.nested_and_shared()
    inner = model.get_layer("a").get_layer("dense")
    outer = keras.Sequential([model.get_layer("shared")], name="again")
    model.extra = [outer, keras.Sequential([inner], name="again")]
    if all(layer is not outer for layer in _keras.direct_sublayers(model)):
        pytest.skip(f"Keras {keras.__version__} doesn't list the layers that are attached to a functional model")
    places = _walk.layer_places(model)
    for path, layer in _walk.layer_paths(model):
        assert places[id(layer)][0][0] == (path, layer)
        assert all(place[-1] == ("", model) for place in places[id(layer)])
    assert [place[0][0] for place in places[id(inner)]] == ["a/dense", "again_1/dense"]
    shared = places[id(model.get_layer("shared").get_layer("dense"))]
    assert [[path for path, _ in place] for place in shared] == [
        ["shared/dense", "shared", ""],
        ["again/shared/dense", "again/shared", "again", ""],
    ]


def test_frozen_layers_add_nothing():
    model = models.frozen_layer()
    assert len(found(model)) == len(found(models.dense())) - 2


class Block(keras.layers.Layer):
    """Holds all blocks before it, so that the places of a layer double with each block."""

    def __init__(self, earlier, **options):
        super().__init__(**options)
        self.earlier, self.dense = list(earlier), keras.layers.Dense(2, kernel_regularizer="l1")

    def call(self, x):
        return self.dense(x)


def test_places_are_looked_for_only_where_a_rule_is_about_them(monkeypatch):
    blocks = []
    for number in range(5):
        blocks.append(Block(blocks, name=f"block_{number}"))
    model = keras.Sequential([keras.Input((2,)), *blocks])
    weights = _walk.weights(model)
    assert len(weights) == 10
    assert len(weights[0].places) == 2**4

    def refuse(model):
        raise AssertionError("all places were looked for")

    monkeypatch.setattr(_walk, "layer_places", refuse)
    tf_reg.sparsity(model)
    table = tf_reg.regularize(model, keras.regularizers.L2(0.1), unsaved="ignore")
    assert len(table.weights) == 5


def test_the_layout_is_the_layers_or_that_of_the_layer_around_its_cell():
    model = keras.Sequential(
        [
            keras.Input((3, 6, 6, 2)),
            keras.layers.ConvLSTM2D(3, 2, name="film"),
            keras.layers.Conv2DTranspose(2, 2, name="transposed"),
            keras.layers.Reshape((-1, 2)),
            keras.layers.RNN(keras.layers.GRUCell(2), name="own_cell"),
            keras.layers.Dense(2, name="dense"),
        ]
    )
    layouts = {weight.path.split("/")[0]: weight.layout for weight in _walk.weights(model) if weight.is_kernel}
    assert layouts == {"film": "lstm", "transposed": "transposed", "own_cell": "gru", "dense": "kernel"}
    assert [weight.layout for weight in _walk.weights(model) if weight.variable.name == "bias"] == [None] * 4
