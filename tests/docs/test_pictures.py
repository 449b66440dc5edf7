"""The script draws the pictures of the pages."""

import json
import runpy

import keras
import numpy as np
import pytest
from matplotlib import image

from tests.tools import ROOT


@pytest.fixture(scope="module")
def draw():
    return runpy.run_path(str(ROOT / "docs/pictures/draw.py"))


@pytest.fixture
def finished_run(tmp_path):
    """Make the folder of a run whose kernel has these weights."""

    def make(name, weights):
        folder = tmp_path / name
        folder.mkdir()
        model = keras.Sequential([keras.Input((len(weights),)), keras.layers.Dense(1)])
        model.set_weights([np.reshape(weights, (-1, 1)), np.zeros(1)])
        model.save(folder / "model.keras")
        (folder / "metrics.json").write_text(json.dumps({"test_accuracy": 0.5}))
        return folder

    return make


def size(path):
    height, width, _ = image.imread(path).shape
    return width, height


def in_the_bar(path):
    """How many pixels are orange where the right half has its bar of zeros."""
    pixels = image.imread(path)[..., :3]
    width = pixels.shape[1]
    red, green, blue = np.moveaxis(pixels[:, round(0.53 * width) : round(0.58 * width)], -1, 0)
    return int(((red > 0.8) & (green < 0.5) & (blue < 0.2)).sum())


def test_zeros_have_a_bar_of_their_own(draw, finished_run, tmp_path):
    small, zeros = finished_run("small", [0.5, 1e-4, 1e-5]), finished_run("zeros", [0.5, 0.0, 0.0])
    draw["weights"](small, zeros, tmp_path / "zeros.png")
    draw["weights"](small, small, tmp_path / "none.png")
    assert size(tmp_path / "zeros.png") == size(ROOT / "docs/pictures/weights.png")
    assert in_the_bar(tmp_path / "zeros.png") > 1000
    assert in_the_bar(tmp_path / "none.png") == 0


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("uncertainty", "compaction")]


@pytest.mark.parametrize("name", ["steps", "operators", *SLOW])
def test_the_other_pictures(draw, name, tmp_path):
    draw[name](tmp_path / "picture.png")
    assert size(tmp_path / "picture.png") == size(ROOT / f"docs/pictures/{name}.png")
