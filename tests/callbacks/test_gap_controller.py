"""GapController: the strength rises with the gap of the losses, and falls where validation suffers."""

import numpy as np
import pytest
from keras import optimizers

from tests.callbacks.strength_models import L1, fit, mlp, strength
from tests.tools import slow_on_tensorflow
from tf_reg.callbacks.gap_controller import GapController
from tf_reg.optimizers.proximal import Proximal

pytestmark = pytest.mark.contract


def controlled(losses, start=1.0, keys=("loss", "val_loss"), **options):
    """The strengths that a GapController sets while the losses go as given."""
    model = mlp("l1", optimizer=Proximal("sgd", strength=start))
    controller = GapController(**options)
    controller.set_model(model)
    controller.on_train_begin()
    strengths = []
    for epoch, pair in enumerate(losses):
        logs = dict(zip(keys, pair, strict=True))
        controller.on_epoch_end(epoch, logs)
        assert logs["gap"] == pytest.approx(pair[1] - pair[0])
        assert logs["strength"] == pytest.approx(strength(model))
        strengths.append(logs["strength"])
    return strengths


def test_a_gap_that_grows_raises_the_strength():
    assert controlled([(1.0, 1.1), (0.8, 1.1), (0.6, 1.2)], factor=2.0) == [1.0, 2.0, 4.0]


def test_validation_that_suffers_without_a_gap_lowers_the_strength():
    assert controlled([(1.0, 1.1), (1.2, 1.3), (1.5, 1.6)], factor=2.0) == [1.0, 0.5, 0.25]


def test_all_well_changes_nothing():
    assert controlled([(1.0, 1.1), (0.8, 0.9), (0.6, 0.7)]) == [1.0, 1.0, 1.0]


def test_the_averages_forget_as_fast_as_they_are_told():
    losses = [(0.0, 1.0), (0.0, 3.0), (0.0, 2.0)]
    assert controlled(losses, factor=2.0, smoothing=0.0) == [1.0, 2.0, 2.0]
    assert controlled(losses, factor=2.0, smoothing=0.9) == [1.0, 2.0, 4.0]


def test_small_differences_and_bounds():
    assert controlled([(1.0, 1.1), (1.0, 1.15)], min_delta=0.1) == [1.0, 1.0]
    assert controlled([(1.0, 1.1), (0.0, 1.1), (-1.0, 1.1)], bounds=(0.1, 2.0)) == [1.0, 1.5, 2.0]


def test_which_losses_are_compared():
    keys = ("data_loss", "val_data_loss", "loss", "val_loss")
    model = mlp("l1")
    for options, gap in [({}, 1.0), ({"metric": "loss"}, 3.0)]:
        controller = GapController(**options)
        controller.set_model(model)
        controller.on_train_begin()
        logs = dict(zip(keys, (1.0, 2.0, 4.0, 7.0), strict=True))
        controller.on_epoch_end(0, logs)
        assert logs["gap"] == gap


def test_an_overfitting_model_is_held_back():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 30)).astype("float32"), rng.normal(size=(64, 2)).astype("float32")
    model = mlp(L1(1e-4), L1(1e-4), optimizer=Proximal(optimizers.Adam(3e-3)))
    options = {"epochs": 8, "verbose": 0, "validation_data": (-x, y)}
    history = model.fit(x, y, callbacks=[GapController(factor=3.0)], **options).history
    assert history["strength"][-1] > 3.0
    np.testing.assert_allclose(history["gap"], np.subtract(history["val_loss"], history["loss"]), rtol=1e-6)


@slow_on_tensorflow
def test_an_epoch_without_the_losses_is_an_error():
    with pytest.raises(ValueError, match=r"compares 'loss' with 'val_loss'. Received the logs \['loss'\]"):
        fit(mlp("l1"), GapController(), epochs=1)
    with pytest.raises(ValueError, match="compares 'mse' with 'val_mse'"):
        fit(mlp("l1"), GapController(metric="mse"), epochs=1)
    with pytest.raises(ValueError, match="must be above zero"):
        fit(mlp("l1", optimizer=Proximal("sgd", strength=0.0)), GapController(), epochs=1)


@pytest.mark.parametrize(
    "options", [{"factor": 1.0}, {"smoothing": 1.0}, {"min_delta": -1.0}, {"bounds": (0.0, 1.0)}, {"bounds": (2, 1)}]
)
def test_bad_arguments_of_a_gap_controller(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        GapController(**options)
