"""Networks of keras.applications, and networks that start from a file."""

import sys

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tf_reg.recipes import applications
from tf_reg.recipes.models import networks
from tf_reg_cli.config import Config
from tf_reg_cli.defaults import filled
from tf_reg_cli.errors import UserError


def build(shape=(32, 32, 1), classes=4, **options):
    return networks.build(
        filled(Config(**options), 1000),
        image_shape=shape,
        classes=classes,
        mean=[100.0] * shape[-1],
        variance=[25.0] * shape[-1],
        flippable=True,
    )


def pixels(shape=(32, 32, 1), examples=2):
    return np.random.default_rng(0).integers(0, 256, (examples, *shape)).astype("float32")


def test_an_application_takes_grey_pixels_and_pays_for_its_kernels():
    model = build(model="MobileNet", reg="group", group_lasso=0.1)
    outputs = model.predict(pixels(), verbose=0)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)
    assert (model.input.name, model.layers[-1].name) == ("inputs", "probabilities")
    rows = {row.path: row.regularizer for row in tf_reg.regularizers_of(model).weights}
    assert rows["body/conv_dw_1/kernel"].layout == "depthwise"
    assert rows["logits/kernel"].groups == "inputs"
    assert len(rows) == 28


@pytest.mark.parametrize("name", applications.names())
def test_pixels_are_scaled_as_the_network_was_trained(name):
    inputs = keras.Input((4, 4, 3))
    images = pixels((4, 4, 3))
    family = sys.modules[getattr(keras.applications, name).__module__]
    expected = family.preprocess_input(images.copy())
    scaled = keras.Model(inputs, applications._as_trained(layers.Identity()(inputs), name))
    np.testing.assert_allclose(scaled(images), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8, 1), "--model MobileNet doesn't take images of 8 x 8 pixels: .* Give --image-size"),
        ((32, 32, 2), "2 cha"),
    ],
)
def test_images_that_do_not_fit(shape, message):
    with pytest.raises(UserError, match=message):
        build(shape, model="MobileNet")


@pytest.fixture
def trained(tmp_path):
    """A model that was saved, with weights of its own, and the file."""
    keras.utils.set_random_seed(7)
    model = build((12, 12, 1), model="cnn", augment=True)
    model.save(tmp_path / "model.keras")
    return model, str(tmp_path / "model.keras")


def test_a_network_starts_from_an_earlier_run(trained):
    model, file = trained
    again = build((12, 12, 1), model="cnn", weights=file, reg="l1", dropout=0.5)
    images = pixels((12, 12, 1))
    np.testing.assert_array_equal(again(images, training=False), model(images, training=False))
    assert len(again.losses) == 4


def test_another_number_of_classes_has_a_new_last_layer(trained):
    model, file = trained
    other = build((12, 12, 1), classes=7, model="cnn", weights=file)
    np.testing.assert_array_equal(other.get_layer("dense").kernel, model.get_layer("dense").kernel)
    assert other.output.shape == (None, 7)


def test_an_application_starts_from_the_file_that_keras_publishes(tmp_path):
    body = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3))
    body.save_weights(tmp_path / "mobilenet.weights.h5")
    model = build(model="MobileNet", weights=str(tmp_path / "mobilenet.weights.h5"))
    np.testing.assert_array_equal(model.get_layer("body").get_layer("conv1").kernel, body.get_layer("conv1").kernel)


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("nowhere.keras", {}, "nowhere.keras is no file"),
        ("text.keras", {}, "can't be loaded into this network"),
        ("text.h5", {}, "must be a .keras file for --model cnn"),
        ("text.h5", {"model": "MobileNet"}, "can't be loaded into this network"),
        ("model.keras", {"model": "mlp"}, r"is of another network: expected hidden_1 with .*, found no such layer"),
        ("model.keras", {"batch_norm": True}, r"expected conv_1 with \[\(3, 3, 1, 32\)\], found shapes"),
    ],
)
def test_files_that_do_not_fit(trained, tmp_path, file, options, message):
    for name in ("text.keras", "text.h5"):
        (tmp_path / name).write_text("no weights")
    with pytest.raises(UserError, match=message):
        build(
            (32, 32, 1) if "model" in options else (12, 12, 1),
            **{"model": "cnn", **options},
            weights=str(tmp_path / file),
        )
