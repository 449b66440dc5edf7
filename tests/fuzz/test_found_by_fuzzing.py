"""What the fuzzing found, case by case: each was a wrong answer, or an error from inside a backend."""

import fractions

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests.right_calls import DATA, linear

BRAIN = ml_dtypes.bfloat16(0.5)


@pytest.mark.parametrize("form", [lambda x: x, np.array, lambda x: ops.convert_to_tensor(x, "bfloat16")])
def test_a_strength_in_bfloat16(form):
    assert tf_reg.GroupLasso(form(BRAIN)).strength == 0.5
    optimizer = tf_reg.Proximal("sgd")
    optimizer.strength = form(BRAIN)
    assert float(optimizer.strength) == 0.5


def test_probabilities_in_bfloat16():
    probabilities = ops.convert_to_tensor([[0.75, 0.25], [0.25, 0.75]], "bfloat16")
    assert tf_reg.expected_calibration_error([0, 1], probabilities) == 0.25


@pytest.mark.parametrize("groups", [b"\1", (n for n in (0, 1))])
def test_axes_that_are_no_list(groups):
    """Bytes were taken for axes, and a generator was empty when it was read the second time."""
    with pytest.raises(ValueError, match=r"groups must be .* Received: groups="):
        tf_reg.GroupLasso(0.1, groups)


def test_epochs_in_a_small_integer():
    """300 - np.uint8(100) is an error of NumPy's."""
    assert type(tf_reg.Refit(np.uint8(100)).epochs) is int
    reweight = tf_reg.Reweight(every=np.int8(2), start=np.uint8(1), end=np.int16(3))
    assert {type(reweight.every), type(reweight.start), type(reweight.end)} == {int}
    assert tf_reg.plan_compaction(keras.Sequential([keras.Input((3,)), layers.Dense(2)]), np.uint16(4))


def test_a_seed_whose_absolute_value_is_negative():
    with pytest.raises(ValueError, match="seed must be an integer"):
        tf_reg.StochasticDepth(seed=np.int64(-(2**63)))


@pytest.mark.parametrize("temperature", [1e-45, 1e73])
def test_a_temperature_that_float32_has_not(temperature):
    with pytest.raises(ValueError, match="temperature is a number from"):
        tf_reg.TemperatureScaling(temperature)


def test_a_path_with_a_folder_and_integers_of_numpy(tmp_path):
    """They go to a file of JSON."""
    options = {"epochs": np.int64(2), "batch_size": np.uint8(4), "tolerance": BRAIN, "seed": np.int8(1)}
    path = tf_reg.regularization_path(linear, DATA, [1e3], **options, folder=tmp_path / "path", verbose=0)
    assert path.records[0].strength == 1e3


def test_the_penalty_of_weights_of_several_types():
    weights = [np.ones(2, "float16"), np.ones(2, "float64")]
    assert float(tf_reg.tf1.apply_regularization(keras.regularizers.L1(0.5), weights)) == 2.0
    with pytest.raises(ValueError, match="weights_list is an array of numbers"):
        tf_reg.tf1.apply_regularization(keras.regularizers.L1(0.5), [np.ones(2, "complex64")])
    with pytest.raises(ValueError, match="`regularizer` takes"):
        tf_reg.tf1.apply_regularization(keras.regularizers.L1, weights)


@pytest.mark.parametrize("penalty", [tf_reg.GroupLasso(0.5), tf_reg.MCP(0.5), tf_reg.ColumnLasso(0.5, [[0], [1]])])
def test_a_penalty_called_with_lists_and_with_words(penalty):
    assert float(penalty([[1, 0], [0, 1]])) == pytest.approx(float(penalty(np.eye(2, dtype="float32"))))
    for wrong in (None, "a", 1j, [[1], [2, 3]], keras.Input((2,)), {}):
        with pytest.raises(ValueError, match="x is an array of numbers"):
            penalty(wrong)


@pytest.mark.parametrize("step", [np.ones((3, 1, 2)), np.full((2, 2), -1.0), np.full((2, 2), np.nan), -1, "a"])
def test_a_step_that_does_not_fit(step):
    with pytest.raises(ValueError, match=r"step .* Received: step="):
        tf_reg.proximal_map(tf_reg.MCP(0.5))(np.eye(2), step)
    assert tf_reg.proximal_map(tf_reg.MCP(0.5))(np.eye(2), fractions.Fraction(1, 2)).shape == (2, 2)


@pytest.mark.parametrize(
    "made",
    [
        tf_reg.GroupLasso(0.5),
        tf_reg.ChannelPenalty(tf_reg.MCP(0.5)),
        tf_reg.DropBlock2D(0.5),
        tf_reg.DropConnect(layers.Dense(2)),
        tf_reg.TemperatureScaling(2.0),
        tf_reg.Proximal("sgd"),
        tf_reg.tf1.SumRegularizer([keras.regularizers.L1(0.5)]),
    ],
    ids=lambda made: type(made).__name__,
)
def test_a_configuration_of_something_else(made):
    config = made.get_config()
    for wrong in (None, [], "a", {}, {**config, "another": 1}, {**config, 3: 1}):
        if wrong != {} or type(made).__name__ in ("ChannelPenalty", "DropConnect", "Proximal", "SumRegularizer"):
            with pytest.raises(ValueError, match=f"config is what get_config\\(\\) of a {type(made).__name__} returns"):
                type(made).from_config(wrong)
    before = dict(config)
    assert type(made).from_config(config).get_config().keys() == before.keys()
    assert config == before, "Keras' own wrapper takes the layer out"


def test_an_optimizer_that_is_none():
    for wrong in (None, [], 1, {"class_name": "a"}, keras.layers.Dense(2)):
        with pytest.raises(ValueError, match="inner_optimizer is a Keras optimizer"):
            tf_reg.Proximal(wrong)
    with pytest.raises(ValueError, match="name is a word"):
        tf_reg.Proximal("sgd", name="a/b")


def test_flags_and_paths_of_an_export(tmp_path):
    softmax = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    for wrong in ({"class_id": 1}, {"logits": "yes"}, {"gpu": None}, {"folder": 3}, {"folder": "a\0"}, {"folder": ""}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            tf_reg.export(softmax, **{"folder": tmp_path, **wrong})
    with pytest.raises(ValueError, match="path is a path"):
        tf_reg.verify_saved_model(None)
