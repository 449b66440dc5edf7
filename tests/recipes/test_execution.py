"""How many steps an execution of the compiled function has: chosen by sizes, and of no influence on the weights."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from tests.recipes.conftest import metrics_of
from tests.tools import BatchesDone
from tf_reg.recipes import execution, run, training
from tf_reg.recipes.progress import Progress
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError

SMALL = {"train_size": 90, "batch_size": 8, "epochs": 2}  # 12 steps an epoch, the last one with 2 images


def chosen(size=28, train_size=60_000, **options):
    config = Config(**options)
    layers = [keras.layers.Conv2D(32, 3), keras.layers.Flatten()] if config.model == "cnn" else [keras.layers.Flatten()]
    hidden = [keras.layers.Dense(units) for units in (*config.hidden, 10)]
    model = keras.Sequential([keras.Input((size, size, 1)), *layers, *hidden])
    return execution.steps_per_execution(model, config, train_size)


def test_it_is_chosen_by_the_sizes():
    assert chosen(hidden=(8,)) == execution.MOST
    assert chosen(size=8, train_size=1293) == 11  # an epoch
    assert execution.MOST > chosen(hidden=(1024, 1024), batch_size=4) > chosen(hidden=(1024, 1024)) > 1
    assert chosen(hidden=(1024, 1024), batch_size=2**14) == 1
    assert chosen(hidden=(1024, 1024), batch_size=2**14, train_size=100) == 1
    assert chosen(model="cnn", batch_size=256) > chosen(model="cnn", batch_size=256, precision="mixed_float16")


def test_a_number_is_that_number():
    assert chosen(steps_per_execution=7) == 7


def test_it_is_one_where_a_callback_acts_after_any_step():
    assert chosen(size=8, reg="l1", target_sparsity=0.5) == 1


def test_it_is_one_where_the_work_of_a_step_is_unknown():
    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, 3)])
    assert execution.steps_per_execution(model, Config(), 60_000) == 1


def test_torch_has_single_steps(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert chosen() == chosen(steps_per_execution=1) == 1
    with pytest.raises(UserError, match=r"--steps-per-execution 7 needs KERAS_BACKEND=tensorflow or jax: .* Leave it"):
        chosen(steps_per_execution=7)


def trained(**options):
    """The state and the history of a short training, and the steps after each execution."""
    config = Config(**SMALL, **options)
    model, images = training.prepare(config)
    steps = BatchesDone()
    training.fit(model, config, images, [steps], silent=True)
    state = [np.array(variable) for variable in (*model.variables, *model.optimizer.variables)]
    return state, model.history.history, steps.seen


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"reg": "l1l2", "dropout": 0.3, "schedule": "cosine"},
        {"reg": "group", "reweight": True, "refit_epochs": 1, "optimizer": "sgd", "momentum": 0.9},
    ],
    ids=["dropout", "callbacks"],
)
def test_the_same_seed_gives_the_same_weights_whatever_it_is(options):
    state, history, _ = trained(**options, steps_per_execution=1)
    ends = {"auto": [12], 7: [7, 12], 50: [12]}
    for steps, expected in ends.items():
        other, its_history, its_ends = trained(**options, steps_per_execution=steps)
        assert its_ends == 2 * expected
        assert its_history == history
        for one, another in zip(state, other, strict=True):
            np.testing.assert_array_equal(one, another)


ACTS = [
    {"reg": "l1", "reweight": True, "refit_epochs": 1},
    {"reg": "l1", "strength_schedule": "gap"},
    {"reg": "l1", "strength_schedule": "rise"},
    {"reg": "l1", "target_sparsity": 0.5},
    {"early_stopping": 2},
]


@pytest.mark.parametrize("options", ACTS, ids=lambda options: "-".join(options))
def test_no_other_callback_acts_within_an_epoch(options, tmp_path, monkeypatch):
    """One that did would need single steps, as `TargetSparsity` does."""
    found = []
    monkeypatch.setattr(keras.Model, "fit", lambda self, *args, callbacks, **kwargs: found.extend(callbacks))
    config = Config(**options)
    with run.writers(tmp_path, config) as readers:
        images = dataclasses.make_dataclass("Images", ["train", "validation", "train_size"])(0, 0, 100)
        training.fit(keras.Sequential(), config, images, readers)
    hooks = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
    base = keras.callbacks.Callback
    acting = {
        type(one).__name__ for one in found for hook in hooks if getattr(one, hook).__func__ is not getattr(base, hook)
    }
    assert acting - {Progress.__name__, "StopAfterBatch"} <= {"TargetSparsity"}
    assert ("TargetSparsity" in acting) == (chosen(**options) == 1)
    assert all(one.update_freq == "epoch" for one in found if hasattr(one, "update_freq"))


@pytest.mark.slow
def test_a_run_keeps_auto_and_says_what_it_chose(train):
    assert train("--train-size", 200, "--batch-size", 16, "--epochs", 1, "--name", "a")[0] == 0
    assert metrics_of("runs/a")["steps_per_execution"] == math.ceil(200 / 16)
    assert train("--config", "runs/a/config.json", "--batch-size", 50, "--name", "b")[0] == 0
    assert metrics_of("runs/b")["steps_per_execution"] == 4
