import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tests.tools import mostly_slow
from tf_reg.recipes.models import networks
from tf_reg_cli.config import Config
from tf_reg_cli.defaults import filled
from tf_reg_cli.errors import UserError

SHAPE = (12, 12, 1)


def build(shape=SHAPE, flippable=True, **options):
    channels = shape[-1]
    return networks.build(
        filled(Config(**options), 1000),
        image_shape=shape,
        classes=4,
        mean=[100.0] * channels,
        variance=[25.0] * channels,
        flippable=flippable,
    )


def pixels(examples=3, shape=SHAPE):
    return np.random.default_rng(0).integers(0, 256, (examples, *shape)).astype("uint8")


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


@pytest.mark.parametrize("name", ["linear", "mlp", "cnn"])
@pytest.mark.parametrize("options", [{}, {"dropout": 0.5, "batch_norm": True, "augment": True, "reg": "l1l2"}])
def test_raw_pixels_become_probabilities(name, options):
    model = build(model=name, **options)
    outputs = model.predict(pixels(), verbose=0)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)
    assert outputs.shape == (3, 4)
    assert (model.input.name, model.layers[-1].name, model.input.dtype) == ("inputs", "probabilities", "float32")


def test_the_usual_networks():
    def parameters(**options):
        return networks.build(
            Config(**options), image_shape=(28, 28, 1), classes=10, mean=[0.0], variance=[1.0], flippable=True
        ).count_params()

    assert parameters(model="mlp") == 784 * 128 + 128 + 128 * 10 + 10
    lenet = 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
    assert parameters(model="mlp", hidden=(300, 100)) == lenet
    cnn = 9 * 32 + 32 + 9 * 32 * 64 + 64 + 7 * 7 * 64 * 128 + 128 + 128 * 10 + 10
    assert parameters(model="cnn") == cnn


@pytest.mark.parametrize("name", ["linear", "mlp", "cnn"])
@pytest.mark.parametrize(
    ("reg", "config"),
    [
        ("l1", {"l1": 0.1}),
        ("l2", {"l2": 0.2}),
        ("l1l2", {"l1": 0.1, "l2": 0.2}),
    ],
)
def test_every_kernel_and_nothing_else_is_regularised(name, reg, config):
    model = build(model=name, reg=reg, l1=0.1, l2=0.2, batch_norm=True)
    for variable in model.trainable_variables:
        if variable.name == "kernel":
            assert variable.regularizer.get_config() == pytest.approx(config)
        else:
            assert variable.regularizer is None


def test_without_a_penalty_there_are_no_losses():
    assert build(model="cnn").losses == []


def test_normalisation_is_in_the_model():
    layer = next(layer for layer in build().layers if isinstance(layer, layers.Normalization))
    np.testing.assert_allclose(layer(np.full((1, *SHAPE), 110.0)), 2.0, rtol=1e-5)
    colour = build(shape=(12, 12, 3), normalization="imagenet")
    layer = next(layer for layer in colour.layers if isinstance(layer, layers.Normalization))
    image = np.broadcast_to(np.array(networks.IMAGENET_MEAN, "float32"), (1, 12, 12, 3))
    np.testing.assert_allclose(layer(image), 0.0, atol=1e-5)


def test_grey_images_take_the_mean_of_the_imagenet_constants():
    layer = next(layer for layer in build(normalization="imagenet").layers if isinstance(layer, layers.Normalization))
    np.testing.assert_allclose(layer(np.full((1, *SHAPE), np.mean(networks.IMAGENET_MEAN))), 0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("flippable", "flip", "expected"),
    [(True, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
def test_images_are_mirrored_where_that_keeps_the_class(flippable, flip, expected):
    assert ("RandomFlip" in kinds(build(augment=True, flippable=flippable, flip=flip))) is expected
    assert "RandomFlip" not in kinds(build(augment=False, flippable=flippable, flip=flip))


def test_augmentation_dropout_and_batch_norm_are_opt_in():
    assert not {"RandomRotation", "Dropout", "BatchNormalization"} & set(kinds(build(model="cnn")))
    everything = kinds(build(model="cnn", augment=True, dropout=0.1, batch_norm=True))
    assert everything.count("BatchNormalization") == 3
    assert everything.count("Dropout") == 1
    assert {"RandomTranslation", "RandomRotation", "RandomZoom"} < set(everything)


def test_augmentation_is_for_training_alone():
    model = build(model="linear", augment=True)
    x = pixels().astype("float32")
    np.testing.assert_array_equal(model(x, training=False), model(x, training=False))
    assert np.abs(np.subtract(model(x, training=True), model(x, training=False))).max() > 1e-3


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_probabilities_are_float32_in_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    assert build(model="cnn").output.dtype == "float32"


@pytest.mark.parametrize("reg", mostly_slow(["group", "sparse-group", "mcp", "scad", "log-sum"], "group", "mcp"))
@pytest.mark.parametrize("groups", ["inputs", "outputs"])
def test_groups_are_units_and_never_classes(reg, groups):
    penalties = {
        layer.name: layer.kernel_regularizer.get_config()
        for layer in build(model="cnn", reg=reg, groups=groups, group_lasso=0.3, mcp=0.3, scad=0.3, log_sum=0.3).layers
        if hasattr(layer, "kernel")
    }
    assert {name: config["groups"] for name, config in penalties.items()} == {
        "conv_1": groups, "conv_2": groups, "dense": groups, "logits": "inputs",
    }  # fmt: skip
    assert {config["strength"] for config in penalties.values()} == {0.3}


@pytest.mark.parametrize(
    ("options", "config"),
    [
        ({"reg": "mcp", "mcp": 0.1, "mcp_gamma": 5}, {"strength": 0.1, "gamma": 5.0, "groups": None}),
        ({"reg": "scad", "scad": 0.1, "scad_a": 5}, {"strength": 0.1, "a": 5.0, "groups": None}),
        ({"reg": "log-sum", "log_sum": 0.1, "log_sum_epsilon": 0.5}, {"strength": 0.1, "epsilon": 0.5, "groups": None}),
        ({"reg": "lq", "lq": 0.1, "lq_power": "0"}, {"strength": 0.1, "q": 0}),
        ({"reg": "lq", "lq": 0.1, "lq_power": "2/3"}, {"strength": 0.1, "q": 2 / 3}),
    ],
)
def test_concave_penalties_are_of_single_weights_and_have_their_parameters(options, config):
    for layer in (layer for layer in build(model="mlp", **options).layers if hasattr(layer, "kernel")):
        found = layer.kernel_regularizer.get_config()
        assert {name: found[name] for name in config} == pytest.approx(config)


@pytest.mark.parametrize(("sizes", "expected"), [("sizes", True), ("flops", "flops"), ("none", False)])
def test_channels_have_one_penalty_with_their_biases_and_without_the_classes(sizes, expected):
    model = build(model="mlp", reg="channels", channel_lasso=0.3, size_weights=sizes)
    rules = {variable.path: variable.regularizer for variable in model.trainable_variables}
    assert [path for path, rule in rules.items() if rule is None] == ["logits/kernel", "logits/bias"]
    for rule in (rule.rule for rule in rules.values() if rule is not None):
        assert isinstance(rule, tf_reg.ChannelLasso)
        assert (rule.strength, rule.size_weights) == (0.3, expected)


def test_a_network_without_channels_that_can_go_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(networks, "_mlp", networks._linear)
    with pytest.raises(UserError, match="--model mlp can't have --reg channels: A ChannelLasso needs channels"):
        build(model="mlp", reg="channels")
