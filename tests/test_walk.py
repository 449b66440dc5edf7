import keras
import pytest

from tests import models_under_test as models
from tf_reg import _keras, _walk

pytestmark = pytest.mark.contract


def found(model):
    return [f"{path}/{variable.name}" for path, variable in _walk.regularized_variables(model)]


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
