"""What the keys of rules match, and which rules are refused."""

import re

import keras
import numpy as np
import pytest
from keras import layers, ops, regularizers

import tf_reg
from tests.rules.networks import BIASES, CONVOLUTIONS, KERNELS, L1, L2, network, paths
from tests.tools import on_tensorflow


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (L2, KERNELS),
        ("l2", KERNELS),
        ({"*": L2}, KERNELS),
        ({"**": L2}, KERNELS),
        ({layers.Layer: L2}, KERNELS),
        ({"head": L2}, ["head/kernel"]),
        ({"conv1": L2}, ["encoder/conv1/kernel"]),
        ({"encoder": L2}, CONVOLUTIONS),
        ({"encoder/*": L2}, CONVOLUTIONS),
        ({"encoder/conv?": L2}, CONVOLUTIONS),
        ({"**/conv2": L2}, ["encoder/conv2/kernel"]),
        ({"h*": L2}, ["hidden/kernel", "head/kernel"]),
        ({"hidden/bias": L2}, ["hidden/bias"]),
        ({"**/bias": L2}, BIASES),
        ({"**/b*": L2}, [*BIASES[:2], "norm/beta", *BIASES[2:]]),
        ({"**/kernel": L2}, KERNELS),
        ({re.compile("conv"): L2}, CONVOLUTIONS),
        ({re.compile(r"^h.*/.*"): L2}, ["hidden/kernel", "head/kernel"]),
        ({re.compile(r"^h\w+/bias$"): L2}, ["hidden/bias", "head/bias"]),
        ({layers.Dense: L2}, ["hidden/kernel", "head/kernel"]),
        ({layers.DepthwiseConv2D: L2}, ["encoder/conv2/kernel"]),
        ({keras.Sequential: L2}, CONVOLUTIONS),
        ({"norm/gamma": L2}, ["norm/gamma"]),
        ({lambda path, layer, variable: "head" in path: L2}, ["head/kernel", "head/bias"]),
        ({"head": None, "*": L2}, KERNELS[:-1]),
        ({"norm": None, "*": L2}, KERNELS),
        ({"head": L1, layers.Dense: L2, "**/bias": L1}, [*BIASES, "hidden/kernel", "head/kernel"]),
    ],
    ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", str(value)),
)
def test_what_rules_match(rules, expected):
    model = network()
    assert sorted(paths(tf_reg.regularize(model, rules))) == sorted(expected)
    assert len(model.losses) == len(expected)


def test_the_first_match_decides_and_the_rest_stays():
    model = network()
    model.get_layer("norm").gamma.regularizer = model.get_layer("norm").gamma_regularizer = L1
    tf_reg.regularize(model, {"head": L1, layers.Dense: L2})
    assert model.get_layer("head").kernel.regularizer is L1
    assert model.get_layer("hidden").kernel.regularizer is L2
    assert model.get_layer("norm").gamma.regularizer is L1
    assert model.get_layer("encoder").losses == []


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"hiden": L2}, "'hiden', which matches none. Near it: hidden"),
        ({"encoder/conv1/kernal": L2}, "Near it: encoder/conv1/kernel"),
        ({"kernel": L2}, "'kernel', which matches none"),
        ({layers.LSTM: L2}, "Received: LSTM, which matches none. Near it: BatchNormalization, Conv2D, Dense"),
        ({layers.LSTM: None}, "Received: LSTM, which matches none"),
        ({re.compile("^conv"): L2}, "which matches none"),
        ({lambda path, layer, variable: False: L2}, "Received: <lambda>, which matches none"),
        ({"norm": L2}, r"biases, norms or other vectors alone\. To .*: 'norm/gamma', 'norm/beta'"),
        ({layers.BatchNormalization: L2}, "'norm/gamma'"),
        ({"*": L2, "head": None}, r"Received: 'head' behind '\*', which leaves it nothing"),
        ({3: L2}, "A rule is for a layer's name.* Received: 3"),
        (None, "Received: None. tf_reg.remove_regularizers takes all away"),
        ({}, "rules must have an entry"),
        ({layers.Dense(2, name="stranger"): L2}, "Dense name=stranger, built=False>, which matches none. Near it: "),
        (regularizers.OrthogonalRegularizer(), r"Orthogonal.* for encoder/conv1/kernel of shape \(3, 3, 2, 3\): "),
    ],
    ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", str(value)),
)
def test_rules_that_are_wrong_change_nothing(rules, message):
    model = network()
    with pytest.raises(ValueError, match=message):
        tf_reg.regularize(model, rules)
    assert model.losses == []


def test_a_layer_is_a_key():
    model = network()
    rules = {model.get_layer("encoder"): L1, model.get_layer("head"): L2}
    assert sorted(paths(tf_reg.regularize(model, rules))) == sorted([*CONVOLUTIONS, "head/kernel"])
    assert model.get_layer("head").kernel_regularizer is L2


@pytest.mark.parametrize(
    ("key", "expected"), [("a[0]", "a[0]/kernel"), ("a[0]/bias", "a[0]/bias"), ("a[0-9]", "a0/kernel")]
)
def test_a_name_is_no_glob(key, expected):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="a[0]"), layers.Dense(2, name="a0")])
    assert paths(tf_reg.regularize(model, {key: L2})) == [expected]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("right", "kernel"),
        ("right/tower", "kernel"),
        ("right/*", "kernel"),
        ("right/tower/bias", "bias"),
        (re.compile("^right.*kernel"), "kernel"),
        ("left/tower", "kernel"),
    ],
)
def test_a_shared_layer_can_be_said_by_each_of_its_places(key, expected):
    tower, inputs = layers.Dense(2, name="tower"), keras.Input((3,))
    left, right = (keras.Sequential([keras.Input((3,)), tower], name=name) for name in ("left", "right"))
    model = keras.Model(inputs, layers.Add()([left(inputs), right(inputs)]))
    assert paths(tf_reg.regularize(model, {key: L2})) == [f"left/tower/{expected}"]
    assert paths(tf_reg.regularize(model, {right: L1, "*": L2}, unmatched="ignore"))[0] == "left/tower/kernel"
    assert tower.kernel_regularizer is L1


@on_tensorflow("values without numbers are those of its graphs")
def test_regularizers_are_tried_without_their_values():
    import tensorflow as tf

    eager = []

    def square(w):
        eager.append(tf.executing_eagerly())
        return ops.sum(ops.square(w))

    tf_reg.regularize(network(), {"head": square})
    assert eager == [False]
    by_numpy = lambda w: float(np.sum(np.abs(w.numpy())))  # noqa: E731
    assert paths(tf_reg.regularize(network(), {"head": by_numpy})) == ["head/kernel"]


def test_unmatched_rules_can_be_let_pass():
    model = network()
    rules = {"hiden": L2, "norm": L2, "head": L2, "head/kernel": L1}
    assert paths(tf_reg.regularize(model, rules, unmatched="ignore")) == ["head/kernel"]


@pytest.mark.parametrize("argument", ["unmatched", "unsaved"])
def test_policies_are_words(argument):
    with pytest.raises(ValueError, match=f"{argument} must be 'error' or 'ignore'. Received: {argument}='warn'"):
        tf_reg.regularize(network(), L2, **{argument: "warn"})
