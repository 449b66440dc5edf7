"""Proximal in configs, pickles and saved models, and loaded again."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import optimizers

import tf_reg
from tests.optimizers.training import INNER, X, Y, array, fit, kernel, make
from tf_reg.optimizers.proximal import Proximal

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("name", INNER)
def test_config_round_trips(name):
    optimizer = Proximal(INNER[name](clipnorm=1.0, use_ema=True), strength=0.5, name="mine")
    optimizer.build([keras.Variable(np.ones(2, "float32"))])
    config = optimizers.serialize(optimizer)
    copy = optimizers.deserialize(config)
    assert optimizers.serialize(copy) == config
    assert config["config"]["inner_optimizer"]["config"]["use_ema"]
    assert (copy.name, float(array(copy.strength))) == ("mine", 0.5)


def test_config_keeps_a_schedule_and_a_changed_strength():
    schedule = optimizers.schedules.CosineDecay(1.0, 10)
    copy = Proximal.from_config(Proximal("sgd", strength=schedule).get_config())
    assert float(array(copy._state.strength(3))) == float(array(schedule(3)))
    optimizer = Proximal("sgd")
    optimizer.strength = 0.25
    assert Proximal.from_config(optimizer.get_config()).get_config()["strength"] == 0.25


@pytest.mark.parametrize(
    ("inner", "options"),
    [
        pytest.param({}, {"strength": optimizers.schedules.ExponentialDecay(2.0, 1, 0.9)}, id="schedule"),
        pytest.param({"use_ema": True}, {}, id="average", marks=pytest.mark.slow),
        pytest.param({"gradient_accumulation_steps": 3}, {}, id="sum", marks=pytest.mark.slow),
    ],
)
def test_saved_and_resumed_bit_for_bit(tmp_path, inner, options):
    """Saved in the middle of a window of steps, frozen, and loaded in Keras' safe mode."""
    model = make(Proximal(optimizers.SGD(0.02, momentum=0.9, **inner), **options))
    fit(model, epochs=4, batch_size=8)
    model.fit(X[:8], Y[:8], verbose=0)
    model.optimizer.freeze()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.frozen
    assert fit(loaded, epochs=2, batch_size=8) == fit(model, epochs=2, batch_size=8)
    for mine, theirs in zip(
        loaded.variables + loaded.optimizer.variables, model.variables + model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(array(mine), array(theirs))


def test_pickled_and_loaded():
    model = make(Proximal(optimizers.Adam(0.05), strength=0.5))
    fit(model, epochs=2)
    model.optimizer.freeze()
    copy = pickle.loads(pickle.dumps(model))
    assert copy.optimizer.frozen
    assert fit(copy) == fit(model)
    np.testing.assert_array_equal(kernel(copy), kernel(model))


def script(code, *arguments):
    """Run Python in a process of its own, with this backend."""
    environment = {**os.environ, "PYTHONPATH": str(Path(tf_reg.__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_loading_without_the_library_says_what_is_missing(tmp_path):
    model = make(Proximal("adam"))
    fit(model)
    model.save(tmp_path / "model.keras")
    load = "import sys, keras; keras.models.load_model(sys.argv[1])"
    without = script(load, tmp_path / "model.keras")
    assert without.returncode != 0
    assert "Proximal" in without.stderr
    assert "tf_reg" in without.stderr
    assert script("import tf_reg\n" + load, tmp_path / "model.keras").returncode == 0
