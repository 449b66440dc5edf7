import keras
import numpy as np
import pytest

from tf_reg.recipes import plots
from tf_reg.reporting import figures


def history(epochs, layers=2):
    values = list(np.linspace(1.0, 0.5, epochs))
    keys = ["data_loss", "val_data_loss", "accuracy", "val_accuracy"]
    for number in range(layers):
        keys += [f"penalty/layer_{number}", f"sparsity/layer_{number}"]
    return dict.fromkeys(keys, values)


def shown(path):
    """The picture as numbers, and how much of it isn't white."""
    image = keras.utils.img_to_array(keras.utils.load_img(path))
    return image, float(np.mean(image.min(axis=-1) < 250))


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_curves(tmp_path, epochs):
    plots.curves(history(epochs), tmp_path / "curves.png", "a run")
    image, ink = shown(tmp_path / "curves.png")
    assert image.shape[1] > image.shape[0] > 300
    assert 0.01 < ink < 0.5


@pytest.mark.parametrize("layers", [1, 3, 40])
def test_regularization(tmp_path, layers):
    weights = {f"layer_{number}": np.linspace(-1, 1, 101) for number in range(layers)}
    plots.regularization(history(5, layers), weights, weights, tmp_path / "r.png", "a run")
    image, ink = shown(tmp_path / "r.png")
    assert image.shape[1] > 1200
    assert 0.01 < ink < 0.6


def test_weights_that_are_all_zero(tmp_path):
    zeros = {"dense": np.zeros(10)}
    plots.regularization(history(2, 1), {"dense": np.ones(10)}, zeros, tmp_path / "some.png", "a run")
    plots.regularization(history(2, 1), zeros, zeros, tmp_path / "all.png", "a run")
    assert shown(tmp_path / "all.png")[1] < shown(tmp_path / "some.png")[1]


def test_more_layers_than_colours_are_cut_to_the_largest():
    axes = figures.panels(1, "")[1][0]
    many = {f"penalty/layer_{number}": [float(number)] * 3 for number in range(20)}
    plots._lines(axes, many, "penalty/", 1)
    assert [line.get_label() for line in axes.get_lines()] == [f"layer_{number}" for number in range(12, 20)]
    assert axes.get_title() == "the 8 largest of 20 layers"


def test_shares_of_zeros_that_are_far_apart_stay_on_a_linear_axis(tmp_path):
    apart = history(3, 2) | {"sparsity/layer_0": [0.9] * 3, "sparsity/layer_1": [1e-4] * 3}
    weights = {"layer_0": np.ones(3), "layer_1": np.ones(3)}
    plots.regularization(apart, weights, weights, tmp_path / "r.png", "a run")  # a log axis would warn


def refit_marks(refit):
    axes = figures.panels(1, "")[1][0]
    plots._mark_refit(axes, {"refit": refit} if refit else {})
    return [line.get_xdata()[0] for line in axes.get_lines()]


def test_the_refit_is_marked_between_the_epochs_where_it_began():
    assert refit_marks([0.0, 0.0, 1.0, 1.0]) == [2.5]  # between the epochs 2 and 3
    assert refit_marks([0.0, 0.0]) == refit_marks([]) == []


def test_both_figures_mark_the_refit(tmp_path):
    weights = {"layer_0": np.linspace(-1, 1, 9), "layer_1": np.linspace(-1, 1, 9)}
    for name, refit in (("with", [0.0, 0.0, 1.0]), ("without", [0.0] * 3)):
        records = history(3) | {"refit": refit}
        plots.curves(records, tmp_path / f"curves-{name}.png", "a run")
        plots.regularization(records, weights, weights, tmp_path / f"r-{name}.png", "a run")
    for figure in ("curves", "r"):
        assert shown(tmp_path / f"{figure}-with.png")[1] > shown(tmp_path / f"{figure}-without.png")[1]
