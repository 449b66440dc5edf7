"""What is drawn for a trial, when one ends, and what is made of all of them: without training."""

import pytest

from tests.tools import imported
from tf_reg_cli.config import Config
from tf_reg_cli.search_space import from_words

optuna = imported("optuna", "tune")

from tf_reg.recipes.tuning import results, worker  # noqa: E402


def test_drawn_settings_are_those_that_have_an_effect():
    space = from_words(["reg=l1,group", "l1=1e-5:1e-3", "group-lasso=0.1:1", "hidden=8,16"])
    drawn = worker.drawn(optuna.trial.FixedTrial({"reg": "l1", "l1": 1e-4, "hidden": "[16]"}), space, Config())
    assert drawn == {"reg": "l1", "l1": 1e-4, "hidden": [16]}
    config = worker.config_of(Config(reg="l1", layer_factors=("a=2",)), {"layer_factors.b": 0.5})
    assert config.layer_factors == ("a=2.0", "b=0.5")
    assert worker.config_of(Config(reg="l1", layer_factors=("a=2",)), {"l1": 0.1}).layer_factors == ("a=2",)


def made_study(values):
    """A study whose value depends on x alone, as far as it isn't given."""
    made = optuna.create_study(direction="maximize")
    unit = optuna.distributions.FloatDistribution(0, 1)
    for number, value in enumerate(values):
        params = {"x": number / len(values), "y": (7 * number % 11) / 11}
        value = params["x"] if value is None else value
        made.add_trial(optuna.create_trial(params=params, distributions=dict.fromkeys(params, unit), value=value))
    return made


@pytest.mark.parametrize("values", [[], [0.5], [None] * 9, [0.5] * 20])
def test_importances_where_nobody_can_say(values):
    assert results.importances(made_study(values), 0) == {}


def test_importances():
    found = results.importances(made_study([None] * 20), 0)
    assert list(found) == ["x", "y"]
    assert found["x"] > 0.8


def test_the_best_of_equal_ones_is_the_first():
    found = made_study([0.5, 0.7, 0.7, 0.1]).trials
    assert results.best(found, "accuracy").number == 1
    assert results.best(found, "data-loss").number == 3
    assert results.best([], "accuracy") is None


def test_a_trial_is_never_ended_in_its_last_epoch():
    asked = []

    class Study:
        def hopeless(self, trial, value, step, last):
            asked.append((step, last))
            return False

    watch = worker._Watch(Study(), None, ("accuracy",))
    watch.set_params({"epochs": 3})
    for epoch in range(3):
        watch.on_epoch_end(epoch, {"loss": 1.0, "val_data_loss": 1.0, "val_accuracy": 0.5})
    assert asked == [(1, False), (2, False), (3, True)]
