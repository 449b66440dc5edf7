"""The picture of the weights: the first kernel as images, and what is left of each layer."""

import keras
import numpy as np
import pytest
from keras import layers

from tf_reg.compaction.plan import plan_compaction
from tf_reg.recipes import weight_plots
from tf_reg.reporting import figures


def shown(path):
    """The picture as numbers, `(height, width, 3)`, from 0 to 255."""
    return keras.utils.img_to_array(keras.utils.load_img(path))


def drawn(model, path):
    weight_plots.weights(model, plan_compaction(model), path, "a run")
    return path.exists()


def classifier(*parts, shape=(8, 8, 1)):
    return keras.Sequential([keras.Input(shape), *parts, layers.Flatten(), layers.Dense(3, name="logits")])


@pytest.mark.parametrize(
    "model",
    [
        lambda: classifier(),
        lambda: classifier(layers.Flatten(), layers.Dense(300), layers.ReLU()),
        lambda: classifier(layers.Conv2D(4, 3), shape=(8, 9, 3)),
        lambda: classifier(layers.Conv2D(4, 1)),  # a filter of one pixel is no image
        lambda: classifier(*[layers.Dense(2) for _ in range(50)]),
        lambda: classifier(layers.DepthwiseConv2D(3)),
    ],
)
def test_networks_of_all_kinds(model, tmp_path):
    assert drawn(model(), tmp_path / "weights.png")
    image = shown(tmp_path / "weights.png")
    assert 0.005 < np.mean(image.min(axis=-1) < 250) < 0.9


def test_nothing_to_draw_is_no_file(tmp_path):
    assert not drawn(keras.Sequential([keras.Input((4,)), layers.ReLU()]), tmp_path / "weights.png")


def test_weights_that_are_no_numbers_are_left_out(tmp_path):
    model = classifier()
    model.get_layer("logits").kernel.assign(np.full((64, 3), np.nan))
    assert drawn(model, tmp_path / "weights.png")


def test_the_image_of_a_unit_has_the_weight_of_each_pixel():
    kernel = np.arange(24.0).reshape(12, 2)
    images = weight_plots.kernel_images(kernel, (3, 4, 1))
    np.testing.assert_array_equal(images[1], np.arange(24).reshape(12, 2)[:, 1].reshape(3, 4))
    assert weight_plots.kernel_images(kernel, (3, 3, 1)) is None
    assert weight_plots.kernel_images(np.ones((100, 100, 1, 2)), (200, 200, 1)) is None


def test_of_several_channels_the_farthest_weight_from_zero_is_shown():
    kernel = np.zeros((2, 2, 3, 1))
    kernel[0, 0, :, 0] = [0.5, -2.0, 1.0]
    kernel[1, 1, 2, 0] = 0.1
    np.testing.assert_array_equal(weight_plots.kernel_images(kernel, (8, 8, 3))[0], [[-2.0, 0.0], [0.0, 0.1]])


def test_images_lie_in_rows_with_a_line_between_them():
    whole = weight_plots.mosaic(np.stack([np.full((2, 2), number) for number in range(5)]))
    assert whole.shape == (5, 8)  # two rows of three
    assert [whole[0, 0], whole[0, 3], whole[0, 6], whole[3, 0], whole[3, 3]] == [0, 1, 2, 3, 4]
    assert np.isnan(whole[2]).all()
    assert np.isnan(whole[3:, 6:]).all()


def colours_of(images):
    """The colours in which the values of one image are drawn."""
    axes = figures.panels(1, "")[1][0]
    weight_plots.draw_kernels(axes, np.asarray(images), "dense")
    [picture] = axes.get_images()
    return np.asarray(picture.cmap(picture.norm(picture.get_array())))[..., :3]


def test_zeros_alone_are_white_and_signs_have_different_colours():
    colours = colours_of([[[0.0, 1.0], [-1.0, 1e-3]]])
    white, positive, negative, tiny = colours[0, 0], colours[0, 1], colours[1, 0], colours[1, 1]
    assert (white == 1).all()
    assert positive[2] > positive[0]  # blue
    assert negative[0] > negative[2]  # red
    assert (tiny < 1).all()
    assert (colours_of(np.zeros((1, 2, 2))) == 1).all()


def test_a_bar_for_the_units_that_are_left(tmp_path):
    model = classifier(layers.Flatten(), layers.Dense(8, name="hidden"), layers.ReLU())
    kernel, bias = model.get_layer("hidden").get_weights()
    kernel[:, :6] = 0
    model.get_layer("hidden").set_weights([kernel, bias])
    axes = figures.panels(1, "")[1][0]
    weight_plots.draw_units(axes, plan_compaction(model).layers, 5)
    alive, dead = ([bar.get_width() for bar in bars] for bars in axes.containers)
    assert (alive, dead) == ([25, 100], [75, 0])
    assert [text.get_text() for text in axes.texts] == ["2 of 8", "3 of 3"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["hidden", "logits"]
    assert axes.get_title() == "the first 2 of 5 layers"
