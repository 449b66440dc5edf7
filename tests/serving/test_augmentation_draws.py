"""Keras' augmentation layers that draw numbers in inference, and ignore them, are written without the draws."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tests.exports import predicted, serve

X = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype("float32")


def classifier(*augmentation):
    ends = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(2, "softmax")]
    return keras.Sequential([keras.Input((8, 8, 3)), *augmentation, *ends])


@pytest.mark.slow
def test_the_draws_are_left_out(tmp_path):
    model = classifier(layers.RandomColorDegeneration(0.5), layers.RandomPosterization(4), layers.MixUp())
    path = tf_reg.export(model, tmp_path / "m", examples=X)
    np.testing.assert_allclose(serve(path, X)["probabilities"], predicted(model, X), atol=1e-6)
    assert all("get_random_transformation" not in vars(layer) for layer in model.layers)
    changed = np.asarray(model(X, training=True)) - np.asarray(model(X, training=False))
    assert np.abs(changed).max() > 1e-3  # in training they still do their work


class Always(layers.RandomColorDegeneration):
    """Changes the colours in inference too."""

    def transform_images(self, images, transformation=None, training=True):
        return super().transform_images(images, transformation, training=True)


@pytest.mark.slow
def test_a_draw_that_is_used_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r"draws random numbers.*the layer 'always' "):
        tf_reg.export(classifier(Always(0.5, name="always")), tmp_path / "m", examples=X)
